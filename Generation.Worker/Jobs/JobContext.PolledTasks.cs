using Generation.Core.Providers;
using Generation.Core.Sessions;
using Generation.Core.Webhooks;
using Generation.Worker.Calls;

namespace Generation.Worker.Jobs;

/// <content>Providers that take on a task and work on it for minutes, while nobody waits for it.</content>
public sealed partial class JobContext
{
    /// <summary>The longest pause after a question about a task that failed.</summary>
    private static readonly TimeSpan MaxPollPause = TimeSpan.FromMinutes(2);

    /// <summary>
    /// One step of a provider that takes on tasks, one an output (invariant 7): creates those that are not there, asks for those that an
    /// earlier step created, stores what is done, and suspends the session until the next is to be asked for, or its callback comes. A
    /// creation whose reply is not known is never repeated. A question that fails does not fail the session: it is asked again, less often
    /// the longer the task is open, until the session's deadline.
    /// </summary>
    /// <param name="rules">How the provider is used.</param>
    /// <param name="create">Creates a task. Not stopped by anything but its own timeout: only who knows the task can cancel it.</param>
    /// <param name="retrieve">Asks for a task by the provider's id.</param>
    /// <param name="ct">Stops.</param>
    public async Task<StepOutcome> PollTasksAsync(
        TaskRules rules, Func<NewTask, Task<ProviderReply>> create, Func<string, CancellationToken, Task<TaskReport>> retrieve, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(rules);
        var failed = new List<FailedOutput>();
        TimeSpan? wakeAfter = null;
        var percent = 0;
        var phase = "queued";
        for (var ordinal = 0; ordinal < RequestedOutputs; ordinal++)
        {
            if (stored.Contains(ordinal))
            {
                percent += 100;
                continue;
            }

            if (failed.Exists(f => f.Failure.IsForAllOutputs || f.Failure.NotTried) && FindTask(ordinal) is null)
            {
                continue; // it would fare alike
            }

            var (failure, waiting) = await AdvanceAsync(rules, ordinal, create, retrieve, ct);
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

        // Another creation is made through the outbox, which counts it, and finds the tasks that run meanwhile.
        if (wakeAfter is { } pause && !failed.Exists(f => f.Failure is { IsRetryable: true, NotTried: false }))
        {
            if (percent > 0)
            {
                ReportProgress(percent / RequestedOutputs, phase);
            }

            var soonest = failed.Where(f => f.Failure.NotTried).Select(f => f.Failure.RetryAfter ?? pause).Append(pause).Min();
            return new StepOutcome.Suspended(soonest);
        }

        return Conclude(failed);
    }

    /// <summary>Takes one output one step on: a failure, a wait, or neither when it is stored.</summary>
    private async Task<(Failure? Failure, Waiting? Waiting)> AdvanceAsync(
        TaskRules rules, int ordinal, Func<NewTask, Task<ProviderReply>> create, Func<string, CancellationToken, Task<TaskReport>> retrieve,
            CancellationToken ct)
    {
        var task = FindTask(ordinal);
        switch (task)
        {
            case null:
                return await CreateAsync(rules, ordinal, create, ct) is { } problem ? (problem, null)
                    : (null, new Waiting(FirstPause(rules, FindTask(ordinal)!), 10, "submitting"));
            case { State: ProviderTaskState.Intent }:
                return (await RecordUnknownAsync(task), null);
            case { State: ProviderTaskState.Failed or ProviderTaskState.Unknown }:
                return (AsRecorded(task), null);
            case { State: ProviderTaskState.Delivered }:
                return (await FetchAsync(ordinal, task, rules.Source, ct), null);
        }

        var age = Now - task.CreatedAt;
        var next = rules.PollAfter(age);
        switch (await RetrieveTaskAsync(rules, task, retrieve, ct))
        {
            case TaskReport.Running running:
                return (null, new Waiting(next, running.Percent, running.Phase));
            case TaskReport.PollFailed { Failure: { NotTried: true, RetryAfter: { } turn } }:
                return (null, new Waiting(turn, 0, "generating")); // a limit or an open breaker: nobody was asked
            case TaskReport.PollFailed { Failure: var pollFailure }:
                if (pollFailure.Kind is FailureKind.Unauthorized or FailureKind.QuotaExhausted && Breaker.TryMarkRefused())
                {
                    // The task may be done and paid for; it is lost when its deadline comes before somebody has seen to this.
                    log.LogCritical("{Provider} rejected a task query ({ProviderCode}): check Providers:{Section}:ApiKey and the account",
                        Session.Provider, pollFailure.ProviderCode, Session.Provider);
                }

                // Unlike a failed call this costs no attempt: the task is bought. A quarter of the time so far makes it geometric.
                var pause = age / 4 > MaxPollPause ? MaxPollPause : age / 4 > next ? age / 4 : next;
                log.LogWarning("Could not retrieve task {TaskId} of {SessionId}: {Code} {ProviderCode} {Detail}", task.TaskId, Session.SessionId,
                    pollFailure.Code, pollFailure.ProviderCode, pollFailure.Detail);
                return (null, new Waiting(pollFailure.RetryAfter is { } wanted && wanted > pause ? wanted : pause, 0, "generating"));
            case TaskReport.Ended ended:
                // Another task is made through the outbox, which counts, and not in the slot: there it would begin anew without an end.
                var failure = ended.Failure is { IsRetryable: true, RetryAfter: null } ? ended.Failure with { RetryAfter = next } : ended.Failure;
                await RecordTaskAsync(task, StateOf(failure), requestId: failure.RequestId, failure: failure);
                return (failure, null);
            case TaskReport.Delivered delivered:
                var result = ResultOf(delivered.Url, delivered.Usage);
                if (delivered.Poster is { } poster)
                {
                    result["poster"] = poster.AbsoluteUri;
                }

                task = await RecordTaskAsync(task, ProviderTaskState.Delivered, result: result);
                ReportProgress(90, "storing");
                return (await FetchAsync(ordinal, task, rules.Source, ct), null);
            default:
                throw new InvalidOperationException("A report of no known kind.");
        }
    }

    /// <summary>A provider that calls back is not asked before it had time to.</summary>
    private static TimeSpan FirstPause(TaskRules rules, ProviderTask task) =>
        task.TakesCallbacks && rules.CallbackPatience > TimeSpan.Zero ? rules.CallbackPatience : rules.PollAfter(TimeSpan.Zero);

    private async Task<Failure?> CreateAsync(TaskRules rules, int ordinal, Func<NewTask, Task<ProviderReply>> create, CancellationToken ct)
    {
        var (token, hash) = rules.TakesCallbacks && parts.Options.PublicBaseUrl is not null ? WebhookInbox.NewToken() : (null, null);
        var (intent, problem) = await TryBeginCallAsync(ordinal, rules.CreateTimeout, rules.Limit, hash, ct);
        if (intent is null)
        {
            return problem;
        }

        ReportProgress(10, "submitting");
        var address = token is null ? null : new Uri($"{parts.Options.PublicBaseUrl!.TrimEnd('/')}/api/webhooks/{Session.Provider}/{token}");
        var reply = await Breaker.CallAsync(_ => create(new NewTask(ordinal, address)), CancellationToken.None);
        if (reply.Failure is { } failure)
        {
            await RecordTaskAsync(intent, StateOf(failure), requestId: reply.RequestId, failure: failure);
            return failure;
        }

        await RecordTaskAsync(intent, ProviderTaskState.Running, taskId: reply.TaskId, requestId: reply.RequestId);
        ct.ThrowIfCancellationRequested(); // whoever stopped us meanwhile finds a task that can be cancelled
        return null;
    }

    private async Task<TaskReport> RetrieveTaskAsync(TaskRules rules, ProviderTask task, Func<string, CancellationToken, Task<TaskReport>> retrieve,
        CancellationToken ct)
    {
        if (OpenBreaker() is { } pause)
        {
            return new TaskReport.PollFailed(pause);
        }

        if (await AcquireRateLimitAsync(rules.ReadLimit) is { } full)
        {
            return new TaskReport.PollFailed(full);
        }

        TaskReport? report = null;
        var reply = await Breaker.CallAsync(
            async token =>
            {
                report = await retrieve(task.TaskId!, token);
                return report is TaskReport.PollFailed failure ? ProviderReply.Failed(failure.Failure) : ProviderReply.Started(task.TaskId!, null);
            },
            ct, "poll");
        if (report is not (null or TaskReport.PollFailed))
        {
            Breaker.ClearRefused();
        }

        return report ?? new TaskReport.PollFailed(reply.Failure!); // another call is just probing a broken provider
    }

    private sealed record Waiting(TimeSpan After, int Percent, string Phase);
}
