using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using Generation.Core;
using Generation.Tests.Harness;

namespace Generation.Tests.ServiceDefaults;

[Trait("tier", "slow")]
public sealed class MetricsTests
{
    [Fact]
    public async Task What_waits_and_how_long_is_measured()
    {
        var seen = new ConcurrentBag<(string Instrument, string? Lane, double Value)>();
        using var listener = new MeterListener { InstrumentPublished = (instrument, self) => Enable(instrument, self) };
        listener.SetMeasurementEventCallback<double>((instrument, value, tags, _) => seen.Add((instrument.Name, LaneOf(tags), value)));
        listener.SetMeasurementEventCallback<long>((instrument, value, tags, _) => seen.Add((instrument.Name, LaneOf(tags), value)));
        listener.Start();

        // 37 jobs and room for 31 in the queue: six wait in the outbox, and numbers that no other test has.
        await using var system = await TestSystem.StartAsync(o =>
        {
            (o.Relays, o.Workers) = (0, 0);
            o.Settings["Mock:Enabled"] = "true";
            o.Settings["Relay:DispatchWindow"] = "31";
            o.Settings["Relay:MeasureInterval"] = "00:00:00.100";
        });
        var ids = await Task.WhenAll(Enumerable.Range(0, 37).Select(i => system.SubmitAsync($"measured {i}")));

        // Only now: the window of one that has been there all along stays where the burst has left it, anywhere over three quarters.
        await system.AddRelayAsync();
        await ObserveUntilAsync(() => seen.Contains(("generation.queue.depth", "image", 31)));
        await ObserveUntilAsync(() => seen.Any(m => m is { Instrument: "generation.outbox.lag", Value: > 0 }));

        await system.AddWorkerAsync();
        await Task.WhenAll(ids.Select(id => system.EndOfAsync(id)));
        foreach (var duration in new[] { "generation.outbox.dispatch.duration", "generation.queue.pickup.duration", "generation.submit.duration" })
        {
            Assert.Contains(seen, m => m.Instrument == duration && m.Value > 0);
        }

        async Task ObserveUntilAsync(Func<bool> isThere)
        {
            using var timeout = new CancellationTokenSource(TimeSpan.FromSeconds(30));
            while (!isThere())
            {
                listener.RecordObservableInstruments();
                await Task.Delay(TimeSpan.FromMilliseconds(50), TimeProvider.System, timeout.Token);
            }
        }
    }

    private static void Enable(Instrument instrument, MeterListener listener)
    {
        if (instrument.Meter.Name == Telemetry.Name)
        {
            listener.EnableMeasurementEvents(instrument);
        }
    }

    private static string? LaneOf(ReadOnlySpan<KeyValuePair<string, object?>> tags)
    {
        foreach (var (name, value) in tags)
        {
            if (name == "lane")
            {
                return value as string;
            }
        }

        return null;
    }
}
