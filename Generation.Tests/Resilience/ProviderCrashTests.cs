using Generation.Tests.Faults;
using Generation.Tests.Harness;

namespace Generation.Tests.Resilience;

/// <summary>Invariant 7 for OpenAI's pictures, Sora and Veo: whenever the worker dies, nothing is bought twice.</summary>
[Trait("tier", "process")]
public sealed class ProviderCrashTests
{
    [Theory]
    [InlineData("[gate=here]")] // between submit and record: paid, and the answer has not come
    [InlineData("[download-gate=here]")] // in the download, which is the upload too: half of the picture has come
    public async Task A_worker_killed_in_the_answer_of_a_picture_ends_the_session_as_unknown_with_one_picture_bought(string gate)
    {
        TestSystemOptions options = null!;
        await using var system = await TestSystem.StartAsync(o => (options = o).Workers = 0);
        var worker = await options.AsProcessAsync(system.AddWorkerAsync);
        var id = await system.SubmitAsync("gpt-image-2", new { prompt = $"half an answer {gate}" });
        await system.Sim.WaitAtGateAsync("here");
        await worker.KillAsync();
        await system.Sim.OpenGateAsync("here");
        await system.AddWorkerAsync();

        var end = await system.EndOfAsync(id);
        Assert.Equal(("failed", "outcome_unknown"), ((string?)end["status"], (string?)end["error"]!["code"]));
        Assert.Equal((0, 11), ((int?)end["receipt"]!["captured"], (int?)end["receipt"]!["released"]));
        Assert.Equal((1, 1), ((await system.CallsAsync("half an answer")).Count, await system.Sim.PaidAsync("half an answer")));
        Assert.Equal(1, await system.ScalarAsync<long>($"SELECT count(*) FROM error_events WHERE session_id = '{id}' AND detail ? 'providerTaskId'"));
        Assert.DoesNotContain(system.StoredFiles(), file => file.Contains("output-", StringComparison.Ordinal));
        await system.AssertAllIsWellAsync();
    }

    [Fact]
    public async Task A_worker_killed_between_the_picture_and_its_row_leaves_an_orphan_and_buys_no_second()
    {
        TestSystemOptions options = null!;
        await using var system = await TestSystem.StartAsync(o => (options = o).Workers = 0);
        await using var row = await StandStill.AtAsync(system, "BEFORE INSERT ON media FOR EACH ROW");
        var worker = await options.AsProcessAsync(system.AddWorkerAsync);
        var id = await system.SubmitAsync("gpt-image-2", new { prompt = "stored, not recorded" });
        await row.ReachedAsync();
        await worker.KillAsync();
        await row.CutOffAsync();
        await row.LetGoAsync();
        await system.AddWorkerAsync();

        Assert.Equal("outcome_unknown", (string?)(await system.EndOfAsync(id))["error"]!["code"]);
        Assert.Equal((1, 1), ((await system.CallsAsync("stored, not recorded")).Count, await system.Sim.PaidAsync("stored, not recorded")));
        Assert.Single(system.Objects());
        await system.AssertAllIsWellAsync();
    }

    [Theory]
    [InlineData("sora-2")]
    [InlineData("veo-3.1-fast")]
    public async Task A_worker_killed_before_it_knows_the_tasks_id_ends_the_session_as_unknown_with_one_task_bought(string model)
    {
        TestSystemOptions options = null!;
        await using var system = await TestSystem.StartAsync(o => (options = o).Workers = 0);
        var worker = await options.AsProcessAsync(system.AddWorkerAsync);
        var id = await system.SubmitAsync(model, new { prompt = "lost at sea [gate=create]" });
        await system.Sim.WaitAtGateAsync("create");
        await worker.KillAsync();
        await system.Sim.OpenGateAsync("create");
        await system.AddWorkerAsync();

        var end = await system.EndOfAsync(id);
        Assert.Equal(("failed", "outcome_unknown"), ((string?)end["status"], (string?)end["error"]!["code"]));
        Assert.Equal(0, (int?)end["receipt"]!["captured"]);
        Assert.Equal((1, 1), ((await system.CallsAsync("lost at sea")).Count, await system.Sim.PaidAsync("lost at sea")));
        await system.AssertAllIsWellAsync();
    }

    [Theory]
    [InlineData("sora-2")]
    [InlineData("veo-3.1-fast")]
    public async Task A_worker_killed_while_the_task_runs_is_followed_by_one_that_asks_for_the_same_task(string model)
    {
        TestSystemOptions options = null!;
        await using var system = await TestSystem.StartAsync(o => (options = o).Workers = 0);
        var worker = await options.AsProcessAsync(system.AddWorkerAsync);
        var id = await system.SubmitAsync(model, new { prompt = "found again [latency=3000]" });
        await system.UntilAsync("SELECT count(*) = 1 FROM provider_tasks WHERE task_id IS NOT NULL"); // running, unless it has been quick
        await worker.KillAsync();
        await system.AddWorkerAsync();

        Assert.Equal("completed", (string?)(await system.EndOfAsync(id))["status"]);
        Assert.Equal((1, 1), ((await system.CallsAsync("found again")).Count, await system.Sim.PaidAsync("found again")));
        await system.AssertAllIsWellAsync();
    }

    [Theory]
    [InlineData("sora-2")]
    [InlineData("veo-3.1-fast")]
    public async Task A_worker_killed_in_the_download_is_followed_by_one_that_fetches_the_same_video(string model)
    {
        TestSystemOptions options = null!;
        await using var system = await TestSystem.StartAsync(o => (options = o).Workers = 0);
        var worker = await options.AsProcessAsync(system.AddWorkerAsync);
        var id = await system.SubmitAsync(model, new { prompt = "half a video [download-gate=half]" });
        await system.Sim.WaitAtGateAsync("half");
        await worker.KillAsync();
        await system.Sim.OpenGateAsync("half");
        await system.AddWorkerAsync();

        Assert.Equal("completed", (string?)(await system.EndOfAsync(id))["status"]);
        Assert.Equal((1, 1), ((await system.CallsAsync("half a video")).Count, await system.Sim.PaidAsync("half a video")));
        Assert.Single(system.Objects());
        await system.AssertAllIsWellAsync();
    }

    [Theory]
    [InlineData("sora-2")]
    [InlineData("veo-3.1-fast")]
    public async Task A_worker_killed_in_the_upload_is_followed_by_one_that_stores_the_same_video(string model)
    {
        TestSystemOptions options = null!;
        await using var system = await TestSystem.StartAsync(o => (options = o).Workers = 0);
        await using var row = await StandStill.AtAsync(system, "BEFORE INSERT ON media FOR EACH ROW");
        var worker = await options.AsProcessAsync(system.AddWorkerAsync);
        var id = await system.SubmitAsync(model, new { prompt = "uploaded, not recorded" });
        await row.ReachedAsync();
        await worker.KillAsync();
        await row.CutOffAsync();
        await row.LetGoAsync();
        await system.AddWorkerAsync();

        Assert.Equal("completed", (string?)(await system.EndOfAsync(id))["status"]);
        Assert.Equal((1, 1), ((await system.CallsAsync("uploaded, not recorded")).Count, await system.Sim.PaidAsync("uploaded, not recorded")));
        await system.AssertAllIsWellAsync();
    }
}
