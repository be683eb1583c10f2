using System.Collections.Concurrent;
using Generation.Core.Media;
using Generation.Core.Providers;
using Generation.Tests.Harness;
using Generation.Worker.Calls;
using Generation.Worker.Jobs;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;

namespace Generation.Tests.Resilience;

/// <summary>A job that hangs is taken away; one that only takes long is left alone.</summary>
[Trait("tier", "process")]
public sealed class StuckTests
{
    [Fact]
    public async Task A_job_that_hangs_although_its_lease_is_renewed_is_revoked_shown_to_watchers_and_done_again()
    {
        var tool = new Tool();
        await using var system = await StartAsync(
            tool, ("Relay:StuckAfter", "00:00:02"), ("Relay:StuckInterval", "00:00:00.250"), ("Worker:Concurrency", "1"));
        var id = await system.SubmitAsync("hang once");
        var phases = new List<string>();
        await foreach (var e in system.EventsAsync(id))
        {
            phases.Add((string?)e.Data["phase"] ?? e.Name);
            if (phases[^1] == "recovering")
            {
                tool.LetGo(); // the only slot is taken until then: a quick worker would have the job again before a watcher hears of it
            }
        }

        Assert.Contains("recovering", phases);
        var end = await system.GetAsync(id);
        Assert.Equal("completed", (string?)end["status"]);
        Assert.Equal(1, await system.ScalarAsync<int>($"SELECT lost_leases FROM generation_sessions WHERE session_id = '{id}'"));
        Assert.Equal("stuck", await system.ScalarAsync<string>($"SELECT code FROM error_events WHERE session_id = '{id}'"));
        await system.AssertBooksAreCleanAsync();
    }

    [Fact]
    public async Task A_job_that_hangs_twice_fails_as_one_that_took_too_long_can_be_retried_and_costs_nothing()
    {
        await using var system = await StartAsync(new Tool(), ("Relay:StuckAfter", "00:00:01"), ("Relay:StuckInterval", "00:00:00.250"));
        var id = await system.SubmitAsync("hang always");
        var end = await system.EndOfAsync(id);
        Assert.Equal(("failed", "expired", 4), ((string?)end["status"], (string?)end["error"]!["code"], (int)end["receipt"]!["released"]!));
        Assert.True((bool)end["error"]!["retryable"]!);
        Assert.Equal(2, await system.ScalarAsync<long>($"SELECT count(*) FROM error_events WHERE session_id = '{id}' AND code = 'stuck'"));
        await system.AssertBooksAreCleanAsync();
    }

    [Fact]
    public async Task A_call_that_is_under_way_within_its_time_is_not_taken_for_a_job_that_hangs()
    {
        await using var system = await TestSystem.StartAsync(o =>
        {
            o.Settings["Relay:StuckAfter"] = "00:00:01";
            o.Settings["Relay:StuckInterval"] = "00:00:00.250";
        });
        var end = await system.EndOfAsync(await system.SubmitAsync("takes its time [latency=4000]"));
        Assert.Equal("completed", (string?)end["status"]);
        Assert.Equal(0, await system.ScalarAsync<int>("SELECT lost_leases FROM generation_sessions"));
    }

    [Fact]
    public async Task A_task_of_twelve_minutes_survives_the_sweeps_and_a_restart_of_every_service()
    {
        var tool = new Tool();
        await using var system = await StartAsync(tool, ("Relay:StuckInterval", "00:00:00.250"));
        var id = await system.SubmitAsync("long");
        await system.UntilAsync($"SELECT phase = 'awaiting_provider' FROM generation_sessions WHERE session_id = '{id}'");

        // Twelve minutes pass: everything that the session knows of time is that much older.
        await system.ExecuteAsync(
            $"""
            UPDATE generation_sessions SET created_at = created_at - interval '12 min', started_at = started_at - interval '12 min',
                progress_at = progress_at - interval '12 min', updated_at = updated_at - interval '12 min', deadline = deadline - interval '12 min'
            WHERE session_id = '{id}';
            UPDATE provider_tasks SET created_at = created_at - interval '12 min', deadline = deadline - interval '12 min' WHERE session_id = '{id}'
            """);
        var asked = tool.Requests;
        await tool.UntilAskedAsync(asked + 2);
        foreach (var service in system.Workers.Concat(system.Relays).Concat(system.Apis).ToList())
        {
            await service.DisposeAsync();
        }

        system.Workers.Clear();
        system.Relays.Clear();
        system.Apis.Clear();
        await Task.WhenAll(system.AddRelayAsync(), system.AddApiAsync(), system.AddWorkerAsync());
        tool.Finish();

        using var http = system.Client(system.Apis[0]);
        var end = await system.EndOfAsync(id, http);
        Assert.Equal(("completed", 0), ((string?)end["status"], (int)end["attempt"]!));
        Assert.Equal((1, 0), (tool.Created, await system.ScalarAsync<int>($"SELECT lost_leases FROM generation_sessions WHERE session_id = '{id}'")));
        Assert.Equal("output_unusable", await system.ScalarAsync<string>("SELECT string_agg(code, ' ') FROM error_events")); // as the tool says below
        await system.AssertBooksAreCleanAsync();
    }

    private static Task<TestSystem> StartAsync(Tool tool, params (string Key, string Value)[] settings) => TestSystem.StartAsync(o =>
    {
        foreach (var (key, value) in settings)
        {
            o.Settings[key] = value;
        }

        o.Worker = services =>
        {
            services.RemoveAll<IGenerationHandler>();
            services.AddSingleton<IGenerationHandler>(tool);
        };
    });

    /// <summary>
    /// Runs the jobs of Seedream as the prompt says: <c>hang</c> without an end, or as a <c>long</c> task that ends when the test says so.
    /// </summary>
    private sealed class Tool : IGenerationHandler
    {
        private readonly ConcurrentDictionary<Guid, int> runs = new();
        private int created;
        private int asked;
        private readonly TaskCompletionSource letGo = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private volatile bool isFinished;

        public int Created => created;

        public int Requests => asked;

        public IReadOnlyCollection<string> JobTypes => ["gen.seedream4"];

        public void Finish() => isFinished = true;

        /// <summary>A job that hangs once goes on hanging until then, whatever its worker tells it.</summary>
        public void LetGo() => letGo.TrySetResult();

        public async Task UntilAskedAsync(int times)
        {
            while (asked < times)
            {
                await Task.Delay(TimeSpan.FromMilliseconds(20), TimeProvider.System, TestContext.Current.CancellationToken);
            }
        }

        public async Task<StepOutcome> StepAsync(JobContext job, CancellationToken ct)
        {
            var prompt = job.Settings["prompt"]!.GetValue<string>();
            var run = runs.AddOrUpdate(job.Session.SessionId, 1, (_, n) => n + 1);
            if (prompt == "hang always")
            {
                await Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, ct);
            }

            if (prompt == "hang once" && run == 1)
            {
                await letGo.Task.WaitAsync(TimeSpan.FromSeconds(60), TimeProvider.System, CancellationToken.None);
                ct.ThrowIfCancellationRequested();
            }

            if (prompt == "long")
            {
                var outcome = await new PolledTasks(
                    job,
                    new TaskRules
                    {
                        PollAfter = _ => TimeSpan.FromMilliseconds(100),
                        Source = new ResultSource([]),
                        CreateTimeout = TimeSpan.FromSeconds(5),
                    },
                    _ =>
                    {
                        Interlocked.Increment(ref created);
                        return Task.FromResult(ProviderReply.Started("the one", null));
                    },
                    (_, _) =>
                    {
                        Interlocked.Increment(ref asked);
                        return Task.FromResult<TaskReport>(isFinished
                            ? new TaskReport.Ended(new Failure(FailureKind.OutputUnusable, "stored below", ""))
                            : new TaskReport.Running("generating", 50));
                    }).RunAsync(ct);
                if (!isFinished)
                {
                    return outcome;
                }
            }

            await using var picture = MockSamples.Choose(0).Open();
            Assert.Null(await job.Outputs.DeliverAsync(0, new MediaSource.Direct(picture, picture.Length), usage: null, ct));
            return new StepOutcome.Completed(null, []);
        }
    }
}
