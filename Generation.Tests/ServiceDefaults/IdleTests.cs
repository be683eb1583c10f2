using System.Diagnostics;
using Generation.ServiceDefaults;
using Generation.Tests.Harness;
using Microsoft.Extensions.Configuration;
using OpenTelemetry.Trace;

namespace Generation.Tests.ServiceDefaults;

/// <summary>A trace begins with a request: an idle system has none to show.</summary>
[Trait("tier", "process")]
public sealed class IdleTests
{
    [Fact]
    public async Task A_system_that_has_worked_and_is_idle_now_exports_no_spans_though_it_is_probed()
    {
        await using var collector = await TestCollector.StartAsync();
        await using var system = await TestSystem.StartAsync(o =>
        {
            o.AsProcesses = true;
            collector.Configure(o.Settings);
        });
        var id = await system.SubmitAsync("before it is idle"); // what it has set going must not go on in its name
        await system.EndOfAsync(id);
        await collector.UntilAsync(all => all.Any(s => s.Name == "settle") && all.Any(s => s.Name.EndsWith("/events", StringComparison.Ordinal)));
        // spans of Redis are gathered for ten seconds
        await Task.Delay(TimeSpan.FromSeconds(12), TimeProvider.System, TestContext.Current.CancellationToken);

        var before = collector.Spans.Count;
        using var http = new HttpClient();
        for (var second = 0; second < 10; second++)
        {
            foreach (var service in system.Apis.Concat(system.Relays).Concat(system.Workers))
            {
                (await http.GetAsync(new Uri(service.Address, "/readyz"))).EnsureSuccessStatusCode();
                (await http.GetAsync(new Uri(service.Address, "/healthz"))).EnsureSuccessStatusCode();
            }

            await Task.Delay(TimeSpan.FromSeconds(1), TimeProvider.System, TestContext.Current.CancellationToken);
        }

        Assert.Empty(collector.Spans.Skip(before).Select(s => $"{s.Service} {s.Name} {s.TraceId} {s.ParentId}"));
    }

    [Theory]
    [InlineData(null, null, ActivityKind.Server, true)]
    [InlineData(null, null, ActivityKind.Producer, true)]
    [InlineData("always_on", null, ActivityKind.Server, true)]
    [InlineData("always_on", null, ActivityKind.Client, false)] // a poll, also under Aspire
    [InlineData("always_on", null, ActivityKind.Internal, false)]
    [InlineData("parentbased_always_on", null, ActivityKind.Client, false)]
    [InlineData("always_off", null, ActivityKind.Server, false)]
    [InlineData("traceidratio", "0", ActivityKind.Server, false)]
    [InlineData("traceidratio", "1", ActivityKind.Server, true)]
    [InlineData("parentbased_traceidratio", "0", ActivityKind.Server, false)]
    [InlineData("parentbased_traceidratio", "not a number", ActivityKind.Server, true)]
    public void A_root_is_sampled_as_configured_unless_it_is_nobodys_request(string? sampler, string? argument, ActivityKind kind, bool isSampled) =>
        Assert.Equal(isSampled, IsSampled(sampler, argument, default, kind));

    [Theory]
    [InlineData("always_on", true, false, true)] // a caller elsewhere that does not sample: as the deployment says
    [InlineData("parentbased_always_on", true, false, false)]
    [InlineData("parentbased_traceidratio", true, true, true)]
    [InlineData("always_on", false, false, false)] // a part of what was dropped here
    [InlineData("always_on", false, true, true)]
    public void A_part_of_a_trace_follows_what_it_is_a_part_of(string sampler, bool isRemote, bool isRecorded, bool isSampled) =>
        Assert.Equal(isSampled, IsSampled(
            sampler, "0", new ActivityContext(ActivityTraceId.CreateRandom(), ActivitySpanId.CreateRandom(), isRecorded ? ActivityTraceFlags.Recorded
                : ActivityTraceFlags.None, null, isRemote), ActivityKind.Client));

    private static bool IsSampled(string? sampler, string? argument, ActivityContext parent, ActivityKind kind)
    {
        var configuration = new ConfigurationBuilder()
            .AddInMemoryCollection(new Dictionary<string, string?>(StringComparer.Ordinal)
            {
                ["OTEL_TRACES_SAMPLER"] = sampler,
                ["OTEL_TRACES_SAMPLER_ARG"] = argument
            })
            .Build();
        var parameters = new SamplingParameters(parent, parent == default ? ActivityTraceId.CreateRandom() : parent.TraceId, "any", kind);
        return new RootSampler(RootSampler.Read(configuration)).ShouldSample(parameters).Decision == SamplingDecision.RecordAndSample;
    }
}
