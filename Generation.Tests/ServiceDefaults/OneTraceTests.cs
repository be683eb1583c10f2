using System.Net.Http.Json;
using System.Text.Json;
using System.Text.Json.Nodes;
using Generation.Tests.Harness;

namespace Generation.Tests.ServiceDefaults;

/// <summary>
/// A generation is one trace from its POST to its settlement, whatever its provider is like, as a collector sees it: services of their own
/// processes, over OTLP.
/// </summary>
[Trait("tier", "process")]
public sealed class OneTraceTests(OneTraceTests.TracedSystem traced) : IClassFixture<OneTraceTests.TracedSystem>
{
    private const string Watch = "GET /api/generations/{sessionId:guid}/events";
    private const int Server = 2;
    private const int Client = 3;
    private const int Producer = 4;
    private const int Consumer = 5;

    private readonly TestSystem system = traced.System;
    private readonly TestCollector collector = traced.Collector;

    [Theory]
    [InlineData("seedream-4", """{"prompt":"zebra afloat","size":"1K"}""", "image", "ark", 1)] // answers with the output
    [InlineData("seedream-4", """{"prompt":"zebra afloat, again [fault=overload:times=1]","size":"1K"}""", "image", "ark", 2)] // by a timer of ours
    [InlineData("seedream-4", """{"prompt":"zebra in a group","size":"1K","n":2,"group":true}""", "image", "ark", 1)]
    [InlineData("gpt-image-2", """{"prompt":"zebra in the answer"}""", "image", "openai", 1)]
    [InlineData("forge-sdxl", """{"prompt":"zebra by a GPU","n":1,"steps":2,"size":"512x512"}""", "gpu", "forge", 1)]
    [InlineData("veo-3.1-fast", """{"prompt":"zebra asked for"}""", "video", "google", 2)] // suspended and polled
    [InlineData("seedance-2", """{"prompt":"zebra called for","duration":4}""", "video", "ark", 2)] // suspended, polled or called back
    [InlineData("nano-banana", """{"prompt":"zebra called back [latency=500]"}""", "image", "kie", 2)]
    public async Task From_post_to_settlement_is_one_trace_in_the_words_of_opentelemetry(
        string model, string parameters, string lane, string provider, int minRuns)
    {
        var id = await system.SubmitAsync(model, JsonSerializer.Deserialize<JsonElement>(parameters));
        var end = await system.EndOfAsync(id);
        Assert.Equal("completed", (string?)end["status"]);
        var trace = (string)end["traceId"]!;
        Assert.Equal(32, trace.Length);

        bool IsOurs(CollectedSpan span) => span.Session == id.ToString();
        var spans = await collector.UntilAsync(
            all => all.Any(s => s.Name == "settle" && IsOurs(s)) && all.Any(s => s.Name == "POST /api/generations/" && IsOurs(s))
                && all.Any(s => s.Name == Watch && IsOurs(s)) // ends after its reader has gone
                && all.Count(s => s.Name == $"process {lane}" && IsOurs(s)) is var runs && runs >= minRuns
                    && all.Count(s => s.Name == $"send {lane}" && IsOurs(s)) >= runs,
            IsOurs);
        var ours = spans.Where(IsOurs).ToList();

        // What relay and workers did is in the trace of the POST, and so is nothing else; who watched it has a trace of its own, and the id.
        Assert.All(ours.Where(s => s.Service != "Generation.Api"), s => Assert.Equal(trace, s.TraceId));
        Assert.All(spans.Where(s => s.TraceId == trace && s.Session is not null), s => Assert.Equal(id.ToString(), s.Session));
        Assert.All(ours.Where(s => s.Name == Watch), s => Assert.NotEqual(trace, s.TraceId));
        var post = Assert.Single(ours, s => s.Kind == Server && s.TraceId == trace);
        Assert.Equal(("POST /api/generations/", "Generation.Api"), (post.Name, post.Service));

        Assert.All(ours.Where(s => s.Name == $"send {lane}"), send => Assert.Equal(
            (Producer, "redis", lane, "send", "Generation.Relay", post.SpanId),
            (send.Kind, send["messaging.system"], send["messaging.destination.name"], send["messaging.operation.type"], send.Service,
                send.ParentId)));
        var processed = ours.Where(s => s.Name == $"process {lane}").ToList();
        Assert.All(processed, process => Assert.Equal(
            (Consumer, "redis", lane, "process", "Generation.Worker", post.SpanId),
            (process.Kind, process["messaging.system"], process["messaging.destination.name"], process["messaging.operation.type"], process.Service,
                process.ParentId)));
        Assert.All(processed, process => Assert.Contains(ours, send => send.Name == $"send {lane}"
            && send["messaging.message.id"] == process["messaging.message.id"]));

        var call = ours.First(s => s.Name.StartsWith("generate_content ", StringComparison.Ordinal) && !s.IsError);
        Assert.Equal((Client, "generate_content", provider), (call.Kind, call["gen_ai.operation.name"], call["gen_ai.provider.name"]));
        Assert.Equal($"generate_content {call["gen_ai.request.model"]}", call.Name);
        Assert.Contains(processed, process => process.SpanId == call.ParentId);

        // one that met a locked session is tried again
        var settle = Assert.Single(ours, s => s.Name == "settle" && s["generation.session.status"] != "not_ended");
        Assert.Equal(("completed", end["receipt"]!["captured"]!.ToString()),
            (settle["generation.session.status"], settle["generation.credits.captured"]));
        Assert.Contains(ours, s => s.Name.StartsWith("store ", StringComparison.Ordinal) && long.Parse(s["generation.media.bytes"]!) > 0);
        Assert.Contains(ours, s => s.Name == "settle.sql" && s.ParentId == settle.SpanId && s["db.query.text"] is null);
        Assert.DoesNotContain(
            spans.SelectMany(s => s.Tags),
            tag => new[] { "zebra", "signature=", "sim-ark-key", "sim-kie-key", "sim-openai-key", "sim-google-key", TestSystem.UserKey }.Any(
                secret => tag.Value.Contains(secret, StringComparison.Ordinal)));
    }

    [Fact]
    public async Task A_failed_attempt_shows_what_failed_and_the_next_one_its_number()
    {
        var id = await system.SubmitAsync("seedream-4", new { prompt = "tried twice [fault=overload:times=1]", size = "1K" });
        await system.EndOfAsync(id);
        var spans = await collector.UntilAsync(all => all.Count(s => s.Name == "process image" && s.Session == id.ToString()) == 2, s =>
            s.Session == id.ToString());
        var attempts = spans.Where(s => s.Name == "process image" && s.Session == id.ToString())
            .OrderBy(s => s["generation.attempt"], StringComparer.Ordinal).ToList();
        Assert.Equal(("0", "retry", true, "1", "completed", false), (
            attempts[0]["generation.attempt"], attempts[0]["generation.job.outcome"], attempts[0].IsError,
            attempts[1]["generation.attempt"], attempts[1]["generation.job.outcome"], attempts[1].IsError));
        var failed = spans.First(s => s.Name.StartsWith("generate_content", StringComparison.Ordinal) && s.ParentId == attempts[0].SpanId);
        Assert.True(failed.IsError);
        Assert.Equal(failed["error.type"], attempts[0]["error.type"]);
        Assert.NotNull(failed["error.type"]);
    }

    [Fact]
    public async Task A_callback_is_seen_in_the_session_s_trace_and_linked_to_its_request()
    {
        var id = await system.SubmitAsync("nano-banana", new { prompt = "called back once [latency=500]" });
        var trace = (string)(await system.EndOfAsync(id))["traceId"]!;
        var spans = await collector.UntilAsync(
            all => all.Any(s => s.Name == "callback kie" && s.Session == id.ToString())
                && all.Any(s => s.Name.StartsWith("POST /api/webhooks", StringComparison.Ordinal) && s.Session == id.ToString()),
            s => s.Session == id.ToString());
        var seen = spans.First(s => s.Name == "callback kie" && s.Session == id.ToString());
        Assert.Equal(trace, seen.TraceId);
        Assert.Contains(spans, s => s.Kind == Server && s.Session == id.ToString() && seen.Links.Contains((s.TraceId, s.SpanId))
            && s.TraceId != trace);
    }

    [Fact]
    public async Task A_retry_and_a_redrive_are_traces_of_their_own_that_link_to_the_one_before()
    {
        var failed = await system.SubmitAsync("seedream-4", new { prompt = "refused [fault=unauthorized:times=1]", size = "1K" });
        var before = await system.EndOfAsync(failed);
        Assert.Equal("failed", (string?)before["status"]);

        using var response = await system.Http.PostAsync(new Uri($"/api/generations/{failed}/retry", UriKind.Relative), null);
        var retry = (await TestSystem.ReadAsync(response))["sessionId"]!.GetValue<Guid>();
        var (_, key) = await system.AddUserAsync($"admin-{failed:N}", 0, "admin");
        using var admin = system.Client(system.Apis[0], key);
        using var answer = await admin.PostAsJsonAsync("/api/admin/dead-letters/redrive", new { sessionIds = new[] { failed } });
        var redriven = (await TestSystem.ReadAsync(answer))["results"]![0]!["newSessionId"]!.GetValue<Guid>();
        var letters = await admin.GetFromJsonAsync<JsonObject>("/api/admin/dead-letters");
        Assert.Contains(letters!["deadLetters"]!.AsArray(), l =>
            (string?)l!["sessionId"] == failed.ToString() && (string?)l["traceId"] == (string?)before["traceId"]);

        foreach (var (id, name) in new[] { (retry, "POST /api/generations/{sessionId:guid}/retry"), (redriven, "redrive") })
        {
            var trace = (await system.ScalarAsync<string>($"SELECT traceparent FROM generation_sessions WHERE session_id = '{id}'"))!.Split('-')[1];
            Assert.NotEqual((string?)before["traceId"], trace);
            await system.UntilAsync($"SELECT completed_at IS NOT NULL FROM generation_sessions WHERE session_id = '{id}'");
            var spans = await collector.UntilAsync(
                all => all.Any(s => s.TraceId == trace && s.Name == name) && all.Any(s => s.TraceId == trace && s.Name == "settle"), s =>
                    s.TraceId == trace);
            Assert.Contains(spans.Single(s => s.TraceId == trace && s.Name == name).Links, link => link.TraceId == (string?)before["traceId"]);
        }
    }

    public sealed class TracedSystem : IAsyncLifetime
    {
        public TestSystem System { get; private set; } = null!;

        public TestCollector Collector { get; private set; } = null!;

        public async ValueTask InitializeAsync()
        {
            Collector = await TestCollector.StartAsync();
            System = await TestSystem.StartAsync(o =>
            {
                (o.AsProcesses, o.IsPublic, o.Credits) = (true, true, 100_000);
                o.Settings["Worker:MaxAttempts"] = "3";
                Collector.Configure(o.Settings);
            });
        }

        public async ValueTask DisposeAsync()
        {
            await System.DisposeAsync();
            await Collector.DisposeAsync();
        }
    }
}
