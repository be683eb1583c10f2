using Generation.Tests.Harness;

namespace Generation.Tests.Jobs;

/// <summary>
/// A provider that is busy or unavailable: sessions come again through the outbox, hold no slot meanwhile, and leave it alone once it has failed in a
/// row.
/// </summary>
[Trait("tier", "slow")]
public sealed class RetryTests
{
    [Fact]
    public async Task A_rate_limited_session_comes_again_after_the_providers_delay_and_leaves_its_slot_to_others()
    {
        await using var system = await TestSystem.StartAsync(o => o.Settings["Worker:Concurrency"] = "1");
        var limited = await system.SubmitAsync("a limited one [fault=rate-limit:times=1][retry-after=2]");
        var another = await system.SubmitAsync("another one [gate=another]"); // comes behind it, and stands in the only slot until the gate is opened
        var events = new List<SseEvent>();
        using var timeout = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        await foreach (var e in system.EventsAsync(limited, ct: timeout.Token))
        {
            events.Add(e);
            if ((string?)e.Data["phase"] == "retrying")
            {
                await system.Sim.OpenGateAsync("another"); // not before the watcher has seen that it waits
            }
        }

        var other = await system.EndOfAsync(another);
        var end = events[^1].Data;
        Assert.Equal(("completed", "completed", 1), ((string?)other["status"], (string?)end["status"], (int?)end["attempt"]));
        Assert.True((DateTimeOffset)other["completedAt"]! < (DateTimeOffset)end["completedAt"]!, "The slot was not free while the session waited.");
        var calls = await system.CallsAsync("a limited one");
        Assert.Equal(2, calls.Count);
        Assert.InRange(calls[1].At - calls[0].At, TimeSpan.FromSeconds(2), TimeSpan.FromSeconds(60));

        Assert.Contains(events, e => e.Name == "status" && (string?)e.Data["status"] == "queued" && (string?)e.Data["phase"] == "retrying");
        AssertNothingGoesBackwards(events);
        await system.AssertBooksAreCleanAsync();
        await system.AssertNothingIsLeftBehindAsync();
    }

    [Fact]
    public async Task A_provider_that_stays_unavailable_is_asked_in_the_slot_then_through_the_outbox_and_then_given_up()
    {
        await using var system = await TestSystem.StartAsync(o =>
        {
            o.Settings["Worker:MaxAttempts"] = "2";
            o.Settings["Worker:SlotRetries:0"] = "00:00:00.300";
            o.Settings["Worker:RetryBackoff"] = "00:00:01.500";
        });
        var id = await system.SubmitAsync("nobody there [fault=server-error]");
        var events = await system.AllEventsAsync(id);
        var end = events[^1].Data;

        Assert.Equal(("failed", "provider_unavailable", 1), ((string?)end["status"], (string?)end["error"]!["code"], (int?)end["attempt"]));
        Assert.True((bool?)end["error"]!["retryable"]);
        var calls = await system.CallsAsync("nobody there");
        Assert.Equal(4, calls.Count);
        // two under each lease: what came through the outbox was claimed anew
        Assert.Equal("first first second second", await system.ScalarAsync<string>(
            $"""
            SELECT string_agg(CASE lease_token WHEN (SELECT min(lease_token) FROM provider_tasks) THEN 'first' ELSE 'second' END, ' '
                ORDER BY created_at)
            FROM provider_tasks WHERE session_id = '{id}'
            """));
        var pauses = calls.Zip(calls.Skip(1)).Select(pair => pair.Second.At - pair.First.At).ToArray();
        // 0.3 s with jitter
        Assert.All([pauses[0], pauses[2]], pause => Assert.InRange(pause, TimeSpan.FromMilliseconds(200), TimeSpan.FromSeconds(60)));
        Assert.InRange(pauses[1], TimeSpan.FromSeconds(1.5), TimeSpan.FromSeconds(60));
        Assert.Equal(
            "provider_unavailable: 4",
            await system.ScalarAsync<string>($"SELECT code || ': ' || (detail ->> 'released') FROM error_events WHERE session_id = '{id}'"));
        await system.UntilAsync("SELECT count(*) = 0 FROM outbox");
        AssertNothingGoesBackwards(events);
        await system.AssertBooksAreCleanAsync();
        await system.AssertNothingIsLeftBehindAsync();
    }

    [Fact]
    public async Task Five_failures_in_a_row_open_the_breaker_and_the_first_call_after_its_time_closes_it()
    {
        await using var system = await TestSystem.StartAsync(o => o.Settings["Worker:BreakDuration"] = "00:00:06");
        await system.EndOfAsync(await system.SubmitAsync("a success before counts for nothing"));
        var broken = await system.SubmitAsync("broken [fault=server-error:times=5]");
        await system.UntilAsync($"SELECT count(*) = 5 FROM provider_tasks WHERE session_id = '{broken}' AND state = 'rejected'");
        var waiting = await system.SubmitAsync("waiting for it");

        var ends = await Task.WhenAll(system.EndOfAsync(broken), system.EndOfAsync(waiting));
        Assert.All(ends, end => Assert.Equal("completed", (string?)end["status"]));
        var calls = (await system.CallsAsync("")).OrderBy(call => call.At).Skip(1).ToList(); // without the success before
        Assert.Equal(7, calls.Count);
        Assert.InRange((calls[5].At - calls[4].At).TotalSeconds, 5.95, 60);

        // It was told to wait without a call, and so was everybody else.
        Assert.Equal(0, (int?)ends[1]["attempt"]);
        Assert.Single(await system.CallsAsync("waiting for it"));
        // not those of an intent that lost the race for the half-open breaker's one call
        Assert.Equal(1, await system.ScalarAsync<long>(
            $"SELECT count(*) FROM provider_tasks WHERE session_id = '{waiting}' AND state <> 'rejected'"));

        // Closed: one more failure is only one.
        var after = await system.EndOfAsync(await system.SubmitAsync("after [fault=server-error:times=1]"));
        Assert.Equal(("completed", 0), ((string?)after["status"], (int?)after["attempt"]));
        await system.AssertBooksAreCleanAsync();
        await system.AssertNothingIsLeftBehindAsync();
    }

    /// <summary>The probe of an open breaker counted as no attempt: a provider that always broke down led to no dead letter for a day.</summary>
    [Fact]
    public async Task A_probe_that_fails_is_an_attempt_and_a_provider_that_never_recovers_leads_to_a_dead_letter()
    {
        await using var system = await TestSystem.StartAsync(o =>
        {
            o.Settings["Worker:BreakDuration"] = "00:00:01";
            o.Settings["Worker:MaxAttempts"] = "5";
        });
        var end = await system.EndOfAsync(await system.SubmitAsync("broken for good [fault=server-error]"));

        Assert.Equal(("failed", "provider_unavailable", 4), ((string?)end["status"], (string?)end["error"]!["code"], (int?)end["attempt"]));
        // two in the slot, twice; the fifth call opens the breaker, and each of the last two attempts is its probe
        Assert.Equal(7, (await system.CallsAsync("broken for good")).Count);
        await system.AssertBooksAreCleanAsync();
    }

    /// <summary>Invariant 9, over what one stream showed.</summary>
    private static void AssertNothingGoesBackwards(List<SseEvent> events)
    {
        var versions = events.Where(e => e.Id is not null).Select(e => e.Id!.Value).ToList();
        Assert.Equal(versions.Order(), versions);
        var percents = events.Select(e => (int?)(e.Data["percent"] ?? e.Data["progress"])).OfType<int>().ToList();
        Assert.Equal(percents.Order(), percents);
        var attempts = events.Select(e => (int?)e.Data["attempt"]).OfType<int>().ToList();
        Assert.Equal(attempts.Order(), attempts);
    }
}
