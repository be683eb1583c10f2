using System.Net;
using Generation.Api;
using Generation.Core.Media;
using Generation.Core.Realtime;
using Generation.Tests.Harness;
using Microsoft.Extensions.DependencyInjection;

namespace Generation.Tests.Events;

/// <summary>Two Apis and no worker until the watchers are there, so that nobody misses the beginning.</summary>
public sealed class TwoApis : IAsyncLifetime
{
    internal TestSystem System { get; private set; } = null!;

    public async ValueTask InitializeAsync() => System = await TestSystem.StartAsync(o =>
    {
        o.Apis = 2;
        o.Workers = 0;
        o.Settings["Mock:Enabled"] = "true";
        o.Settings["Mock:StageDelay"] = "00:00:00.300"; // long against the 200 ms in which a worker hears of a cancel
        o.Settings["Api:Heartbeat"] = "00:00:00.100";
    });

    public ValueTask DisposeAsync() => System.DisposeAsync();
}

/// <summary>Server-sent events: invariant 9, a watcher never sees older after newer, at whichever Api.</summary>
[Trait("tier", "slow")]
public sealed class EventsTests(TwoApis two) : IClassFixture<TwoApis>
{
    private static readonly TimeSpan MaxWait = TimeSpan.FromSeconds(30);

    private readonly TestSystem system = two.System;

    [Fact]
    public async Task Watchers_on_both_Apis_see_the_whole_story_in_order()
    {
        var user = await system.NewUserAsync();
        var id = await user.AcceptedAsync(n: 2);
        var watching = new[] { new Watching(system, id, user), new Watching(system, id, user), new Watching(system, id, user.At(1)) };
        await Task.WhenAll(watching.Select(w => w.UntilAsync("snapshot")));
        await using var worker = await system.AddWorkerAsync();

        foreach (var events in await Task.WhenAll(watching.Select(w => w.AllAsync())))
        {
            var told = string.Join(' ', events.Select(e => e.Name));
            Assert.Equal(("snapshot", 1L, "queued"), (events[0].Name, events[0].Id, (string?)events[0].Data["status"]));
            Assert.Equal(("done", "completed", 100), (events[^1].Name, (string?)events[^1].Data["status"], (int)events[^1].Data["progress"]!));
            Assert.Equal(8, (long?)events[^1].Data["receipt"]!["captured"]);
            Assert.Equal(2, events[^1].Data["media"]!.AsArray().Count);
            Assert.True(events.Skip(1).SkipLast(1).All(e => e.Name is "status" or "progress" or "media" or "queue"), told);
            Assert.Contains(events, e => e.Name == "status" && (string?)e.Data["status"] == "processing");
            Assert.Equal([10, 25, 60, 85], events.Where(e => e.Name == "progress").Select(e => (int)e.Data["percent"]!).Distinct());
            Assert.Equal([0, 1], events.Where(e => e.Name == "media").Select(e => (int)e.Data["media"]!["ordinal"]!));
            Assert.All(events.Where(e => e.Name == "media"), e => Assert.NotNull((string?)e.Data["media"]!["url"]));
            AssertNeverBackwards(events);
        }
    }

    [Fact]
    public async Task A_stream_resumes_after_the_last_event_that_was_seen()
    {
        var user = await system.NewUserAsync();
        var id = await user.AcceptedAsync(n: 2);
        var first = new Watching(system, id, user);
        await first.UntilAsync("snapshot");
        await using var worker = await system.AddWorkerAsync();
        var seen = await first.UntilAsync("media");
        await first.LeaveAsync();

        // Cut off in the middle, then to the other Api.
        var last = seen.Last(e => e.Id is not null).Id!.Value;
        var rest = await new Watching(system, id, user.At(1), last).AllAsync();
        Assert.Equal(("snapshot", "done"), (rest[0].Name, rest[^1].Name));
        Assert.All(rest.Where(e => e.Id is not null), e => Assert.True(e.Id > last, $"{e.Name} {e.Id} was seen already at {last}"));
        AssertNeverBackwards(rest);

        // What was the end stays the end: 204, and an EventSource does not come back.
        var end = rest[^1].Id!.Value;
        foreach (var api in new[] { user, user.At(1) })
        {
            (await api.GetAsync($"/api/generations/{id}/events", ("Last-Event-ID", end.ToString()))).AssertStatus(HttpStatusCode.NoContent);

            foreach (var older in new long?[] { null, 1, end - 1, end + 1_000 }) // the last is none of ours
            {
                var ended = await new Watching(system, id, api, older).AllAsync();
                Assert.Equal(["snapshot", "done"], ended.Select(e => e.Name));
                Assert.Equal(end, ended[^1].Id);
                Assert.Equal("completed", (string?)ended[0].Data["status"]);
            }
        }
    }

    [Theory]
    [InlineData("garbage")]
    [InlineData("-1")]
    [InlineData("1e3")]
    [InlineData("99999999999999999999999")]
    public async Task A_last_event_id_that_makes_no_sense_starts_from_the_beginning(string lastEventId)
    {
        var user = await system.NewUserAsync();
        var id = await user.AcceptedAsync();
        await user.SendAsync(HttpMethod.Post, $"/api/generations/{id}/cancel");
        var reply = await user.GetAsync($"/api/generations/{id}/events", ("Last-Event-ID", lastEventId));
        Assert.Equal("text/event-stream", reply.AssertStatus(HttpStatusCode.OK).ContentType);
        Assert.Contains("event: canceled", (string?)reply.Body["text"], StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_cancel_at_one_Api_ends_the_stream_at_the_other()
    {
        var user = await system.NewUserAsync();
        var id = await user.AcceptedAsync();
        var watching = new Watching(system, id, user.At(1));
        await watching.UntilAsync("snapshot");
        (await user.SendAsync(HttpMethod.Post, $"/api/generations/{id}/cancel")).AssertStatus(HttpStatusCode.OK);
        var events = await watching.AllAsync();
        Assert.Equal(("canceled", "canceled"), (events[^1].Name, (string?)events[^1].Data["status"]));
        AssertNeverBackwards(events);
    }

    [Fact]
    public async Task A_running_session_is_asked_to_stop_and_its_progress_never_falls()
    {
        var user = await system.NewUserAsync();
        var id = await user.AcceptedAsync(n: 2);
        var watching = new Watching(system, id, user);
        await watching.UntilAsync("snapshot");
        await using var worker = await system.AddWorkerAsync();
        await watching.UntilAsync("progress");
        var asked = (await user.At(1).SendAsync(HttpMethod.Post, $"/api/generations/{id}/cancel")).AssertStatus(HttpStatusCode.Accepted);
        Assert.Equal(("processing", true), ((string?)asked.Body["status"], (bool)asked.Body["cancelRequested"]!));
        var events = await watching.AllAsync();
        Assert.Equal("canceled", events[^1].Name);
        Assert.Contains("not charged", (string?)events[^1].Data["receipt"]!["summary"], StringComparison.Ordinal);
        AssertNeverBackwards(events);
        var credits = (await user.GetAsync("/api/credits")).Body;
        Assert.Equal((1_000L, 0L), ((long)credits["available"]!, (long)credits["reserved"]!));
    }

    [Fact]
    public async Task A_session_past_its_deadline_ends_its_stream_as_failed_and_free()
    {
        var user = await system.NewUserAsync();
        var id = await user.AcceptedAsync();
        var watching = new Watching(system, id, user);
        await watching.UntilAsync("snapshot");
        await system.ExecuteAsync($"UPDATE generation_sessions SET deadline = now() WHERE session_id = '{id}'");
        var end = (await watching.AllAsync())[^1];
        Assert.Equal(("failed", "failed", "expired"), (end.Name, (string?)end.Data["status"], (string?)end.Data["error"]!["code"]));
        Assert.True((bool)end.Data["error"]!["retryable"]!);
        Assert.False(string.IsNullOrEmpty((string?)end.Data["error"]!["message"]));
        Assert.Equal((4L, 0L, 4L), ((long)end.Data["receipt"]!["held"]!, (long)end.Data["receipt"]!["captured"]!,
            (long)end.Data["receipt"]!["released"]!));
    }

    [Fact]
    public async Task A_forged_progress_message_gets_no_file_signed_but_this_sessions_own_previews()
    {
        var (user, victim) = (await system.NewUserAsync(), await system.NewUserAsync());
        var (id, other) = (await user.AcceptedAsync(), await user.AcceptedAsync());
        var now = TimeProvider.System.GetUtcNow();
        var watching = new Watching(system, id, user);
        await watching.UntilAsync("snapshot");
        var redis = ((InProcessService<ApiOptions>)system.Apis[0]).Services.GetRequiredService<ProgressChannel>();
        string[] keys =
        [
            MediaKey.Output(victim.UserId, now, id, 0, 1, "png", MediaRole.Preview).ToString(),
            MediaKey.Output(user.UserId, now, other, 0, 1, "png", MediaRole.Preview).ToString(),
            MediaKey.Output(user.UserId, now, id, 0, 1, "png").ToString(),
            MediaKey.Output(user.UserId, now, id, 1, 1, "png", MediaRole.Preview).ToString(),
            MediaKey.Upload(victim.UserId, now, id, "png").ToString(),
            MediaKey.Sample("harbour.jpg").ToString(),
            "../../etc/passwd",
            MediaKey.Output(user.UserId, now, id, 0, 1, "png", MediaRole.Preview).ToString(),
        ];
        foreach (var (n, key) in keys.Index())
        {
            redis.Publish(new Progress(id, 1, 1, n + 1, $"step {n}") { Preview = new Preview(0, key) });
            await watching.UntilAsync(e => e.Name == "progress" && (string?)e.Data["phase"] == $"step {n}"); // they may overtake each other
        }

        await user.SendAsync(HttpMethod.Post, $"/api/generations/{id}/cancel");
        var shown = (await watching.AllAsync()).Where(e => e.Name == "progress").ToList();
        Assert.Equal(keys.Length, shown.Count);
        var preview = Assert.Single(shown, e => e.Data["preview"] is not null);
        Assert.Equal(keys.Length, (int?)preview.Data["percent"]);
        Assert.Contains("preview-0-1.png?expires=", (string?)preview.Data["preview"]!["url"], StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_quiet_stream_carries_heartbeats()
    {
        var user = await system.NewUserAsync();
        var id = await user.AcceptedAsync();
        using var timeout = new CancellationTokenSource(MaxWait);
        using var response = await user.Http.GetAsync($"/api/generations/{id}/events", HttpCompletionOption.ResponseHeadersRead, timeout.Token);
        Assert.Equal("text/event-stream", response.Content.Headers.ContentType?.MediaType);
        Assert.True(response.Headers.CacheControl?.NoCache);
        using var reader = new StreamReader(await response.Content.ReadAsStreamAsync(timeout.Token));
        for (var beats = 0; beats < 3;)
        {
            var line = await reader.ReadLineAsync(timeout.Token);
            Assert.NotNull(line);
            beats += line.StartsWith(':') ? 1 : 0;
        }
    }

    [Fact]
    public async Task An_Api_that_stops_ends_its_streams_cleanly_and_sends_the_watchers_elsewhere()
    {
        var user = await system.NewUserAsync();
        var id = await user.AcceptedAsync();
        var leaving = await system.AddApiAsync();
        system.Apis.Remove(leaving);
        using var http = system.Client(leaving, user.Key);
        using var timeout = new CancellationTokenSource(MaxWait);
        using var response = await http.GetAsync($"/api/generations/{id}/events", HttpCompletionOption.ResponseHeadersRead, timeout.Token);
        using var reader = new StreamReader(await response.Content.ReadAsStreamAsync(timeout.Token));
        var lines = new List<string>();
        while (!lines.Contains("event: snapshot"))
        {
            lines.Add(await reader.ReadLineAsync(timeout.Token) ?? throw new InvalidOperationException("The stream ended before it began."));
        }

        var stopping = leaving.DisposeAsync();
        while (await reader.ReadLineAsync(timeout.Token) is { } line) // an unclean end throws here
        {
            lines.Add(line);
        }

        await stopping;
        Assert.Contains(lines, l => l.StartsWith("retry: ", StringComparison.Ordinal) && int.Parse(l[7..]) is > 0 and <= 5_000);
        Assert.DoesNotContain(lines, l => l is "event: done" or "event: failed" or "event: canceled");
        await user.SendAsync(HttpMethod.Post, $"/api/generations/{id}/cancel");
        Assert.Equal("canceled", (await new Watching(system, id, user, 1).AllAsync())[^1].Name);
    }

    /// <summary>Ids grow, progress has none, versions and percents never fall, and the end is the last thing told.</summary>
    private static void AssertNeverBackwards(IReadOnlyList<SseEvent> events)
    {
        var story = string.Join('\n', events.Select(e => $"{e.Name} {e.Id} {e.Data}"));
        var (version, id, percent) = (0L, 0L, 0);
        foreach (var e in events)
        {
            Assert.True(e.Name is "progress" or "queue" ? e.Id is null : e.Id is null || (e.Id >= id && e.Id == (long)e.Data["version"]!), story);
            var next = (int?)(e.Name == "progress" ? e.Data["percent"] : e.Data["progress"]) ?? percent;
            Assert.True((long)e.Data["version"]! >= version && next >= percent, story);
            (version, id, percent) = ((long)e.Data["version"]!, e.Id ?? id, next);
        }

        Assert.Single(events, e => e.Name is "done" or "failed" or "canceled");
        Assert.Single(events, e => e.Name == "snapshot");
    }

    /// <summary>A watcher at work, whose events are collected as they come.</summary>
    private sealed class Watching
    {
        private readonly CancellationTokenSource leave = new(MaxWait);
        private readonly List<SseEvent> events = [];
        private readonly List<(Func<SseEvent, bool> IsIt, TaskCompletionSource<IReadOnlyList<SseEvent>> Seen)> waiting = [];
        private readonly Lock gate = new();
        private readonly Task reading;

        public Watching(TestSystem system, Guid sessionId, ApiUser user, long? lastEventId = null) =>
            reading = ReadAsync(system, sessionId, user, lastEventId);

        /// <summary>What was told up to the first event of this name.</summary>
        public Task<IReadOnlyList<SseEvent>> UntilAsync(string name) => UntilAsync(e => e.Name == name);

        public async Task<IReadOnlyList<SseEvent>> UntilAsync(Func<SseEvent, bool> isIt)
        {
            var seen = new TaskCompletionSource<IReadOnlyList<SseEvent>>(TaskCreationOptions.RunContinuationsAsynchronously);
            lock (gate)
            {
                if (events.Any(isIt))
                {
                    return [.. events];
                }

                waiting.Add((isIt, seen));
            }

            await (await Task.WhenAny(seen.Task, reading));
            return await seen.Task.WaitAsync(TimeSpan.FromSeconds(1));
        }

        /// <summary>Everything, once the server has closed the stream.</summary>
        public async Task<IReadOnlyList<SseEvent>> AllAsync()
        {
            await reading;
            return events;
        }

        public async Task LeaveAsync()
        {
            await leave.CancelAsync();
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => reading);
        }

        private async Task ReadAsync(TestSystem system, Guid sessionId, ApiUser user, long? lastEventId)
        {
            await foreach (var e in system.EventsAsync(sessionId, user.Http, lastEventId, leave.Token))
            {
                lock (gate)
                {
                    events.Add(e);
                    foreach (var (_, seen) in waiting.Where(w => w.IsIt(e)))
                    {
                        seen.TrySetResult([.. events]);
                    }
                }
            }
        }
    }
}
