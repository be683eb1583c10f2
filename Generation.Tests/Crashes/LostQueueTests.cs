using Generation.Tests.Harness;

namespace Generation.Tests.Crashes;

/// <summary>Promise 8: the queue may be lost, away or left with messages of the dead; everything in it can be made anew.</summary>
public sealed class LostQueueTests
{
    [Fact]
    public async Task A_wiped_queue_is_filled_again_and_every_session_runs_once()
    {
        await using var system = await TestSystem.StartAsync(o => (o.Workers, o.OwnRedis) = (0, true));
        var ids = await Task.WhenAll(Enumerable.Range(0, 30).Select(i => system.SubmitAsync($"wiped {i}")));
        await system.UntilAsync("SELECT count(*) = 30 FROM outbox WHERE dispatched_at IS NOT NULL");
        await system.Redis.WipeAsync();
        await system.AddWorkerAsync();

        Assert.All(await Task.WhenAll(ids.Select(id => system.EndOfAsync(id))), end => Assert.Equal("completed", (string?)end["status"]));
        await AssertRanOnceAsync(system, 30, "wiped");
    }

    [Fact]
    public async Task A_queue_that_is_wiped_under_running_jobs_gets_back_only_what_was_waiting_in_it()
    {
        await using var system = await TestSystem.StartAsync(o => (o.OwnRedis, o.Settings["Worker:Concurrency"]) = (true, "3"));
        var running = await Task.WhenAll(Enumerable.Range(0, 3).Select(i => system.SubmitAsync($"running {i} [gate=call]")));
        await system.UntilAsync("SELECT count(*) = 3 FROM provider_tasks");
        var waiting = await Task.WhenAll(Enumerable.Range(0, 12).Select(i => system.SubmitAsync($"waiting {i}")));
        await system.UntilAsync("SELECT count(*) = 12 FROM outbox WHERE dispatched_at IS NOT NULL");
        await system.Redis.WipeAsync();
        using var stream = await ImageStream.OpenAsync(system);
        await system.UntilAsync("SELECT count(*) = 12 FROM outbox WHERE dispatched_at > now() - interval '1 second'"); // all are sent again
        await system.Sim.OpenGateAsync("call");

        Assert.All(await Task.WhenAll(running.Concat(waiting).Select(id => system.EndOfAsync(id))), end => Assert.Equal("completed", (string?)end["status"]));
        Assert.Equal(12, await stream.EverAddedAsync()); // since the wipe
        Assert.Equal(3, await system.Sim.PaidAsync("running"));
        await AssertRanOnceAsync(system, 15, "waiting", 12);
    }

    [Fact]
    public async Task A_queue_that_is_away_is_complained_about_once_and_everything_goes_on_when_it_is_back()
    {
        await using var system = await TestSystem.StartAsync(o => o.OwnRedis = true);
        var before = await Task.WhenAll(Enumerable.Range(0, 10).Select(i => system.SubmitAsync($"away {i} [latency=200]")));
        await system.UntilAsync("SELECT count(*) > 0 FROM provider_tasks");
        await system.Redis.KillAsync();
        var meanwhile = await Task.WhenAll(Enumerable.Range(10, 10).Select(i => system.SubmitAsync($"away {i}")));
        await system.Relays[0].UntilLoggedAsync("outbox.queue_missing");
        await system.Redis.RestartAsync();

        Assert.All(await Task.WhenAll(before.Concat(meanwhile).Select(id => system.EndOfAsync(id))), end => Assert.Equal("completed", (string?)end["status"]));
        Assert.Single(system.Relays[0].Log, line => line.Contains("outbox.queue_missing", StringComparison.Ordinal));
        await AssertRanOnceAsync(system, 20, "away");
    }

    [Fact]
    public async Task Messages_of_a_worker_that_died_before_its_claim_are_taken_over()
    {
        await using var system = await TestSystem.StartAsync(o => o.Workers = 0);
        var ids = await Task.WhenAll(Enumerable.Range(0, 5).Select(i => system.SubmitAsync($"left behind {i}")));
        await system.UntilAsync("SELECT count(*) = 5 FROM outbox WHERE dispatched_at IS NOT NULL");
        using var stream = await ImageStream.OpenAsync(system);
        Assert.Equal(5, await stream.ReceiveAndDieAsync(5));
        var worker = await system.AddWorkerAsync();

        Assert.All(await Task.WhenAll(ids.Select(id => system.EndOfAsync(id))), end => Assert.Equal("completed", (string?)end["status"]));
        Assert.Contains(worker.Log, line => line.Contains("left behind by another worker", StringComparison.Ordinal));
        Assert.Equal(5, await stream.EverAddedAsync());
        await AssertRanOnceAsync(system, 5, "left behind");
    }

    private static async Task AssertRanOnceAsync(TestSystem system, int sessions, string prompt, int? paid = null)
    {
        await system.AssertAllIsWellAsync();
        Assert.Equal(paid ?? sessions, await system.Sim.PaidAsync(prompt));
        Assert.Equal(sessions, await system.ScalarAsync<long>("SELECT count(*) FROM generation_sessions WHERE status = 'completed' AND lease_token = 2")); // one claim, one end
    }
}
