using System.Collections.Concurrent;
using Generation.Core.Media;
using Generation.Core.Sessions;
using Generation.Tests.Harness;
using Generation.Worker.Jobs;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;

namespace Generation.Tests.Jobs;

/// <summary>An asynchronous provider: the task is recorded, the slot is freed, and the handler runs again when it is time.</summary>
[Trait("tier", "slow")]
public sealed class SuspendTests
{
    [Fact]
    public async Task A_suspended_session_holds_neither_slot_nor_lease_and_finds_its_task_when_it_wakes()
    {
        var provider = new AsynchronousProvider(TimeSpan.FromMinutes(10));
        await using var system = await StartAsync(provider);
        var slow = await system.SubmitAsync("slow");
        await system.UntilAsync($"SELECT phase = 'awaiting_provider' FROM generation_sessions WHERE session_id = '{slow}'");
        Assert.True(await system.ScalarAsync<bool>(
            $"SELECT lease_until IS NULL AND lease_owner IS NULL AND wake_at > now() FROM generation_sessions WHERE session_id = '{slow}'"));

        // The only slot is free for others meanwhile.
        var quick = await system.SubmitAsync("quick");
        Assert.Equal("completed", (string?)(await system.EndOfAsync(quick))["status"]);
        Assert.Equal("processing", (string?)(await system.GetAsync(slow))["status"]);

        await system.ExecuteAsync(
            $"""
            UPDATE generation_sessions SET wake_at = now() WHERE session_id = '{slow}';
            UPDATE outbox SET available_at = now() WHERE session_id = '{slow}'
            """); // its ten minutes are over
        var end = await system.EndOfAsync(slow);
        Assert.Equal("completed", (string?)end["status"]);
        Assert.Equal(0, (int?)end["attempt"]);
        Assert.Equal(0, await system.ScalarAsync<int>($"SELECT lost_leases FROM generation_sessions WHERE session_id = '{slow}'"));
        Assert.Equal(1, provider.Created[slow]);
        await system.AssertBooksAreCleanAsync();
        await system.AssertMediaAreStoredAsync();
    }

    [Fact]
    public async Task A_cancel_wakes_a_suspended_session_tells_the_provider_and_releases_the_hold()
    {
        var provider = new AsynchronousProvider(TimeSpan.FromMinutes(10));
        await using var system = await StartAsync(provider);
        var slow = await system.SubmitAsync("slow");
        await system.UntilAsync($"SELECT phase = 'awaiting_provider' FROM generation_sessions WHERE session_id = '{slow}'");

        using var answer = await system.Http.PostAsync($"/api/generations/{slow}/cancel", null);

        Assert.Equal(System.Net.HttpStatusCode.Accepted, answer.StatusCode);
        var end = await system.EndOfAsync(slow);
        Assert.Equal("canceled", (string?)end["status"]);
        Assert.Equal(4, (int?)end["receipt"]!["released"]);
        Assert.Equal([$"task-{slow}"], provider.Canceled);
        await system.AssertBooksAreCleanAsync();
    }

    private static Task<TestSystem> StartAsync(AsynchronousProvider provider) => TestSystem.StartAsync(o =>
    {
        o.Settings["Worker:Concurrency"] = "1";
        o.Worker = services =>
        {
            services.RemoveAll<IGenerationHandler>();
            services.AddSingleton<IGenerationHandler>(provider);
        };
    });

    /// <summary>Runs the jobs of Seedream as a provider would that takes its time over prompts that say "slow".</summary>
    private sealed class AsynchronousProvider(TimeSpan takes) : IGenerationHandler
    {
        public ConcurrentDictionary<Guid, int> Created { get; } = new();

        public ConcurrentQueue<string?> Canceled { get; } = new();

        public IReadOnlyCollection<string> JobTypes => ["gen.seedream4"];

        public async Task<StepOutcome> StepAsync(JobContext job, CancellationToken ct)
        {
            if (job.FindTask(0) is null && job.Settings["prompt"]!.GetValue<string>() == "slow")
            {
                var intent = await job.RecordIntentAsync(0, 1, takes, callbackTokenHash: null, ct);
                Created.AddOrUpdate(job.Session.SessionId, 1, (_, times) => times + 1);
                await job.RecordTaskAsync(intent!, ProviderTaskState.Running, taskId: $"task-{job.Session.SessionId}");
                return new StepOutcome.Suspended(takes);
            }

            await using var picture = MockSamples.Choose(0).Open();
            Assert.Null(await job.Outputs.DeliverAsync(0, new MediaSource.Direct(picture, picture.Length), usage: null, ct));
            return new StepOutcome.Completed(null, []);
        }

        public Task CancelAsync(JobContext job, CancellationToken ct)
        {
            Canceled.Enqueue(job.FindTask(0)?.TaskId);
            return Task.CompletedTask;
        }
    }
}
