using Generation.Tests.Harness;

namespace Generation.Tests.Resilience;

/// <summary>The way from the outbox to the queue when relays die, and when there are several of them.</summary>
[Trait("tier", "process")]
public sealed class RelayCrashTests
{
    /// <summary>Long: a busy machine must not look like a dead worker where every session is to be claimed once.</summary>
    private const string Lease = "00:00:30";

    private const string Marking = "BEFORE UPDATE ON outbox FOR EACH ROW WHEN (OLD.dispatched_at IS NULL AND NEW.dispatched_at IS NOT NULL)";

    [Fact]
    public async Task Another_relay_republishes_after_a_crash_between_publish_and_mark_and_the_job_runs_once()
    {
        TestSystemOptions options = null!;
        await using var system = await TestSystem.StartAsync(
            o => ((options = o).Relays, o.Workers, o.Settings["Worker:LeaseDuration"]) = (0, 0, Lease));
        await using var mark = await StandStill.AtAsync(system, Marking);
        var ids = await Task.WhenAll(Enumerable.Range(0, 10).Select(i => system.SubmitAsync($"published twice {i}")));
        var relay = await options.AsProcessAsync(system.AddRelayAsync);
        await mark.ReachedAsync();
        using var stream = await ImageStream.OpenAsync(system);
        Assert.Equal(10, await stream.EverAddedAsync());
        await relay.KillAsync();
        await mark.CutOffAsync();
        await mark.LetGoAsync();
        Assert.Equal(10, await system.ScalarAsync<long>("SELECT count(*) FROM outbox WHERE dispatched_at IS NULL"));

        await system.AddRelayAsync();
        await system.UntilAsync("SELECT count(*) = 10 FROM outbox WHERE dispatched_at IS NOT NULL");
        Assert.Equal(20, await stream.EverAddedAsync());
        await system.AddWorkerAsync();

        Assert.All(await Task.WhenAll(ids.Select(id => system.EndOfAsync(id))), end => Assert.Equal("completed", (string?)end["status"]));
        Assert.Equal(10, await system.Sim.PaidAsync("published twice"));
        await system.AssertRanOnceAsync(10);
        await system.AssertAllIsWellAsync();
        Assert.Equal(0, await stream.LengthAsync());
    }

    /// <summary>Its transaction kept the rows locked for as long as it slept, and no other relay could have them.</summary>
    [Fact]
    public async Task A_relay_that_sleeps_in_the_middle_of_a_dispatch_keeps_its_rows_from_the_others_for_seconds_only()
    {
        TestSystemOptions options = null!;
        await using var system = await TestSystem.StartAsync(
            o => ((options = o).Relays, o.Workers, o.Settings["Worker:LeaseDuration"]) = (0, 0, Lease));
        await using var mark = await StandStill.AtAsync(system, Marking);
        var ids = await Task.WhenAll(Enumerable.Range(0, 3).Select(i => system.SubmitAsync($"slept upon {i}")));
        var sleeper = await options.AsProcessAsync(system.AddRelayAsync);
        await mark.ReachedAsync();
        await sleeper.PauseAsync();
        await mark.LetGoAsync();
        await system.AddRelayAsync();
        await system.UntilAsync("SELECT count(*) = 3 FROM outbox WHERE dispatched_at IS NOT NULL");
        sleeper.Resume();
        await system.AddWorkerAsync();

        Assert.All(await Task.WhenAll(ids.Select(id => system.EndOfAsync(id))), end => Assert.Equal("completed", (string?)end["status"]));
        Assert.Equal(0, await sleeper.StopAsync(Killing.MaxWait));
        Assert.Equal(3, await system.Sim.PaidAsync("slept upon"));
        await system.AssertRanOnceAsync(3);
        await system.AssertAllIsWellAsync();
    }

    [Fact]
    public async Task A_worker_that_is_quicker_than_the_mark_of_a_dying_relay_does_the_job_once()
    {
        TestSystemOptions options = null!;
        await using var system = await TestSystem.StartAsync(o => ((options = o).Relays, o.Settings["Worker:LeaseDuration"]) = (0, Lease));
        await using var mark = await StandStill.AtAsync(system, Marking);
        var ids = await Task.WhenAll(Enumerable.Range(0, 5).Select(i => system.SubmitAsync($"quick {i}")));
        var relay = await options.AsProcessAsync(system.AddRelayAsync);
        await mark.ReachedAsync();
        await Task.WhenAll(ids.Select(id => system.EndOfAsync(id))); // although no row is marked
        await relay.KillAsync();
        await mark.CutOffAsync();
        await mark.LetGoAsync();
        await system.AddRelayAsync();

        await system.AssertAllIsWellAsync();
        Assert.Equal(5, await system.Sim.PaidAsync("quick"));
        await system.AssertRanOnceAsync(5);
    }

    [Fact]
    public async Task Relays_side_by_side_send_no_row_twice_and_keep_to_the_window()
    {
        const int Sessions = 500, Window = 20;
        await using var system = await TestSystem.StartAsync(o =>
        {
            (o.Relays, o.Workers, o.Credits) = (2, 0, 4 * Sessions);
            o.Settings["Worker:LeaseDuration"] = Lease;
            o.Settings["Relay:DispatchWindow"] = $"{Window}";
            o.Settings["Mock:Enabled"] = "true";
            o.Settings["Mock:UploadOutputs"] = "false";
            o.Settings["Mock:StageDelay"] = "00:00:00";
        });
        await Task.WhenAll(Enumerable.Range(0, Sessions).Select(i => system.SubmitAsync($"mock {i}")));
        await system.UntilAsync($"SELECT count(*) >= {Window} FROM outbox WHERE dispatched_at IS NOT NULL");
        using var stream = await ImageStream.OpenAsync(system);
        using var drained = new CancellationTokenSource();
        var longest = LongestAsync(stream, drained.Token);
        Assert.Equal(Window, await stream.LengthAsync());
        Assert.Equal(Window, await system.ScalarAsync<long>("SELECT count(*) FROM outbox WHERE dispatched_at IS NOT NULL"));

        await Task.WhenAll(system.AddWorkerAsync(), system.AddWorkerAsync());
        await system.AssertAllIsWellAsync();
        await drained.CancelAsync();

        Assert.Equal(Window, await longest);
        Assert.Equal(Sessions, await stream.EverAddedAsync());
        await system.AssertRanOnceAsync(Sessions);
    }

    [Fact]
    public async Task A_new_row_is_dispatched_when_it_is_announced_and_not_only_at_the_next_poll()
    {
        await using var system = await TestSystem.StartAsync(
            o => (o.Settings["Relay:PollInterval"], o.Settings["Mock:Enabled"]) = ("00:10:00", "true"));
        await system.UntilAsync("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND query ILIKE 'LISTEN%outbox%')");
        Assert.Equal("completed", (string?)(await system.EndOfAsync(await system.SubmitAsync("announced")))["status"]);

        // A listener that was cut off comes back, and looks for what it has missed.
        await system.ExecuteAsync(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query ILIKE 'LISTEN%outbox%'");
        Assert.Equal("completed", (string?)(await system.EndOfAsync(await system.SubmitAsync("announced to nobody")))["status"]);
    }

    [Fact]
    public async Task An_unknown_event_type_is_logged_and_set_aside_and_goes_out_by_the_poll_when_an_operator_has_corrected_it()
    {
        await using var system = await TestSystem.StartAsync(o => (o.Relays, o.Settings["Mock:Enabled"]) = (0, "true"));
        var strange = await system.SubmitAsync("from a newer version");
        await system.ExecuteAsync("UPDATE outbox SET event_type = 'gen.unheard-of'");
        await system.ExecuteAsync(
            $"INSERT INTO outbox (event_type, lane, session_id) VALUES ('gen.of-no-session', 'image', '{Guid.CreateVersion7()}')");
        var known = await system.SubmitAsync("behind it");
        var relay = await system.AddRelayAsync();

        Assert.Equal("completed", (string?)(await system.EndOfAsync(known))["status"]);
        await system.UntilAsync("SELECT count(*) = 2 FROM outbox WHERE set_aside_reason LIKE '%gen.unheard-of%' OR set_aside_reason LIKE "
            + "'%gen.of-no-session%'");
        Assert.Single(relay.Log, line => line.Contains("unknown event type 'gen.unheard-of'", StringComparison.Ordinal));
        Assert.Single(relay.Log, line => line.Contains("unknown event type 'gen.of-no-session'", StringComparison.Ordinal));
        Assert.Equal("queued", (string?)(await system.GetAsync(strange))["status"]);

        await system.ExecuteAsync(
            "UPDATE outbox SET event_type = 'gen.seedream4', set_aside_at = NULL, set_aside_reason = NULL WHERE event_type = 'gen.unheard-of'");
        Assert.Equal("completed", (string?)(await system.EndOfAsync(strange))["status"]);
        await system.AssertAllIsWellAsync();
    }

    private static async Task<long> LongestAsync(ImageStream stream, CancellationToken until)
    {
        var longest = 0L;
        while (!until.IsCancellationRequested)
        {
            longest = Math.Max(longest, await stream.LengthAsync());
        }

        return longest;
    }
}
