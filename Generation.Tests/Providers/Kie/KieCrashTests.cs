using Generation.Tests.Harness;
using Generation.Tests.Resilience;
using Generation.Tests.Webhooks;

namespace Generation.Tests.Providers.Kie;

/// <summary>
/// Crashes where a provider calls back: a callback finds nobody, or comes after the end, and nothing is lost but time. The rest is under contract
/// (<see cref="Contract.ProviderCrashTests"/>).
/// </summary>
[Trait("tier", "process")]
public sealed class KieCrashTests
{
    [Fact]
    public async Task A_worker_killed_between_submit_and_record_buys_no_second_task()
    {
        var (system, options) = await StartAsync();
        await using var running = system;
        var worker = await options.AsProcessAsync(system.AddWorkerAsync);
        var id = await system.SubmitAsync("nano-banana", new { prompt = "lost at sea [gate=create][callback-gate=silent]" });
        await system.Sim.WaitAtGateAsync("create");
        await worker.KillAsync();
        await system.Sim.OpenGateAsync("create");
        await system.AddWorkerAsync();

        await system.UntilAsync($"SELECT phase = 'awaiting_provider' FROM generation_sessions WHERE session_id = '{id}'");
        Assert.Equal(0, await system.ScalarAsync<long>("SELECT count(*) FROM provider_tasks WHERE task_id IS NOT NULL"));
        await system.Sim.OpenGateAsync("silent"); // the callback names the task
        var end = await system.EndOfAsync(id);
        Assert.Equal(("completed", 4), ((string?)end["status"], (int?)end["receipt"]!["captured"]));
        Assert.Equal((1, 1), ((await system.CallsAsync("lost at sea")).Count, await system.Sim.PaidAsync("lost at sea")));
        Assert.Equal(0, await system.ScalarAsync<long>($"SELECT count(*) FROM error_events WHERE session_id = '{id}'"));
        await system.AssertAllIsWellAsync();
    }

    [Fact]
    public async Task A_task_whose_creation_was_lost_and_that_nobody_calls_back_about_is_of_unknown_outcome()
    {
        var (system, _) = await StartAsync(timeout: "00:00:00.200");
        await using var running = system;
        await system.AddWorkerAsync();
        var id = await system.SubmitAsync("nano-banana", new { prompt = "never heard of [fault=server-error-paid][callback-gate=late]" });

        var end = await system.EndOfAsync(id);
        Assert.Equal(("failed", "outcome_unknown"), ((string?)end["status"], (string?)end["error"]!["code"]));
        Assert.Equal((0, 4), ((int?)end["receipt"]!["captured"], (int?)end["receipt"]!["released"]));
        Assert.Equal((1, 1), ((await system.CallsAsync("never heard of")).Count, await system.Sim.PaidAsync("never heard of")));
        Assert.Equal("500", await system.ScalarAsync<string>(
            $"SELECT detail ->> 'providerCode' FROM error_events WHERE session_id = '{id}' AND detail ? 'providerTaskId'"));

        await system.Sim.OpenGateAsync("late"); // its callback comes after the end
        Assert.Equal(200, (await system.AnsweredAsync("never heard of", 1)).Callbacks[0].Status);
        Assert.Equal("failed", (string?)(await system.GetAsync(id))["status"]);
        await system.AssertAllIsWellAsync();
    }

    [Fact]
    public async Task A_worker_killed_between_record_and_result_is_followed_by_one_that_asks_for_the_same_task()
    {
        var (system, options) = await StartAsync();
        await using var running = system;
        var worker = await options.AsProcessAsync(system.AddWorkerAsync);
        var id = await system.SubmitAsync("nano-banana", new { prompt = "found again [callback-gate=after]" });
        await system.UntilAsync("SELECT count(*) = 1 FROM provider_tasks WHERE task_id IS NOT NULL"); // running, unless it has been quick
        await worker.KillAsync();
        await system.Sim.OpenGateAsync("after"); // nobody is there to be woken yet
        await system.AnsweredAsync("found again", 1);
        await system.AddWorkerAsync();

        Assert.Equal("completed", (string?)(await system.EndOfAsync(id))["status"]);
        Assert.Equal((1, 1), ((await system.CallsAsync("found again")).Count, await system.Sim.PaidAsync("found again")));
        await system.AssertAllIsWellAsync();
    }

    [Fact]
    public async Task A_callback_that_finds_no_api_is_done_without()
    {
        var (system, options) = await StartAsync(timeout: "00:00:02");
        await using var running = system;
        await system.AddWorkerAsync();
        var id = await system.SubmitAsync("nano-banana", new { prompt = "nobody home [callback-gate=door]" });
        await system.TasksAsync("nobody home");
        await system.Apis[0].DisposeAsync();
        await system.Sim.OpenGateAsync("door");
        Assert.Equal(0, (await system.AnsweredAsync("nobody home", 1)).Callbacks[0].Status);

        await system.UntilAsync($"SELECT status = 'completed' FROM generation_sessions WHERE session_id = '{id}'");
        Assert.Equal(1, await system.Sim.PaidAsync("nobody home"));
        Assert.NotNull(options);
        await system.AssertAllIsWellAsync();
    }

    private static async Task<(TestSystem System, TestSystemOptions Options)> StartAsync(string timeout = "00:10:00")
    {
        TestSystemOptions kept = null!;
        var system = await TestSystem.StartAsync(options =>
        {
            (kept, options.Workers, options.IsPublic) = (options, 0, true);
            options.Settings["Providers:Kie:CallbackPatience"] = timeout;
        });
        return (system, kept);
    }
}
