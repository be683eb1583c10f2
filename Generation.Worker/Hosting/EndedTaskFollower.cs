using System.Diagnostics;
using Generation.Core;
using Generation.Core.Database;
using Generation.Core.Providers;
using Generation.Core.Sessions;
using Generation.Worker.Calls;
using Generation.Worker.Jobs;

namespace Generation.Worker.Hosting;

/// <summary>
/// Follows the tasks that providers work on although their sessions have ended: the provider is told that nobody wants them any more, where it can be
/// told, and they are asked for until they end, because they are billed all the same. What one cost is recorded on its call, with a record for the
/// operator.
/// </summary>
public sealed class EndedTaskFollower(
    EndedTasks tasks, HandlerRegistry handlers, ProviderBreakers breakers, WorkerOptions options, TimeProvider time, ILogger<EndedTaskFollower> log)
    : BackgroundService
{
    private static readonly TimeSpan MaxCancelTime = TimeSpan.FromSeconds(5);

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var outage = new ThrottledLog(time);
        using var timer = new PeriodicTimer(options.EndedTaskInterval, time);
        try
        {
            while (await timer.WaitForNextTickAsync(stoppingToken))
            {
                try
                {
                    await FollowAsync(stoppingToken);
                    if (outage.Recovered())
                    {
                        log.LogInformation(OperationEvents.ServiceRecovered, "{Service} recovered", nameof(EndedTaskFollower));
                    }
                }
                catch (Exception e) when (!stoppingToken.IsCancellationRequested) // any: a look that fails must not be the last one
                {
                    if (outage.Report())
                    {
                        log.LogWarning("Could not look for tasks of ended sessions: {Problem}", e.Message);
                    }
                }
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // Another worker asks for what is left, after its pause.
        }
    }

    private async Task FollowAsync(CancellationToken ct)
    {
        IReadOnlyList<EndedTask> taken;
        do
        {
            taken = await tasks.TakeAsync(options.EndedTaskInterval, options.EndedTaskTimeout, ct);
            foreach (var task in taken)
            {
                try
                {
                    await FollowAsync(task, ct);
                }
                catch (Exception e) when (e is not OperationCanceledException || !ct.IsCancellationRequested) // one task's trouble is no other's
                {
                    log.LogWarning(e, "Could not follow task {TaskId} of the ended {SessionId}", task.TaskId, task.SessionId);
                }
            }
        }
        while (taken.Count == EndedTasks.Batch);
    }

    private async Task FollowAsync(EndedTask task, CancellationToken ct)
    {
        if (breakers.Of(task.Provider).OpenFor is not null && !task.IsOverdue)
        {
            return;
        }

        using var activity = Telemetry.Continue("follow ended task", task.TraceParent, ActivityKind.Internal);
        activity.SetSession(task.SessionId);
        var handler = handlers.Find(task.JobType);
        switch (handler is null ? null : await handler.RetrieveTaskAsync(task, ct))
        {
            case TaskReport.Delivered delivered:
                log.LogWarning("Task {TaskId} of {SessionId} was made after the session had ended; it is billed and nobody has it", task.TaskId,
                    task.SessionId);
                await tasks.RecordAsync(task, ProviderTaskState.Delivered,
                    TaskRecord.ResultOf(delivered.Url, delivered.Usage, task.TakenAt, delivered.Poster).ToJsonString(), failure: null, ct);
                break;
            case TaskReport.Ended { Failure: var end }:
                log.LogInformation("Task {TaskId} of the ended {SessionId} ended without an output: {ProviderCode}", task.TaskId, task.SessionId,
                    end.ProviderCode);
                await tasks.RecordAsync(
                    task, end.Kind is FailureKind.OutcomeUnknown or FailureKind.OutputUnusable ? ProviderTaskState.Unknown : ProviderTaskState.Failed,
                    result: null, end, ct);
                break;
            case var report when task.IsOverdue:
                var last = (report as TaskReport.PollFailed)?.Failure ?? (report as TaskReport.OutputMissing)?.Failure;
                await tasks.RecordAsync(
                    task, ProviderTaskState.Unknown, result: null,
                    new Failure(FailureKind.OutcomeUnknown, last?.ProviderCode ?? "task.still_running",
                        $"It was followed for {options.EndedTaskTimeout} after its session had ended (Worker:EndedTaskTimeout).")
                    {
                        Answer = last?.Answer,
                    }, ct);
                break;
            case TaskReport.Running when task.IsFirst:
                using (var timeout = new SafeTimeout(MaxCancelTime, time, ct))
                {
                    await handler!.CancelTaskAsync(task.TaskId, timeout.Token);
                }

                break;
        }
    }
}
