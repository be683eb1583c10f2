using Generation.Tests.Harness;

namespace Generation.Tests.Resilience;

/// <summary>Promises 3, 4, 6 and 7 when a worker dies, or only seems dead, in the middle of a job.</summary>
[Trait("tier", "process")]
public sealed class WorkerCrashTests
{
    [Fact]
    public async Task A_worker_killed_in_a_paid_call_costs_that_session_and_no_other()
    {
        TestSystemOptions options = null!;
        await using var system = await TestSystem.StartAsync(o => ((options = o).Workers, o.Settings["Worker:Concurrency"]) = (0, "1"));
        var worker = await options.AsProcessAsync(system.AddWorkerAsync);
        var cut = await system.SubmitAsync("cut off [gate=call]");
        await system.Sim.WaitAtGateAsync("call");
        var queued = await Task.WhenAll(Enumerable.Range(0, 5).Select(i => system.SubmitAsync($"queued {i}")));
        await worker.KillAsync();
        await system.AddWorkerAsync();

        var end = await system.EndOfAsync(cut);
        Assert.Equal(("failed", "outcome_unknown"), ((string?)end["status"], (string?)end["error"]!["code"]));
        Assert.Equal((0, 4), ((long?)end["receipt"]!["captured"], (long?)end["receipt"]!["released"]));
        Assert.Equal(1, await system.Sim.PaidAsync("cut off"));
        Assert.Equal(1, await system.ScalarAsync<long>(
            $"SELECT count(*) FROM error_events WHERE session_id = '{cut}' AND detail ? 'providerTaskId'"));
        Assert.All(await Task.WhenAll(queued.Select(id => system.EndOfAsync(id))), e => Assert.Equal("completed", (string?)e["status"]));
        Assert.Equal(5, await system.Sim.PaidAsync("queued"));
        await system.AssertAllIsWellAsync();
    }

    [Fact]
    public async Task A_worker_that_sleeps_through_its_lease_in_a_transfer_changes_nothing_when_it_wakes()
    {
        TestSystemOptions options = null!;
        await using var system = await TestSystem.StartAsync(o => (options = o).Workers = 0);
        var sleeper = await options.AsProcessAsync(system.AddWorkerAsync);
        var id = await system.SubmitAsync("slept over [download-gate=half]");
        await system.Sim.WaitAtGateAsync("half");
        await sleeper.PauseAsync();
        await system.AddWorkerAsync();
        // 1 the sleeper's, 2 the revocation, 3 the second worker's
        await system.UntilAsync("SELECT lease_token = 3 AND status = 'processing' FROM generation_sessions");
        await system.Sim.OpenGateAsync("half");
        var end = await system.EndOfAsync(id);
        var before = await StateAsync(system);

        await WakeAndLeaveAsync(sleeper);

        Assert.Equal("completed", (string?)end["status"]);
        Assert.Equal(before, await StateAsync(system));
        Assert.Equal(1, await system.Sim.PaidAsync("slept over"));
        Assert.EndsWith("output-0-3.jpg", await system.ScalarAsync<string>("SELECT object_key FROM media"), StringComparison.Ordinal);
        await system.AssertAllIsWellAsync();
    }

    /// <summary>The worker goes on where it stood, and has done all that it will do when this returns.</summary>
    private static async Task WakeAndLeaveAsync(ProcessService sleeper)
    {
        sleeper.Resume();
        Assert.Equal(0, await sleeper.StopAsync(Killing.MaxWait)); // it waits for its job first
        Assert.Contains(sleeper.Log, line => line.Contains("was lost; stopping the job", StringComparison.Ordinal) || line.Contains(
            "was lost to another worker", StringComparison.Ordinal));
    }

    /// <summary>Everything that a worker may write.</summary>
    private static async Task<string> StateAsync(TestSystem system) => (await system.ScalarAsync<string>(
        """
        SELECT concat_ws(E'\n',
            (SELECT json_agg(s ORDER BY session_id) FROM generation_sessions AS s),
            (SELECT json_agg(m ORDER BY media_id) FROM media AS m),
            (SELECT json_agg(t ORDER BY provider_task_id) FROM provider_tasks AS t),
            (SELECT json_agg(c ORDER BY transaction_id) FROM credit_transactions AS c),
            (SELECT json_agg(e ORDER BY error_event_id) FROM error_events AS e))
        """))!;
}
