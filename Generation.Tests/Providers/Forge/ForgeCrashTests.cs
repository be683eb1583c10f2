using Generation.Tests.Faults;
using Generation.Tests.Harness;
using Generation.Tests.Resilience;

namespace Generation.Tests.Providers.Forge;

/// <summary>Invariant 7 where running twice is free: what a dead worker had not stored is made again, and what it had is not.</summary>
[Trait("tier", "process")]
public sealed class ForgeCrashTests
{
    [Theory]
    [InlineData("BEFORE INSERT ON provider_tasks FOR EACH ROW", 1, 1)]
    [InlineData("BEFORE INSERT ON media FOR EACH ROW", 2, 2)]
    [InlineData("BEFORE UPDATE ON provider_tasks FOR EACH ROW WHEN (NEW.state = 'delivered')", 1, 1)]
    [InlineData("BEFORE UPDATE ON generation_sessions FOR EACH ROW WHEN (NEW.completed_at IS NOT NULL)", 1, 1)]
    public async Task A_worker_killed_there_is_followed_by_one_that_makes_only_what_is_missing(string trigger, int calls, int objects)
    {
        TestSystemOptions options = null!;
        await using var system = await TestSystem.StartAsync(o => (options = o).Workers = 0);
        await using var point = await StandStill.AtAsync(system, trigger);
        var worker = await options.AsProcessAsync(system.AddWorkerAsync);
        var id = await system.SubmitForgeAsync("cut off");
        await point.ReachedAsync();
        await worker.KillAsync();
        await point.CutOffAsync();
        await point.LetGoAsync();
        await system.AddWorkerAsync();

        var end = await system.EndOfAsync(id);
        Assert.Equal(("completed", WebUiSystem.UnitPrice, 1),
            ((string?)end["status"], (long?)end["receipt"]!["captured"], end["media"]!.AsArray().Count));
        Assert.Equal((calls, objects), ((await system.CallsAsync("cut off")).Count, system.Objects().Count));
        Assert.Equal(0, await system.ScalarAsync<long>("SELECT count(*) FROM error_events"));
        await system.AssertSlotsAreFreeAsync();
        await system.AssertAllIsWellAsync();
    }

    [Fact]
    public async Task A_worker_killed_in_the_second_of_two_pictures_costs_only_that_one_its_time()
    {
        TestSystemOptions options = null!;
        await using var system = await TestSystem.StartAsync(o => (options = o).Workers = 0);
        var worker = await options.AsProcessAsync(system.AddWorkerAsync);
        var id = await system.SubmitForgeAsync("two of them [gate=half]", n: 2);
        await system.Sim.WaitAtGateAsync("half");
        await system.Sim.LetOnePassAsync("half");
        await system.UntilAsync("SELECT count(*) = 1 FROM media");
        var kept = await system.ScalarAsync<string>("SELECT object_key FROM media");
        await system.Sim.WaitAtGateAsync("half");
        await worker.KillAsync();
        await system.Sim.OpenGateAsync("half");
        await system.AddWorkerAsync();

        var end = await system.EndOfAsync(id);
        Assert.Equal(("completed", 2 * WebUiSystem.UnitPrice), ((string?)end["status"], (long?)end["receipt"]!["captured"]));
        Assert.Equal(3, (await system.CallsAsync("two of them")).Count);
        Assert.Equal(kept, await system.ScalarAsync<string>("SELECT object_key FROM media WHERE ordinal = 0"));
        Assert.Null(end["failedOutputs"]);
        await system.AssertAllIsWellAsync();
    }

    [Fact]
    public async Task A_worker_that_sleeps_through_its_lease_changes_nothing_when_the_picture_comes()
    {
        TestSystemOptions options = null!;
        await using var system = await TestSystem.StartAsync(o => (options = o).Workers = 0);
        var sleeper = await options.AsProcessAsync(system.AddWorkerAsync);
        var id = await system.SubmitForgeAsync("slept over [gate=half]");
        await system.Sim.WaitAtGateAsync("half");
        sleeper.Pause();
        await system.AddWorkerAsync();
        await system.Sim.UntilGpuAsync(gpu => gpu is { Jobs: 2, Interrupts: 1 });
        await system.Sim.OpenGateAsync("half");
        var end = await system.EndOfAsync(id);
        sleeper.Resume();
        Assert.Equal(0, await sleeper.StopAsync(Killing.MaxWait));

        Assert.Equal(("completed", 1), ((string?)end["status"], end["media"]!.AsArray().Count));
        Assert.EndsWith("output-0-3.png", await system.ScalarAsync<string>("SELECT object_key FROM media"), StringComparison.Ordinal);
        Assert.Equal(1, (await system.Sim.GpuAsync()).Interrupts);
        await system.AssertAllIsWellAsync();
    }
}
