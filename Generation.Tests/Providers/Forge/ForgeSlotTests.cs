using Generation.Tests.Harness;
using Generation.Tests.Resilience;

namespace Generation.Tests.Providers.Forge;

/// <summary>One job a GPU at a time, over all workers.</summary>
[Trait("tier", "slow")]
public sealed class ForgeSlotTests
{
    [Fact]
    public async Task Two_workers_and_two_GPUs_run_one_job_each_at_a_time()
    {
        await using var second = await TestSim.StartAsync();
        await using var first = await TestSim.StartAsync();
        await using var system = await TestSystem.StartAsync(
            o => (o.Workers, o.Settings["Providers:Forge:Endpoints"]) = (2, $"{first.Address},{second.Address}"));
        var ids = await Task.WhenAll(Enumerable.Range(0, 8).Select(i => system.SubmitForgeAsync($"many {i} [latency=300]", n: i % 2 + 1)));
        var ends = await Task.WhenAll(ids.Select(id => system.EndOfAsync(id)));

        Assert.All(ends, end => Assert.Equal(("completed", 0), ((string?)end["status"], (int?)end["attempt"])));
        var gpus = new[] { await first.GpuAsync(), await second.GpuAsync() };
        Assert.Equal(12, gpus.Sum(gpu => gpu.Jobs));
        Assert.All(gpus, gpu => Assert.Equal((1, true), (gpu.MostInside, gpu.Jobs > 0)));
        await system.AssertSlotsAreFreeAsync();
        await system.AssertAllIsWellAsync();
    }

    [Fact]
    public async Task Who_finds_every_GPU_busy_waits_without_an_attempt_and_without_a_place_in_the_worker()
    {
        await using var system = await TestSystem.StartAsync(
            o => (o.Settings["Worker:Concurrency"], o.Settings["Providers:Forge:SlotPatience"]) = ("2", "00:00:00"));
        var first = await system.SubmitForgeAsync("has it [gate=half]");
        await system.Sim.WaitAtGateAsync("half");
        var second = await system.SubmitForgeAsync("waits for it");
        await system.UntilAsync($"SELECT phase = 'waiting' AND status = 'queued' FROM generation_sessions WHERE session_id = '{second}'");
        await system.Sim.OpenGateAsync("half");

        Assert.All(await Task.WhenAll(system.EndOfAsync(first), system.EndOfAsync(second)), end =>
            Assert.Equal(("completed", 0), ((string?)end["status"], (int?)end["attempt"])));
        Assert.Equal((2, 1), (await system.Sim.GpuAsync()) is var gpu ? (gpu.Jobs, gpu.MostInside) : default);
    }

    [Fact]
    [Trait("tier", "process")]
    public async Task A_killed_workers_slot_is_free_when_its_lease_is_over_and_what_it_left_running_is_stopped()
    {
        TestSystemOptions options = null!;
        await using var system = await TestSystem.StartAsync(o => (options = o).Workers = 0);
        var worker = await options.AsProcessAsync(system.AddWorkerAsync);
        var id = await system.SubmitForgeAsync("killed [gate=half]");
        await system.Sim.WaitAtGateAsync("half");
        await worker.KillAsync();
        Assert.Equal(1, await system.ScalarAsync<long>($"SELECT count(*) FROM gpu_slots WHERE session_id = '{id}'"));
        await system.AddWorkerAsync();
        await system.Sim.UntilGpuAsync(gpu => gpu is { Jobs: 2, Interrupts: 1 });
        await system.Sim.OpenGateAsync("half");

        var end = await system.EndOfAsync(id);
        Assert.Equal(("completed", WebUiSystem.UnitPrice), ((string?)end["status"], (long?)end["receipt"]!["captured"]));
        await system.AssertSlotsAreFreeAsync();
        await system.AssertAllIsWellAsync();
    }
}
