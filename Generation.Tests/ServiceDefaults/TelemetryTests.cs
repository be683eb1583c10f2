using System.Collections.Concurrent;
using System.Diagnostics;
using System.Reflection;
using Generation.Core;
using Generation.Tests.Harness;
using Microsoft.Extensions.Logging;

namespace Generation.Tests.ServiceDefaults;

/// <summary>What operators rely on: the names of the events, nothing secret in them, and one trace from POST to capture.</summary>
[Trait("tier", "slow")]
public sealed class TelemetryTests
{
    private const string Prompt = "a secret wish for a zebra";

    [Fact]
    [Trait("tier", "slow")]
    public async Task The_log_has_every_event_and_no_prompt_key_or_signed_address()
    {
        // Debug: what comes with every batch is not in an ordinary log, and must not give anything away where it is switched on.
        await using var system = await TestSystem.StartAsync(o =>
            (o.OwnRedis, o.Settings["Logging:LogLevel:Default"], o.Settings["Relay:AuditInterval"]) = (true, "Debug", "00:00:01"));

        // Real: one that completes, with a picture that is opened by its signed URL, and one that is released.
        var id = await system.SubmitAsync($"{Prompt} in paint");
        var real = await system.EndOfAsync(id);
        Assert.All([LogEvents.OutboxWrite, LogEvents.QueueEnqueue, LogEvents.OutboxDispatched, LogEvents.JobPayloadSummary], e =>
            Assert.Contains(Lines(system), line => line.StartsWith($"{LogLevel.Information} ", StringComparison.Ordinal)
                && line.Contains($" {e.Name} ", StringComparison.Ordinal) && line.Contains($"{id}", StringComparison.Ordinal)));
        var url = (string)real["media"]![0]!["url"]!;
        Assert.NotEmpty(await system.Http.GetByteArrayAsync(url));
        await system.EndOfAsync(await system.SubmitAsync($"{Prompt} [fault=moderation-input]"));
        await system.EndOfAsync(await system.SubmitAsync($"{Prompt} [fault=dead-url]"));
        await system.EndOfAsync(await system.SubmitAsync($"{Prompt} [fault=unauthorized]"));
        AssertNames(system, LogEvents.CompletedReal, LogEvents.ProviderRequest, LogEvents.ProviderResponse, LogEvents.CreditsRelease);
        Assert.DoesNotContain(LogEvents.CompletedMock.Name!, Names(system));

        // Mocked.
        await system.ExecuteAsync("INSERT INTO app_settings (key, value) VALUES ('mock_mode', 'true')");
        var mocked = await UntilMockedAsync(system);
        Assert.Equal("completed", (string?)mocked["status"]);

        // Without a queue.
        await system.Redis.KillAsync();
        await system.SubmitAsync($"{Prompt} without a queue");
        await UntilAsync(() => Names(system).Contains(LogEvents.OutboxQueueMissing.Name!), system);

        await UntilAsync(() => Names(system).Contains(LogEvents.LedgerAudit.Name!), system);

        AssertNames(system, [.. typeof(LogEvents).GetFields(BindingFlags.Public | BindingFlags.Static)
            .Select(field => (EventId)field.GetValue(null)!)]);
        var signature = url[(url.IndexOf("signature=", StringComparison.Ordinal) + "signature=".Length)..];
        var log = Lines(system).ToList();
        Assert.All([Prompt, "zebra", "sim-ark-key", TestSystem.UserKey, signature, "signature="], secret =>
            Assert.DoesNotContain(log, line => line.Contains(secret, StringComparison.OrdinalIgnoreCase)));
        await system.AssertBooksAreCleanAsync();
    }

    [Fact]
    public async Task One_trace_leads_from_post_through_relay_and_worker_to_capture_also_over_a_retry()
    {
        var spans = new ConcurrentQueue<Activity>();
        using var listener = new ActivityListener
        {
            ShouldListenTo = source => source.Name is Telemetry.Name or "Microsoft.AspNetCore",
            Sample = (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllDataAndRecorded,
            ActivityStopped = spans.Enqueue,
        };
        ActivitySource.AddActivityListener(listener);
        await using var system = await TestSystem.StartAsync();
        var id = await system.SubmitAsync("traced [fault=overload:times=1]");
        await system.EndOfAsync(id);

        List<Activity> Of(string name) =>
            [.. spans.Where(span => span.OperationName == name && Equals(span.GetTagItem("generation.session.id"), id.ToString()))];
        await UntilAsync(() => Of("process image").Count == 2 && Of("send image").Count == 2, system);
        var settle = Assert.Single(Of("settle"));
        Assert.Equal(("completed", 4L), ((string?)settle.GetTagItem("generation.session.status"),
            (long?)settle.GetTagItem("generation.credits.captured")));

        var trace = settle.TraceId;
        Assert.All(Of("process image").Concat(Of("send image")), span => Assert.Equal(trace, span.TraceId));
        var inTrace = spans.Where(span => span.TraceId == trace).ToList();
        Assert.Contains(inTrace, span => span.DisplayName.StartsWith("POST /api/generations", StringComparison.Ordinal));
        var calls = inTrace.Where(span => span.OperationName == "generate_content seedream-4-0-250828").ToList();
        Assert.Equal([ActivityStatusCode.Error, ActivityStatusCode.Unset], calls.OrderBy(span => span.StartTimeUtc).Select(span => span.Status));
        Assert.Contains(calls, span => span.Status == ActivityStatusCode.Unset && span.GetTagItem("gen_ai.response.id") is string);

        // Nothing of what the user wrote or was given is in it.
        Assert.DoesNotContain(inTrace.SelectMany(span => span.TagObjects), tag =>
            $"{tag.Value}".Contains("traced", StringComparison.Ordinal) || $"{tag.Value}".Contains("signature=", StringComparison.Ordinal));
    }

    private static IEnumerable<string> Lines(TestSystem system) =>
        system.Apis.Concat(system.Relays).Concat(system.Workers).SelectMany(service => service.Log);

    /// <summary>The event names of the lines, which stand third: level, category, name, text.</summary>
    private static HashSet<string> Names(TestSystem system) =>
        [.. Lines(system).Select(line => line.Split(' ', 4)).Where(parts => parts.Length > 2).Select(parts => parts[2])];

    private static void AssertNames(TestSystem system, params EventId[] events) =>
        Assert.Empty(events.Select(e => e.Name!).Except(Names(system)));

    /// <summary>The operator's switch reaches an Api within its cache time; until then sessions are real.</summary>
    private static async Task<System.Text.Json.Nodes.JsonObject> UntilMockedAsync(TestSystem system)
    {
        while (true)
        {
            var id = await system.SubmitAsync($"{Prompt} of a machine");
            var end = await system.EndOfAsync(id);
            if (await system.ScalarAsync<bool>($"SELECT mock FROM generation_sessions WHERE session_id = '{id}'"))
            {
                return end;
            }
        }
    }

    private static async Task UntilAsync(Func<bool> condition, TestSystem system)
    {
        var started = TimeProvider.System.GetTimestamp();
        while (!condition())
        {
            Assert.True(TimeProvider.System.GetElapsedTime(started) < TimeSpan.FromSeconds(60), $"It did not come true.\n{system.Logs()}");
            await Task.Delay(TimeSpan.FromMilliseconds(20), TimeProvider.System, CancellationToken.None);
        }
    }
}
