using System.Text.Json;
using System.Text.Json.Nodes;
using Generation.Core.Providers;
using Generation.Core.Sessions;
using Generation.Core.Webhooks;
using Generation.Worker.Calls;

namespace Generation.Worker.Jobs;

/// <summary>
/// One step of a provider that accepts tasks, one per output, and works on them for minutes. It creates the tasks that are missing, retrieves
/// those that an earlier step created, stores the outputs of those that are done, and suspends the session until the next is to be retrieved
/// or its callback arrives. A creation whose outcome is unknown is looked up by its callback, and never repeated. A poll that fails does not fail
/// the session: the task is polled again, less often the longer it runs, until the session's deadline.
/// </summary>
/// <param name="job">The job.</param>
/// <param name="rules">How the provider is used.</param>
/// <param name="create">Creates a task. Only its own timeout stops it: a task can be cancelled only by who knows its id.</param>
/// <param name="retrieve">Retrieves a task by the provider's id.</param>
public sealed class PolledTasks(
    JobContext job, TaskRules rules, Func<NewTask, Task<ProviderReply>> create, Func<string, CancellationToken, Task<TaskReport>> retrieve)
{
    /// <summary>Of a running task's result.</summary>
    private const string MissingSince = "missingSince";

    /// <summary>The longest pause after a poll that failed.</summary>
    private static readonly TimeSpan MaxPollPause = TimeSpan.FromMinutes(2);

    private const int MaxTaskIdLength = 200;

    private readonly ProviderBreaker breaker = job.BreakerOf();

    public async Task<StepOutcome> RunAsync(CancellationToken ct)
    {
        var failed = new List<FailedOutput>();
        TimeSpan? wakeAfter = null;
        var percent = 0;
        var phase = "queued";
        for (var ordinal = 0; ordinal < job.RequestedOutputs; ordinal++)
        {
            if (job.Outputs.StoredOrdinals.Contains(ordinal))
            {
                percent += 100;
                continue;
            }

            if (failed.Exists(f => f.Failure.IsForAllOutputs || f.Failure.NotTried) && job.FindTask(ordinal) is null)
            {
                continue; // its creation would fail alike
            }

            var (failure, waiting) = await AdvanceAsync(ordinal, ct);
            if (failure is { IsPending: true, RetryAfter: { } later })
            {
                (failure, waiting) = (null, new Waiting(later, 90, "storing"));
            }

            if (waiting is { } wait)
            {
                wakeAfter = wakeAfter is { } sooner && sooner < wait.After ? sooner : wait.After;
                percent += wait.Percent;
                phase = wait.Phase;
            }
            else if (failure is not null)
            {
                failed.Add(new FailedOutput(ordinal, failure));
            }
            else
            {
                percent += 100;
            }
        }

        // A retryable failure is retried through the outbox, which counts the attempt and finds the tasks that run meanwhile.
        if (wakeAfter is not { } pause || failed.Exists(f => f.Failure is { IsRetryable: true, NotTried: false }))
        {
            return StepOutcome.From(job, failed);
        }

        if (percent > 0)
        {
            job.ReportProgress(percent / job.RequestedOutputs, phase);
        }

        return new StepOutcome.Suspended(failed.Where(f => f.Failure.NotTried).Select(f => f.Failure.RetryAfter ?? pause).Append(pause).Min());
    }

    /// <summary>Advances one output: returns a failure, a wait, or neither when the output is stored.</summary>
    private async Task<(Failure? Failure, Waiting? Waiting)> AdvanceAsync(int ordinal, CancellationToken ct)
    {
        switch (job.FindTask(ordinal))
        {
            case null:
                return await CreateAsync(ordinal, ct) is { } problem ? (problem, null)
                    : (null, new Waiting(FirstPause(job.FindTask(ordinal)!), 10, "submitting"));
            case { State: ProviderTaskState.Intent } interrupted:
                return await LookUpAsync(ordinal, interrupted, ct);
            case { State: ProviderTaskState.Failed or ProviderTaskState.Unknown } over:
                return (TaskRecord.FailureOf(over), null);
            case { State: ProviderTaskState.Delivered } delivered:
                return (await TaskRecord.FetchAsync(job, ordinal, delivered, rules.Source, ct), null);
            case { } running:
                return await PollAsync(ordinal, running, ct);
        }
    }

    /// <summary>
    /// A creation that was not answered, or whose answer says neither that there is a task nor that there is none. The provider has an address of
    /// ours: if there is a task, a callback names it. Without one the outcome stays unknown, and no other task is created.
    /// </summary>
    private async Task<(Failure? Failure, Waiting? Waiting)> LookUpAsync(int ordinal, ProviderTask interrupted, CancellationToken ct)
    {
        if (interrupted.TakesCallbacks)
        {
            var callbacks = await job.ReadCallbacksAsync(interrupted, ct);
            if (callbacks.Select(rules.TaskIdInCallback).FirstOrDefault(id => id is { Length: > 0 and <= MaxTaskIdLength }) is { } taskId)
            {
                job.Log.LogInformation("The callback of {SessionId} names task {TaskId}, whose creation was not answered", job.Session.SessionId,
                    taskId);
                return await PollAsync(ordinal, await job.RecordTaskAsync(interrupted, ProviderTaskState.Running, taskId: taskId), ct);
            }

            if (LookUpTimeLeft(interrupted) is var left && left > TimeSpan.Zero)
            {
                return (null, new Waiting(left, 10, "submitting"));
            }
        }

        return (await TaskRecord.RecordUnknownAsync(job, interrupted), null);
    }

    /// <summary>Counted from the creation; one of which no answer is recorded may have been under way for as long as it may take.</summary>
    private TimeSpan LookUpTimeLeft(ProviderTask task)
    {
        var left = task.CreatedAt + (task.FailureCode is null ? rules.CreateTimeout : TimeSpan.Zero) + rules.LookUpTimeout - job.Now;
        return left > TimeSpan.Zero ? left : TimeSpan.Zero;
    }

    private async Task<(Failure? Failure, Waiting? Waiting)> PollAsync(int ordinal, ProviderTask task, CancellationToken ct)
    {
        var age = job.Now - task.CreatedAt;
        var next = rules.PollAfter(age);
        switch (await RetrieveAsync(task, ct))
        {
            case TaskReport.Running running:
                return (null, new Waiting(next, running.Percent, running.Phase));
            case TaskReport.PollFailed { Failure: { NotTried: true, RetryAfter: { } retryAfter } }:
                return (null, new Waiting(retryAfter, 0, "generating")); // a rate limit or an open breaker: nothing was sent
            case TaskReport.PollFailed { Failure: var failure }:
                return (null, new Waiting(PauseAfter(task, failure, age, next), 0, "generating"));
            case TaskReport.OutputMissing missing when await MissingForAsync(task) < job.OutputWait:
                job.Log.LogInformation("Task {TaskId} of {SessionId} is done and has no output yet ({ProviderCode})", task.TaskId,
                    job.Session.SessionId, missing.Failure.ProviderCode);
                return (null, new Waiting(rules.PollAfter(TimeSpan.Zero), 90, "storing"));
            case TaskReport.OutputMissing { Failure: var failure }:
                await job.RecordTaskAsync(task, TaskRecord.StateOf(failure), requestId: failure.RequestId, failure: failure);
                return (failure, null);
            case TaskReport.Ended ended:
                // Another task is created through the outbox, which counts the attempt, and not in the slot, where it could go on without end.
                var end = ended.Failure is { IsRetryable: true, RetryAfter: null } ? ended.Failure with { RetryAfter = next } : ended.Failure;
                await job.RecordTaskAsync(task, TaskRecord.StateOf(end), requestId: end.RequestId, failure: end);
                return (end, null);
            case TaskReport.Delivered delivered:
                var result = TaskRecord.ResultOf(delivered.Url, delivered.Usage, job.Now, delivered.Poster);
                task = await job.RecordTaskAsync(task, ProviderTaskState.Delivered, result: result);
                job.ReportProgress(90, "storing");
                return (await TaskRecord.FetchAsync(job, ordinal, task, rules.Source, ct), null);
            default:
                throw new InvalidOperationException("A report of no known kind.");
        }
    }

    /// <summary>How long the output of a task that is done has been missing; the first time is recorded, since polls are of many workers.</summary>
    private async Task<TimeSpan> MissingForAsync(ProviderTask task)
    {
        if (task.Result is { ValueKind: JsonValueKind.Object } result && result.TryGetProperty(MissingSince, out var since)
            && since.TryGetDateTimeOffset(out var first))
        {
            return job.Now - first;
        }

        await job.RecordTaskAsync(task, ProviderTaskState.Running, result: new JsonObject { [MissingSince] = job.Now });
        return TimeSpan.Zero;
    }

    /// <summary>
    /// How long to wait after a poll that failed. Unlike a failed call it costs no attempt, since the task is paid for. A quarter of the
    /// task's age makes the pauses grow geometrically.
    /// </summary>
    private TimeSpan PauseAfter(ProviderTask task, Failure failure, TimeSpan age, TimeSpan next)
    {
        if (failure.Kind is FailureKind.Unauthorized or FailureKind.QuotaExhausted && breaker.TryMarkRefused())
        {
            // The task may be done and paid for; it is lost if its deadline comes before an operator has resolved this.
            job.Log.LogCritical("{Provider} rejected a task query ({ProviderCode}): {Detail}", job.Session.Provider, failure.ProviderCode,
                failure.Detail); // says what to check
        }

        job.Log.LogWarning("Could not retrieve task {TaskId} of {SessionId}: {Code} {ProviderCode} {Detail}", task.TaskId, job.Session.SessionId,
            failure.Code, failure.ProviderCode, failure.Detail);
        var pause = age / 4 > MaxPollPause ? MaxPollPause : age / 4 > next ? age / 4 : next;
        return failure.RetryAfter is { } wanted && wanted > pause ? wanted : pause;
    }

    /// <summary>A provider that calls back is not polled before it had time to.</summary>
    private TimeSpan FirstPause(ProviderTask task) =>
        task.State == ProviderTaskState.Intent ? LookUpTimeLeft(task)
        : task.TakesCallbacks && rules.CallbackWait > TimeSpan.Zero ? rules.CallbackWait : rules.PollAfter(TimeSpan.Zero);

    private async Task<Failure?> CreateAsync(int ordinal, CancellationToken ct)
    {
        var (token, hash) = rules.TakesCallbacks && job.PublicBaseUrl is not null ? WebhookInbox.NewToken() : (null, null);
        var (intent, problem) = await job.TryBeginCallAsync(breaker, ordinal, outputCount: 1, rules.CreateTimeout, rules.Limit, hash, ct);
        if (intent is null)
        {
            return problem;
        }

        job.ReportProgress(10, "submitting");
        var callback = token is null ? null : new Uri($"{job.PublicBaseUrl!.TrimEnd('/')}/api/webhooks/{job.Session.Provider}/{token}");
        var reply = await breaker.CallAsync(_ => create(new NewTask(ordinal, callback)), CancellationToken.None);
        if (reply.Failure is { Kind: FailureKind.OutcomeUnknown } lost && intent.TakesCallbacks && rules.LookUpTimeout > TimeSpan.Zero)
        {
            await job.RecordTaskAsync(intent, ProviderTaskState.Intent, requestId: reply.RequestId, failure: lost);
            job.CallAnswered(intent);
            ct.ThrowIfCancellationRequested();
            return null; // it is looked up
        }

        if (reply.Failure is { } failure)
        {
            await job.RecordTaskAsync(intent, TaskRecord.StateOf(failure), requestId: reply.RequestId, failure: failure);
            return failure;
        }

        await job.RecordTaskAsync(intent, ProviderTaskState.Running, taskId: reply.TaskId, requestId: reply.RequestId);
        ct.ThrowIfCancellationRequested(); // after the id is recorded, so that the task can be cancelled
        return null;
    }

    private async Task<TaskReport> RetrieveAsync(ProviderTask task, CancellationToken ct)
    {
        if ((job.OpenFailure(breaker) ?? await job.AcquireRateLimitAsync(rules.ReadLimit)) is { } problem)
        {
            return new TaskReport.PollFailed(problem);
        }

        TaskReport? report = null;
        var reply = await breaker.CallAsync(
            async token =>
            {
                report = await retrieve(task.TaskId!, token);
                return report is TaskReport.PollFailed failure ? ProviderReply.Failed(failure.Failure) : ProviderReply.Started(task.TaskId!, null);
            },
            ct, "poll");
        if (report is not (null or TaskReport.PollFailed))
        {
            breaker.ClearRefused();
        }

        return report ?? new TaskReport.PollFailed(reply.Failure!); // without a report the breaker let nothing through
    }

    private sealed record Waiting(TimeSpan After, int Percent, string Phase);
}
