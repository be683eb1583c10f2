using System.Text.Json;
using System.Text.Json.Nodes;
using Generation.Core.Database;
using Generation.Core.Providers;
using Generation.Core.Sessions;
using Generation.Worker.Calls;
using Npgsql;

namespace Generation.Worker.Jobs;

/// <summary>
/// What a handler sees of its job: the session, progress, and the record of paid calls (<c>provider_tasks</c>). <see cref="Outputs"/> stores
/// what the provider made. Providers are called through one of three strategies: <see cref="PerOutputCalls"/>, <see cref="GroupCall"/> and
/// <see cref="PolledTasks"/>.
/// </summary>
public sealed class JobContext(ActiveJob job, JobDependencies parts, ILogger log)
{
    /// <summary>No call begins in a worker that shuts down; another takes the session at once.</summary>
    private static readonly Failure Leaving = new(FailureKind.Unavailable, "worker.leaving", "The worker shuts down; nothing was sent.")
    {
        NotTried = true,
        RetryAfter = TimeSpan.FromMilliseconds(1),
    };

    private readonly Lock gate = new();
    private IReadOnlyList<ProviderTask> tasks = [.. job.Session.Tasks];

    public ClaimedSession Session => job.Session;

    /// <summary>
    /// The parameters with their defaults, and <c>providerModel</c>. References to uploads are replaced by signed URLs
    /// (<see cref="UploadResolver"/>).
    /// </summary>
    public JsonObject Settings { get; internal set; } = job.Session.Settings;

    public int RequestedOutputs => job.Session.RequestedOutputs;

    public OutputStore Outputs { get; } = new(job, parts, log);

    /// <summary>Paid calls that count, recorded by this run or an earlier one.</summary>
    public IReadOnlyList<ProviderTask> Tasks => tasks;

    /// <summary>When the session expires, by the database's clock.</summary>
    public DateTimeOffset Deadline => job.Session.Deadline;

    /// <summary>The time by the database's clock, like every stored time; the clock of this machine may differ.</summary>
    public DateTimeOffset Now => Session.ClaimedAt + parts.Time.GetElapsedTime(job.ClaimedAt);

    internal ILogger Log => log;

    internal string? PublicBaseUrl => parts.Options.PublicBaseUrl;

    /// <summary>How long the output of a task that is done is waited for.</summary>
    internal TimeSpan OutputWait => parts.Options.OutputWait;

    internal TimeSpan ResultTimeout => parts.Options.ResultTimeout;

    /// <summary>Publishes progress. The percentage never falls; 100 is set by the settlement.</summary>
    public void ReportProgress(int percent, string phase) => parts.Progress.Publish(job.Report(percent, phase));

    /// <summary>The recorded call for an output that counts, or null.</summary>
    public ProviderTask? FindTask(int ordinal) =>
        tasks.FirstOrDefault(t => ordinal >= t.FirstOrdinal && ordinal < t.FirstOrdinal + t.OutputCount);

    /// <summary>The request id of the call for an output. It leads from the provider's log to session, output and lease.</summary>
    public string NameOfCall(int ordinal) => $"{Session.SessionId:N}-{ordinal}-{Session.LeaseToken}";

    /// <summary>
    /// Records the intent of a paid call. Null when a call for these outputs counts already, and must not be repeated, or when this worker shuts
    /// down.
    /// </summary>
    public async Task<ProviderTask?> RecordIntentAsync(int firstOrdinal, int outputCount, TimeSpan deadline, byte[]? callbackTokenHash,
        CancellationToken ct)
    {
        var sameInEveryTry = Guid.CreateVersion7(parts.Time.GetUtcNow());
        if (!job.TryStartCall(sameInEveryTry, parts.Time.GetUtcNow() + deadline)) // before the intent: a worker that leaves must not leave one behind
        {
            return null;
        }

        Guid? id = null;
        try
        {
            id = await TransientErrors.RetryAsync(
                () => parts.Leases.RecordIntentAsync(Session, firstOrdinal, outputCount, deadline, callbackTokenHash, ct, sameInEveryTry), parts.Time,
                log, job.GivenUp);
        }
        finally
        {
            if (id is null)
            {
                job.CallCompleted(sameInEveryTry);
            }
        }

        if (id is null)
        {
            return null;
        }

        var now = Now;
        var task = new ProviderTask
        {
            ProviderTaskId = id.Value,
            FirstOrdinal = firstOrdinal,
            OutputCount = outputCount,
            Deadline = now + deadline,
            CreatedAt = now,
            TakesCallbacks = callbackTokenHash is not null,
        };
        Remember(task);
        return task;
    }

    /// <summary>The callbacks that came for a task, the newest first.</summary>
    internal Task<IReadOnlyList<string>> ReadCallbacksAsync(ProviderTask task, CancellationToken ct) => TransientErrors.RetryAsync(
        () => parts.Leases.ReadCallbacksAsync(task.ProviderTaskId, ct), parts.Time, log, job.GivenUp);

    /// <summary>Records the outcome of a paid call. It is not cancelled with the job: what may have been billed must be recorded.</summary>
    /// <exception cref="LeaseLostException">The lease was lost.</exception>
    public async Task<ProviderTask> RecordTaskAsync(
        ProviderTask task, ProviderTaskState state, string? taskId = null, string? requestId = null, JsonObject? result = null,
        Failure? failure = null)
    {
        ArgumentNullException.ThrowIfNull(task);
        var recorded = await TransientErrors.RetryAsync(
            () => parts.Leases.RecordTaskAsync(
                Session, task.ProviderTaskId, state, CancellationToken.None, taskId, requestId, result?.ToJsonString(), failure),
            parts.Time, log, job.GivenUp);
        if (!recorded)
        {
            throw new LeaseLostException();
        }

        if (state != ProviderTaskState.Intent) // a group's call goes on behind what it has announced
        {
            job.CallCompleted(task.ProviderTaskId);
        }

        var now = task with
        {
            State = state,
            TaskId = taskId ?? task.TaskId,
            RequestId = requestId ?? task.RequestId,
            Result = result is null ? task.Result : JsonSerializer.SerializeToElement(result),
            Failure = state is ProviderTaskState.Failed or ProviderTaskState.Unknown or ProviderTaskState.Rejected ? failure?.Kind : null,
            FailureCode = failure?.ProviderCode,
        };
        Remember(now);
        return now;
    }

    /// <summary>The call of an intent is over, although its outcome is not known yet.</summary>
    internal void CallAnswered(ProviderTask intent) => job.CallCompleted(intent.ProviderTaskId);

    /// <summary>The circuit breaker of the session's provider, or one by its own name.</summary>
    internal ProviderBreaker BreakerOf(string? name = null) => parts.Breakers.Of(name ?? Session.Provider);

    /// <summary>
    /// Prepares a paid call: checks breaker, rate limit and lease, and records the intent. With a failure instead of an intent nothing may be
    /// sent.
    /// </summary>
    /// <exception cref="LeaseLostException">The lease was lost, or a call for these outputs counts already.</exception>
    internal async Task<(ProviderTask? Intent, Failure? Problem)> TryBeginCallAsync(
        ProviderBreaker breaker, int firstOrdinal, int outputCount, TimeSpan callTimeout, RateLimit? limit, byte[]? callbackTokenHash,
        CancellationToken ct)
    {
        if (job.IsLeaving)
        {
            return (null, Leaving);
        }

        if (OpenFailure(breaker) is { } open)
        {
            return (null, open);
        }

        if (await AcquireRateLimitAsync(limit) is { } limited)
        {
            return (null, limited);
        }

        try
        {
            var intent = await RecordIntentAsync(firstOrdinal, outputCount, callTimeout, callbackTokenHash, ct);
            if (intent is null)
            {
                return job.IsLeaving ? (null, Leaving) : throw new LeaseLostException();
            }

            if (parts.Time.GetElapsedTime(job.RenewedAt) < parts.Options.LeaseTrust)
            {
                return (intent, null);
            }

            // This process was paused. If another worker has the session it treats the call as made: then this throws, and it is never made.
            var late = new Failure(FailureKind.Unavailable, "lease.uncertain", "The worker was paused before it could make the call.")
            {
                NotTried = true,
            };
            await RecordTaskAsync(intent, ProviderTaskState.Rejected, failure: late);
            return (null, late);
        }
        catch (Exception e) when (TransientErrors.IsTransient(e) || e is NpgsqlException)
        {
            // Nothing was sent. Rethrowing would interrupt the concurrent calls, which may be paid for already.
            return (null, new Failure(FailureKind.Unavailable, "intent.not_recorded", e.Message));
        }
    }

    /// <summary>Null when the limit allows the call, which is then counted.</summary>
    internal async Task<Failure?> AcquireRateLimitAsync(RateLimit? limit) =>
        limit is not null && await parts.Limits.TakeAsync(Session.Provider, limit) is { } wait
            ? new Failure(FailureKind.RateLimited, "limit." + limit.Name, $"{Session.Provider} allows {limit.Calls} calls in {limit.Window}.")
            {
                RetryAfter = wait,
                NotTried = true,
            }
            : null;

    /// <summary>The failure of a call that an open breaker does not let through; null when it may be made.</summary>
    internal Failure? OpenFailure(ProviderBreaker breaker) => breaker.OpenFor is { } pause
        ? new Failure(FailureKind.Unavailable, "breaker.open", $"{Session.Provider} failed too often and is left alone.")
        {
            RetryAfter = pause,
            NotTried = true,
        }
        : null;

    private void Remember(ProviderTask task)
    {
        lock (gate)
        {
            var others = tasks.Where(t => t.ProviderTaskId != task.ProviderTaskId);
            tasks = task.State == ProviderTaskState.Rejected ? [.. others] : [.. others, task];
        }
    }
}
