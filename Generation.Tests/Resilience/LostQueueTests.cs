using Generation.Tests.Harness;

namespace Generation.Tests.Resilience;

/// <summary>Invariant 8: the queue may be lost, away or left with messages of the dead; everything in it can be made anew.</summary>
[Trait("tier", "process")]
public sealed class LostQueueTests
{
    /// <summary>Long: a busy machine must not look like a dead worker where every session is to be claimed once.</summary>
    private const string Lease = "00:00:30";

    [Fact]
    public async Task A_wiped_queue_is_filled_again_and_every_session_runs_once()
    {
        await using var system = await TestSystem.StartAsync(o => (o.Workers, o.OwnRedis, o.Settings["Worker:LeaseDuration"]) = (0, true, Lease));
        var ids = await Task.WhenAll(Enumerable.Range(0, 30).Select(i => system.SubmitAsync($"wiped {i}")));
        await system.UntilAsync("SELECT count(*) = 30 FROM outbox WHERE dispatched_at IS NOT NULL");
        await system.Redis.WipeAsync();
        await system.AddWorkerAsync();

        Assert.All(await Task.WhenAll(ids.Select(id => system.EndOfAsync(id))), end => Assert.Equal("completed", (string?)end["status"]));
        await system.AssertAllIsWellAsync();
        await system.AssertRanOnceAsync(30);
        Assert.Equal(30, await system.Sim.PaidAsync("wiped"));
    }

    [Fact]
    public async Task A_queue_that_is_wiped_under_running_jobs_gets_back_only_what_was_waiting_in_it()
    {
        await using var system = await TestSystem.StartAsync(o =>
        {
            (o.OwnRedis, o.Settings["Worker:Concurrency"], o.Settings["Worker:LeaseDuration"]) = (true, "3", Lease);
            o.Settings["Relay:WindowSeconds"] = "0"; // all of them in the queue
        });
        var running = await Task.WhenAll(Enumerable.Range(0, 3).Select(i => system.SubmitAsync($"running {i} [gate=call]")));
        await system.UntilAsync("SELECT count(*) = 3 FROM provider_tasks");
        var waiting = await Task.WhenAll(Enumerable.Range(0, 12).Select(i => system.SubmitAsync($"waiting {i}")));
        await system.UntilAsync("SELECT count(*) = 12 FROM outbox WHERE dispatched_at IS NOT NULL");
        var wiped = await system.ScalarAsync<string>("SELECT clock_timestamp()::text");
        await system.Redis.WipeAsync();
        using var stream = await ImageStream.OpenAsync(system);
        await system.UntilAsync($"SELECT count(*) = 12 FROM outbox WHERE dispatched_at > '{wiped}'"); // all are sent again
        await system.Sim.OpenGateAsync("call");

        Assert.All(await Task.WhenAll(running.Concat(waiting).Select(id => system.EndOfAsync(id))), end =>
            Assert.Equal("completed", (string?)end["status"]));
        Assert.Equal(12, await stream.EverAddedAsync()); // since the wipe
        Assert.Equal(3, await system.Sim.PaidAsync("running"));
        await system.AssertAllIsWellAsync();
        await system.AssertRanOnceAsync(15);
        Assert.Equal(12, await system.Sim.PaidAsync("waiting"));
    }

    [Fact]
    public async Task A_queue_that_is_unavailable_is_reported_once_and_everything_goes_on_when_it_is_back()
    {
        await using var system = await TestSystem.StartAsync(o => (o.OwnRedis, o.Settings["Worker:LeaseDuration"]) = (true, Lease));
        var before = await Task.WhenAll(Enumerable.Range(0, 10).Select(i => system.SubmitAsync($"away {i} [latency=200]")));
        await system.UntilAsync("SELECT count(*) > 0 FROM provider_tasks");
        await system.Redis.KillAsync();
        var meanwhile = await Task.WhenAll(Enumerable.Range(10, 10).Select(i => system.SubmitAsync($"away {i}")));
        await system.Relays[0].UntilLoggedAsync("outbox.queue_missing");
        await system.Redis.RestartAsync();

        Assert.All(await Task.WhenAll(before.Concat(meanwhile).Select(id => system.EndOfAsync(id))), end =>
            Assert.Equal("completed", (string?)end["status"]));
        Assert.Single(system.Relays[0].Log, line => line.Contains("outbox.queue_missing", StringComparison.Ordinal));
        await system.AssertAllIsWellAsync();
        await system.AssertRanOnceAsync(20);
        Assert.Equal(20, await system.Sim.PaidAsync("away"));
    }

    [Fact]
    public async Task Messages_of_a_worker_that_died_before_its_claim_are_taken_over()
    {
        await using var system = await TestSystem.StartAsync(o => (o.Workers, o.Settings["Worker:LeaseDuration"]) = (0, Lease));
        var ids = await Task.WhenAll(Enumerable.Range(0, 5).Select(i => system.SubmitAsync($"left behind {i}")));
        await system.UntilAsync("SELECT count(*) = 5 FROM outbox WHERE dispatched_at IS NOT NULL");
        using var stream = await ImageStream.OpenAsync(system);
        Assert.Equal(5, await stream.ReceiveAndDieAsync(5));
        var worker = await system.AddWorkerAsync();

        Assert.All(await Task.WhenAll(ids.Select(id => system.EndOfAsync(id))), end => Assert.Equal("completed", (string?)end["status"]));
        Assert.Contains(worker.Log, line => line.Contains("that another worker did not acknowledge", StringComparison.Ordinal));
        Assert.Equal(5, await stream.EverAddedAsync());
        await system.AssertAllIsWellAsync();
        await system.AssertRanOnceAsync(5);
        Assert.Equal(5, await system.Sim.PaidAsync("left behind"));
    }
}
