using System.Net.Http.Json;
using System.Text.Json.Nodes;
using Generation.Tests.Harness;
using Generation.Tests.Resilience;

namespace Generation.Tests.Providers.Forge;

/// <summary>A WebUI's interrupt hits whatever runs: it is sent when that is ours, and never else.</summary>
[Trait("tier", "slow")]
public sealed class ForgeCancelTests
{
    [Fact]
    public async Task A_canceled_session_does_not_stop_what_somebody_else_makes_at_the_WebUI()
    {
        await using var system = await TestSystem.StartAsync();
        using var byHand = new HttpClient { BaseAddress = system.Sim.Address };
        var theirs = byHand.PostAsJsonAsync("/sdapi/v1/txt2img",
            new { prompt = "by hand [gate=theirs]", width = 64, height = 64, n_iter = 2, force_task_id = "task(theirs)" });
        await system.Sim.WaitAtGateAsync("theirs");
        var id = await system.SubmitForgeAsync("behind it");
        await system.Sim.UntilGpuAsync(gpu => gpu.Pending == 1);
        await system.CancelAsync(id);

        Assert.Equal("canceled", (string?)(await system.EndOfAsync(id))["status"]);
        Assert.Equal("task(theirs)", (await system.Sim.GpuAsync()).Running);
        await system.Sim.OpenGateAsync("theirs");
        using var answer = await theirs;
        Assert.Equal(2, (await answer.Content.ReadFromJsonAsync<JsonObject>())!["images"]!.AsArray().Count);
        Assert.Equal(0, (await system.Sim.GpuAsync()).Interrupts);
        await system.AssertBooksAreCleanAsync();
    }

    [Fact]
    public async Task A_picture_that_takes_too_long_is_interrupted_and_tried_again()
    {
        await using var system = await TestSystem.StartAsync(
            o => (o.Settings["Providers:Forge:ConnectTimeout"], o.Settings["Providers:Forge:CallTimeout"]) = ("00:00:01", "00:00:03"));
        var id = await system.SubmitForgeAsync("hangs [gate=half]");
        await system.Sim.UntilGpuAsync(gpu => gpu is { Interrupts: 1, Jobs: 2 });
        await system.Sim.OpenGateAsync("half");

        var end = await system.EndOfAsync(id);
        Assert.Equal(("completed", 0), ((string?)end["status"], (int?)end["attempt"]));
        Assert.Equal("forge.timeout", await system.ScalarAsync<string>("SELECT failure_code FROM provider_tasks WHERE state = 'rejected'"));
        Assert.Equal(2, (await system.Sim.GpuAsync()).Jobs);
        await system.AssertBooksAreCleanAsync();
    }

    [Fact]
    [Trait("tier", "process")]
    public async Task A_worker_that_is_stopped_in_the_middle_gives_the_picture_back_and_frees_the_GPU()
    {
        TestSystemOptions options = null!;
        await using var system = await TestSystem.StartAsync(o => ((options = o).Workers, o.Settings["Worker:DrainTimeout"]) = (0, "00:00:00.500"));
        var worker = await options.AsProcessAsync(system.AddWorkerAsync);
        var id = await system.SubmitForgeAsync("handed back [gate=half]");
        await system.Sim.WaitAtGateAsync("half");
        Assert.Equal(0, await worker.StopAsync(Killing.MaxWait));
        Assert.Equal((1, 1, null), await system.Sim.GpuAsync() is var gpu ? (gpu.Jobs, gpu.Interrupts, gpu.Running) : default);
        await system.Sim.OpenGateAsync("half");
        await system.AddWorkerAsync();

        var end = await system.EndOfAsync(id);
        Assert.Equal(("completed", 0), ((string?)end["status"], (int?)end["attempt"]));
        await system.AssertAllIsWellAsync();
    }
}
