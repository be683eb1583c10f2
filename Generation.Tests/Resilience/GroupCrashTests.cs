using Generation.Tests.Harness;

namespace Generation.Tests.Resilience;

/// <summary>
/// Groups whose worker dies while they are made: what was announced is fetched and no second group is bought. What every provider has in common is
/// in <see cref="Providers.Contract.ProviderCrashTests"/>.
/// </summary>
[Trait("tier", "process")]
public sealed class GroupCrashTests
{
    [Fact]
    public async Task A_worker_killed_while_the_group_is_made_and_its_first_picture_fetched_is_followed_by_one_that_fetches_that_picture()
    {
        TestSystemOptions options = null!;
        await using var system = await TestSystem.StartAsync(o => (options = o).Workers = 0);
        var worker = await options.AsProcessAsync(system.AddWorkerAsync);
        var id = await SubmitAsync(system, "three pictures of a half [gate=call][download-gate=half]");
        await system.Sim.WaitAtGateAsync("call");
        await system.Sim.LetOnePassAsync("call");
        await system.Sim.WaitAtGateAsync("half"); // announced, recorded, being fetched, and the second is made meanwhile
        await worker.KillAsync();
        await system.Sim.OpenGateAsync("call");
        await system.Sim.OpenGateAsync("half");
        await system.AddWorkerAsync();

        var end = await system.EndOfAsync(id);
        Assert.Equal(("completed", 0), ((string?)end["status"], (int)Assert.Single(end["media"]!.AsArray())!["ordinal"]!));
        Assert.Equal((4, 8), ((int?)end["receipt"]!["captured"], (int?)end["receipt"]!["adjusted"]));
        Assert.Equal([(1, "outcome_unknown"), (2, "outcome_unknown")],
            end["failedOutputs"]!.AsArray().Select(f => ((int)f!["ordinal"]!, (string)f["code"]!)));
        Assert.Equal(1, await system.ScalarAsync<long>($"SELECT count(*) FROM error_events WHERE session_id = '{id}' AND detail ? 'providerTaskId'"));
        Assert.Single(await system.CallsAsync("pictures of a half"));
        await system.AssertAllIsWellAsync();
    }

    [Fact]
    public async Task A_worker_killed_between_an_object_and_its_row_is_followed_by_one_that_stores_that_picture_again()
    {
        TestSystemOptions options = null!;
        await using var system = await TestSystem.StartAsync(o => (options = o).Workers = 0);
        await using var row = await StandStill.AtAsync(system, "BEFORE INSERT ON media FOR EACH ROW");
        var worker = await options.AsProcessAsync(system.AddWorkerAsync);
        var id = await SubmitAsync(system, "two pictures of an orphan [gate=call]");
        await system.Sim.WaitAtGateAsync("call");
        await system.Sim.LetOnePassAsync("call");
        await row.ReachedAsync();
        await worker.KillAsync();
        await row.CutOffAsync();
        await row.LetGoAsync();
        await system.Sim.OpenGateAsync("call");
        await system.AddWorkerAsync();

        var end = await system.EndOfAsync(id);
        Assert.Equal(("completed", 1), ((string?)end["status"], end["media"]!.AsArray().Count));
        Assert.Equal((4, "outcome_unknown"), ((int?)end["receipt"]!["captured"], (string?)Assert.Single(end["failedOutputs"]!.AsArray())!["code"]));
        Assert.Single(await system.CallsAsync("pictures of an orphan"));
        Assert.Equal(2, system.Objects().Count);
        Assert.Equal(system.Objects().Single(key => key.Contains("output-0-3", StringComparison.Ordinal)),
            await system.ScalarAsync<string>("SELECT object_key FROM media"));
        await system.AssertAllIsWellAsync();
    }

    private static Task<Guid> SubmitAsync(TestSystem system, string prompt) =>
        system.SubmitAsync("seedream-4", new { prompt, n = prompt.StartsWith("two", StringComparison.Ordinal) ? 2 : 3, group = true, size = "1K" });
}
