using System.Collections.Concurrent;
using Generation.Core.Providers;
using Generation.Tests.Harness;
using Generation.Worker.Calls;
using Generation.Worker.Jobs;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;

namespace Generation.Tests.Jobs;

/// <summary>A task that failed for good may have been billed: no other takes its place, however long the session's other tasks run.</summary>
[Trait("tier", "slow")]
public sealed class FinalFailureTests
{
    [Fact]
    public async Task A_task_that_failed_for_good_is_not_created_again_while_its_sibling_still_runs()
    {
        var tool = new Tool();
        await using var system = await TestSystem.StartAsync(o => o.Worker = services =>
        {
            services.RemoveAll<IGenerationHandler>();
            services.AddSingleton<IGenerationHandler>(tool);
        });
        var id = await system.SubmitAsync("two of them", n: 2);
        var end = await system.EndOfAsync(id);

        Assert.Equal("failed", (string?)end["status"]);
        Assert.Equal((2, 0), (tool.Created, (int)end["attempt"]!));
        Assert.Equal("0 failed Unavailable, 1 failed ModerationOutput", await system.ScalarAsync<string>(
            $"""
            SELECT string_agg(first_ordinal || ' ' || state || ' ' || failure, ', ' ORDER BY first_ordinal)
            FROM provider_tasks WHERE session_id = '{id}'
            """));
        await system.AssertBooksAreCleanAsync();
    }

    private sealed class Tool : IGenerationHandler
    {
        private readonly ConcurrentDictionary<string, int> polls = new(StringComparer.Ordinal);
        private int created;

        public int Created => created;

        public IReadOnlyCollection<string> JobTypes => ["gen.seedream4"];

        public Task<StepOutcome> StepAsync(JobContext job, CancellationToken ct) => new PolledTasks(
            job,
            new TaskRules
            {
                PollAfter = _ => TimeSpan.FromMilliseconds(100),
                Source = new ResultSource([]),
                CreateTimeout = TimeSpan.FromSeconds(5),
            },
            _ => Task.FromResult(ProviderReply.Started($"task-{Interlocked.Increment(ref created)}", null)),
            (taskId, _) => Task.FromResult(Report(taskId))).RunAsync(ct);

        // The first fails at once, and perhaps it was billed; the others go on for a while.
        private TaskReport Report(string taskId) => taskId == "task-1"
            ? new TaskReport.Ended(new Failure(FailureKind.Unavailable, "501", "failed, and nobody says whether it was billed") { IsFinal = true })
            : polls.AddOrUpdate(taskId, 1, (_, n) => n + 1) < 4 ? new TaskReport.Running("generating", 50)
            : new TaskReport.Ended(new Failure(FailureKind.ModerationOutput, "late", "refused"));
    }
}
