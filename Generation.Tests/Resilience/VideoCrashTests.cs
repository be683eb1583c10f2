using Generation.Tests.Faults;
using Generation.Tests.Harness;

namespace Generation.Tests.Resilience;

/// <summary>Invariant 7 where a provider works for minutes: whenever the worker dies, no second task is bought.</summary>
[Trait("tier", "process")]
public sealed class VideoCrashTests
{
    [Fact]
    public async Task A_worker_killed_before_it_knows_the_tasks_id_ends_the_session_as_unknown_with_one_task_bought()
    {
        TestSystemOptions options = null!;
        await using var system = await TestSystem.StartAsync(o => (options = o).Workers = 0);
        var worker = await options.AsProcessAsync(system.AddWorkerAsync);
        var id = await system.SubmitAsync("seedance-2", new { prompt = "lost at sea [gate=create]" });
        await system.Sim.WaitAtGateAsync("create");
        await worker.KillAsync();
        await system.Sim.OpenGateAsync("create");
        await system.AddWorkerAsync();

        var end = await system.EndOfAsync(id);
        Assert.Equal(("failed", "outcome_unknown"), ((string?)end["status"], (string?)end["error"]!["code"]));
        Assert.Equal((0, 100), ((int?)end["receipt"]!["captured"], (int?)end["receipt"]!["released"]));
        Assert.Equal(1, await system.Sim.PaidAsync("lost at sea"));
        Assert.Equal(1, await system.ScalarAsync<long>($"SELECT count(*) FROM error_events WHERE session_id = '{id}' AND detail ? 'providerTaskId'"));
        await system.AssertAllIsWellAsync();
    }

    [Fact]
    public async Task A_worker_killed_while_the_task_runs_is_followed_by_one_that_asks_for_the_same_task()
    {
        TestSystemOptions options = null!;
        await using var system = await TestSystem.StartAsync(o => (options = o).Workers = 0);
        var worker = await options.AsProcessAsync(system.AddWorkerAsync);
        var id = await system.SubmitAsync("seedance-2", new { prompt = "found again [latency=3000]" });
        await system.UntilAsync("SELECT count(*) = 1 FROM provider_tasks WHERE task_id IS NOT NULL"); // running, unless it has been quick
        await worker.KillAsync();
        await system.AddWorkerAsync();

        Assert.Equal("completed", (string?)(await system.EndOfAsync(id))["status"]);
        Assert.Equal((1, 1), ((await system.CallsAsync("found again")).Count, await system.Sim.PaidAsync("found again")));
        await system.AssertAllIsWellAsync();
    }

    [Fact]
    public async Task A_worker_killed_in_the_download_is_followed_by_one_that_fetches_the_same_video()
    {
        TestSystemOptions options = null!;
        await using var system = await TestSystem.StartAsync(o => (options = o).Workers = 0);
        var worker = await options.AsProcessAsync(system.AddWorkerAsync);
        var id = await system.SubmitAsync("seedance-2", new { prompt = "half a video [download-gate=half]" });
        await system.Sim.WaitAtGateAsync("half");
        await worker.KillAsync();
        await system.Sim.OpenGateAsync("half");
        await system.AddWorkerAsync();

        Assert.Equal("completed", (string?)(await system.EndOfAsync(id))["status"]);
        Assert.Equal((1, 1), ((await system.CallsAsync("half a video")).Count, await system.Sim.PaidAsync("half a video")));
        Assert.Single(system.Objects());
        await system.AssertAllIsWellAsync();
    }
}
