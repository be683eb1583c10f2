using System.Net;
using Generation.Core.Media;
using Generation.Core.Providers;
using Generation.Tests.Harness;
using Generation.Worker.Jobs;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;

namespace Generation.Tests.Jobs;

/// <summary>The output that makes a session whole is written in the transaction that ends it, whatever becomes of the step in between.</summary>
[Trait("tier", "slow")]
public sealed class LastOutputTests
{
    [Theory]
    [InlineData(1, false)]
    [InlineData(1, true)]
    [InlineData(3, true)]
    public async Task A_session_ends_in_the_transaction_of_its_last_output(int outputs, bool isMock)
    {
        await using var system = await TestSystem.StartAsync(o => o.Settings["Mock:Enabled"] = isMock ? "true" : "false");
        var id = await system.SubmitAsync("whole at once", n: outputs);
        Assert.Equal(outputs, (await system.EndOfAsync(id))["media"]!.AsArray().Count);
        Assert.Equal(1, await system.ScalarAsync<long>(
            $"SELECT count(*) FROM media AS m JOIN generation_sessions AS s USING (session_id) WHERE session_id = '{id}' AND m.xmin = s.xmin"));
        await system.AssertBooksAreCleanAsync();
        await system.AssertMediaAreStoredAsync();
    }

    [Fact]
    public async Task A_cancel_behind_the_last_output_comes_too_late()
    {
        await using var system = await StartAsync();
        var id = await system.SubmitAsync("stays");
        await UntilDeliveredAsync(system, id);
        using var answer = await system.Http.PostAsync($"/api/generations/{id}/cancel", null);
        Assert.Equal(HttpStatusCode.Accepted, answer.StatusCode);
        var end = await system.EndOfAsync(id);
        Assert.Equal(("completed", 4), ((string?)end["status"], (int?)end["receipt"]!["captured"]));
        await system.AssertBooksAreCleanAsync();
        await system.AssertMediaAreStoredAsync();
    }

    [Fact]
    public async Task A_session_that_is_handed_back_behind_its_last_output_keeps_it()
    {
        await using var system = await StartAsync();
        var id = await system.SubmitAsync("stays");
        await UntilDeliveredAsync(system, id);
        await system.Workers[0].DisposeAsync();
        Assert.Equal("queued 1", await system.ScalarAsync<string>(
            $"SELECT status || ' ' || (SELECT count(*) FROM media WHERE session_id = '{id}') FROM generation_sessions WHERE session_id = '{id}'"));
        await system.AddWorkerAsync();
        Assert.Equal("completed", (string?)(await system.EndOfAsync(id))["status"]);
        await system.AssertBooksAreCleanAsync();
        await system.AssertMediaAreStoredAsync();
    }

    [Fact]
    public async Task A_step_that_fails_behind_its_last_output_keeps_it_for_the_next()
    {
        await using var system = await StartAsync();
        var id = await system.SubmitAsync("fails");
        Assert.Equal("completed", (string?)(await system.EndOfAsync(id))["status"]);
        Assert.Equal(1, await system.ScalarAsync<int>($"SELECT attempt FROM generation_sessions WHERE session_id = '{id}'"));
        Assert.Equal(1, await system.ScalarAsync<long>($"SELECT lease_token FROM media WHERE session_id = '{id}'")); // of the first
        await system.AssertBooksAreCleanAsync();
        await system.AssertMediaAreStoredAsync();
    }

    private static Task UntilDeliveredAsync(TestSystem system, Guid id) =>
        system.UntilAsync($"SELECT phase = 'generating' AND progress = 77 FROM generation_sessions WHERE session_id = '{id}'");

    private static Task<TestSystem> StartAsync() => TestSystem.StartAsync(o =>
    {
        o.Settings["Worker:DrainTimeout"] = "00:00:00.500";
        o.Settings["Worker:RetryBackoff"] = "00:00:00.100";
        o.Worker = services =>
        {
            services.RemoveAll<IGenerationHandler>();
            services.AddSingleton<IGenerationHandler, LateTool>();
        };
    });

    /// <summary>Runs the jobs of Seedream, and does not end with its output.</summary>
    private sealed class LateTool : IGenerationHandler
    {
        public IReadOnlyCollection<string> JobTypes => ["gen.seedream4"];

        public async Task<StepOutcome> StepAsync(JobContext job, CancellationToken ct)
        {
            if (job.Outputs.StoredOrdinals.Contains(0))
            {
                return new StepOutcome.Completed(null, []);
            }

            await using var picture = MockSamples.Choose(0).Open();
            Assert.Null(await job.Outputs.DeliverAsync(0, new MediaSource.Direct(picture, picture.Length), usage: null, ct, endsStep: true));
            if (job.Settings["prompt"]!.GetValue<string>() == "stays")
            {
                job.ReportProgress(77, "generating");
                await Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, ct);
            }

            return new StepOutcome.Failed(new Failure(FailureKind.RateLimited, "late", "It failed behind its output."), []);
        }
    }
}
