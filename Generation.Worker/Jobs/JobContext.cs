using System.Text.Json;
using System.Text.Json.Nodes;
using Generation.Core;
using Generation.Core.Database;
using Generation.Core.Media;
using Generation.Core.Providers;
using Generation.Core.Realtime;
using Generation.Core.Sessions;
using Generation.Worker.Providers;
using Generation.Worker.Tools;
using Npgsql;

namespace Generation.Worker.Jobs;

/// <summary>The lease is gone: somebody else may work on the session, and nothing that this worker does counts any more.</summary>
public sealed class LeaseLostException : Exception
{
    public LeaseLostException()
        : base("The lease of this session was lost.")
    {
    }

    public LeaseLostException(string message)
        : base(message)
    {
    }

    public LeaseLostException(string message, Exception inner)
        : base(message, inner)
    {
    }
}

/// <summary>What a provider answered to one call that may cost money: an address to fetch, a task to follow, or a failure.</summary>
public sealed record ProviderReply
{
    public Uri? Url { get; private init; }

    /// <summary>What the provider counted for this call.</summary>
    public JsonObject? Usage { get; private init; }

    /// <summary>The provider's name for the task that it has taken on, of one that does not answer with the output.</summary>
    public string? TaskId { get; private init; }

    public string? RequestId { get; private init; }

    public Failure? Failure { get; private init; }

    public static ProviderReply Delivered(Uri url, JsonObject? usage, string? requestId) => new() { Url = url, Usage = usage, RequestId = requestId };

    public static ProviderReply Started(string taskId, string? requestId) => new() { TaskId = taskId, RequestId = requestId };

    public static ProviderReply Failed(Failure failure)
    {
        ArgumentNullException.ThrowIfNull(failure);
        return new() { Failure = failure, RequestId = failure.RequestId };
    }
}

/// <summary>What a provider says of a task when it is asked.</summary>
public abstract record TaskReport
{
    private TaskReport()
    {
    }

    /// <summary>It waits or is worked on.</summary>
    public sealed record Running(string Phase, int Percent) : TaskReport;

    /// <summary>It is done, and is billed.</summary>
    public sealed record Delivered(Uri Url, JsonObject? Usage) : TaskReport;

    /// <summary>It will not be done. A retryable failure is of a task that was not billed: another may follow it.</summary>
    public sealed record Ended(Failure Failure) : TaskReport;

    /// <summary>The question failed, which says nothing about the task: it is asked for again.</summary>
    public sealed record Unanswered(Failure Failure) : TaskReport;
}

/// <summary>What a handler sees of its job: what to make, what was made before, and the ways to record and deliver.</summary>
public sealed class JobContext(
    ActiveJob job, Leases leases, MediaTransfer transfer, IMediaStore store, ProgressChannel progress, ProviderBreakers breakers, TimeProvider time, ILogger log)
{
    /// <summary>The longest pause after a question about a task that failed.</summary>
    private static readonly TimeSpan MaxPollPause = TimeSpan.FromMinutes(2);

    private readonly HashSet<int> stored = [.. job.Session.StoredOrdinals];
    private readonly SemaphoreSlim recording = new(1, 1);
    private List<ProviderTask> tasks = [.. job.Session.Tasks];

    public ClaimedSession Session => job.Session;

    /// <summary>The parameters with their defaults, and <c>providerModel</c>.</summary>
    public JsonObject Settings => job.Session.Settings;

    public int RequestedOutputs => job.Session.RequestedOutputs;

    /// <summary>Outputs that need no work: stored in this run or an earlier one.</summary>
    public IReadOnlySet<int> StoredOrdinals => stored;

    /// <summary>Paid calls recorded so far, by this run or an earlier one.</summary>
    public IReadOnlyList<ProviderTask> Tasks => tasks;

    /// <summary>When the session ends whatever happens.</summary>
    public DateTimeOffset Deadline => job.Session.Deadline;

    /// <summary>Tells watchers how far it is. Percent never falls; 100 is the pipeline's.</summary>
    public void ReportProgress(int percent, string phase) => progress.Publish(job.Report(percent, phase));

    /// <summary>The recorded call for an output, if there is one that counts.</summary>
    public ProviderTask? FindTask(int ordinal) => tasks.Find(t => ordinal >= t.FirstOrdinal && ordinal < t.FirstOrdinal + t.OutputCount);

    /// <summary>Before a paid call. Null when a call for these outputs counts already: then it must not be made again.</summary>
    public async Task<ProviderTask?> RecordIntentAsync(int firstOrdinal, int outputCount, TimeSpan deadline, byte[]? callbackTokenHash, CancellationToken ct)
    {
        var id = await leases.RecordIntentAsync(Session, firstOrdinal, outputCount, deadline, callbackTokenHash, ct);
        if (id is null)
        {
            return null;
        }

        var task = new ProviderTask { ProviderTaskId = id.Value, FirstOrdinal = firstOrdinal, OutputCount = outputCount, Deadline = time.GetUtcNow() + deadline };
        await RememberAsync(task);
        return task;
    }

    /// <summary>Right after a paid call, with a token that is not cancelled: what it bought must not be forgotten.</summary>
    public async Task<ProviderTask> RecordTaskAsync(
        ProviderTask task, ProviderTaskState state, string? taskId = null, string? requestId = null, JsonObject? result = null, Failure? failure = null)
    {
        ArgumentNullException.ThrowIfNull(task);
        var recorded = await Transient.RetryAsync(
            () => leases.RecordTaskAsync(
                Session, task.ProviderTaskId, state, CancellationToken.None, taskId, requestId, result?.ToJsonString(), failure?.Kind.ToString(), failure?.ProviderCode),
            time, log, job.Stopped);
        if (!recorded)
        {
            throw new LeaseLostException();
        }

        var now = task with
        {
            State = state,
            TaskId = taskId ?? task.TaskId,
            RequestId = requestId ?? task.RequestId,
            Result = result is null ? task.Result : JsonSerializer.SerializeToElement(result),
            Failure = failure?.Kind.ToString(),
            FailureCode = failure?.ProviderCode,
        };
        await RememberAsync(now);
        return now;
    }

    /// <summary>
    /// Stores one output and shows it. Comes back with null, or with why it could not be stored. Transient trouble has been retried.
    /// </summary>
    /// <param name="ordinal">From 0.</param>
    /// <param name="source">Where the bytes come from.</param>
    /// <param name="usage">What the provider counted for this output, in its own words; the session's price may go by one of its fields.</param>
    /// <param name="ct">Stops the transfer.</param>
    /// <exception cref="LeaseLostException">Nothing counts any more.</exception>
    public async Task<Failure?> DeliverAsync(int ordinal, MediaSource source, JsonObject? usage, CancellationToken ct)
    {
        if (stored.Contains(ordinal))
        {
            return null;
        }

        var kind = Enum.Parse<MediaKind>(Session.Kind, ignoreCase: true);
        var destination = new MediaDestination(Session.UserId, Session.CreatedAt, Session.SessionId, ordinal, Session.LeaseToken, kind);
        StoredMedia media;
        try
        {
            media = await transfer.StoreAsync(source, destination, reportBytes: null, ct);
        }
        catch (MediaException e)
        {
            log.LogWarning("Output {Ordinal} of {SessionId} could not be stored: {Failure}, {Problem}", ordinal, Session.SessionId, e.Failure, e.Message);
            return e.Failure is MediaFailure.SourceUnavailable or MediaFailure.StoreUnavailable or MediaFailure.Truncated
                ? new Failure(FailureKind.Unavailable, $"media.{e.Failure}", e.Message)
                : new Failure(FailureKind.OutputUnusable, $"media.{e.Failure}", e.Message);
        }

        await RecordStoredAsync(ordinal, media, usage);
        return null;
    }

    /// <summary>Records an output whose object is in the store already (a sample).</summary>
    public async Task RecordStoredAsync(int ordinal, StoredMedia media, JsonObject? usage = null)
    {
        ArgumentNullException.ThrowIfNull(media);
        var version = await Transient.RetryAsync(
            () => leases.StoreMediaAsync(
                Session, ordinal, media, usage?.ToJsonString(), () => media.Key.IsSample ? Task.CompletedTask : store.DeleteAsync(media.Key, CancellationToken.None), CancellationToken.None),
            time, log, job.Stopped);
        if (version is null)
        {
            throw new LeaseLostException(); // the object stays for the orphan sweep: its name holds our token and nobody else's
        }

        await recording.WaitAsync(CancellationToken.None);
        stored.Add(ordinal);
        job.Version = Math.Max(job.Version, version.Value);
        recording.Release();
        log.LogInformation(LogEvents.InsertImages, "Output {Ordinal} of {SessionId} is stored", ordinal, Session.SessionId);
    }

    /// <summary>
    /// The whole step of a provider that makes one output a call and answers in it (promise 7). For every output that is not stored:
    /// what an earlier run bought is fetched; a call whose reply is not known is never repeated; else the intent is recorded, the call
    /// made, its outcome recorded, the output stored. A failure that would meet every output stops the calls that have not begun.
    /// </summary>
    /// <param name="parallel">Calls at once.</param>
    /// <param name="sourceHosts">Where results may be fetched from.</param>
    /// <param name="callTimeout">Of one call, for the record.</param>
    /// <param name="call">Makes the call for one output.</param>
    /// <param name="ct">Stops; a call under way is then of unknown outcome.</param>
    public async Task<StepOutcome> CallEachAsync(
        int parallel, IReadOnlyList<string> sourceHosts, TimeSpan callTimeout, Func<int, CancellationToken, Task<ProviderReply>> call, CancellationToken ct)
    {
        var failed = new List<FailedOutput>();
        var done = stored.Count;
        var hopeless = 0;
        ReportProgress(10 + (85 * done / RequestedOutputs), "generating");
        await Parallel.ForEachAsync(
            Enumerable.Range(0, RequestedOutputs).Where(o => !stored.Contains(o)),
            new ParallelOptions { MaxDegreeOfParallelism = parallel, CancellationToken = ct },
            async (ordinal, token) =>
            {
                if (Volatile.Read(ref hopeless) != 0)
                {
                    return;
                }

                var failure = await MakeAsync(ordinal, sourceHosts, callTimeout, call, token);
                await recording.WaitAsync(CancellationToken.None);
                if (failure is not null)
                {
                    failed.Add(new FailedOutput(ordinal, failure));
                    Volatile.Write(ref hopeless, failure.IsForAllOutputs ? 1 : hopeless);
                }

                done += failure is { IsRetryable: true } ? 0 : 1; // what comes again is still to be done
                var percent = 10 + (85 * done / RequestedOutputs);
                recording.Release();
                ReportProgress(percent, "generating");
            });

        var common = failed.Find(f => f.Failure.IsForAllOutputs)?.Failure;
        if (common is not null) // it speaks for the calls that were not begun because of it
        {
            failed.AddRange(Enumerable.Range(0, RequestedOutputs).Except(stored).Except(failed.Select(f => f.Ordinal)).Select(o => new FailedOutput(o, common)).ToList());
        }

        failed.Sort((a, b) => a.Ordinal.CompareTo(b.Ordinal));
        var usage = SumUsage();
        return failed.Find(f => f.Failure.IsRetryable) is { } again ? new StepOutcome.Failed(again.Failure, failed) { Usage = usage }
            : stored.Count == 0 && failed.Count > 0 ? new StepOutcome.Failed(common ?? failed[0].Failure, failed) { Usage = usage }
            : new StepOutcome.Completed(usage, failed);
    }

    /// <summary>
    /// One step of a provider that takes one task a session and works on it for minutes (promise 7): creates the task, or asks for the one
    /// that an earlier step created, and suspends the session until it is to be asked for again. When the task is done its output is
    /// stored. A creation whose reply is not known is never repeated. A question that fails does not fail the session: it is asked again,
    /// less often the longer the session is open, until the session's deadline.
    /// </summary>
    /// <param name="pollInterval">Between two questions.</param>
    /// <param name="sourceHosts">Where results may be fetched from.</param>
    /// <param name="createTimeout">Of the creation, for the record.</param>
    /// <param name="create">Creates the task. Not stopped by anything but its own timeout: only who knows the task can cancel it.</param>
    /// <param name="retrieve">Asks for the task by the provider's id.</param>
    /// <param name="ct">Stops.</param>
    public async Task<StepOutcome> FollowTaskAsync(
        TimeSpan pollInterval, IReadOnlyList<string> sourceHosts, TimeSpan createTimeout, Func<Task<ProviderReply>> create,
        Func<string, CancellationToken, Task<TaskReport>> retrieve, CancellationToken ct)
    {
        var task = stored.Contains(0) ? null : FindTask(0);
        Failure? failure = null;
        switch (task)
        {
            case null when !stored.Contains(0):
                failure = await CreateAsync(createTimeout, create, ct);
                if (failure is null)
                {
                    return new StepOutcome.Suspended(pollInterval);
                }

                break;

            case { State: ProviderTaskState.Intent }:
                failure = await GiveUpAsync(task);
                break;

            case { State: ProviderTaskState.Failed or ProviderTaskState.Unknown }:
                failure = AsRecorded(task);
                break;

            case { State: ProviderTaskState.Running }:
                switch (await AskAsync(task, retrieve, ct))
                {
                    case TaskReport.Running running:
                        ReportProgress(running.Percent, running.Phase);
                        return new StepOutcome.Suspended(pollInterval);
                    case TaskReport.Unanswered { Failure: var silence }:
                        // Unlike a failed call this costs no attempt: the task is bought. A quarter of the time so far makes it geometric.
                        var pause = (time.GetUtcNow() - Session.CreatedAt) / 4;
                        pause = pause > MaxPollPause ? MaxPollPause : pause > pollInterval ? pause : pollInterval;
                        log.LogWarning("Could not ask for task {TaskId} of {SessionId}: {Code} {ProviderCode} {Detail}", task.TaskId, Session.SessionId, silence.Code, silence.ProviderCode, silence.Detail);
                        return new StepOutcome.Suspended(silence.RetryAfter is { } wanted && wanted > pause ? wanted : pause);
                    case TaskReport.Ended ended:
                        // Another task is made through the outbox, which counts, and not in the slot: there it would begin anew without an end.
                        failure = ended.Failure is { IsRetryable: true, RetryAfter: null } ? ended.Failure with { RetryAfter = pollInterval } : ended.Failure;
                        await RecordTaskAsync(task, StateOf(failure), requestId: failure.RequestId, failure: failure);
                        break;
                    case TaskReport.Delivered delivered:
                        task = await RecordTaskAsync(
                            task, ProviderTaskState.Delivered, result: new JsonObject { ["url"] = delivered.Url.AbsoluteUri, ["usage"] = delivered.Usage?.DeepClone() });
                        break;
                }

                break;
        }

        if (failure is null && task is { State: ProviderTaskState.Delivered })
        {
            ReportProgress(90, "storing");
            failure = await FetchAsync(0, task, sourceHosts, ct);
        }

        return failure is null ? new StepOutcome.Completed(SumUsage(), []) : new StepOutcome.Failed(failure, [new FailedOutput(0, failure)]) { Usage = SumUsage() };
    }

    private async Task<Failure?> CreateAsync(TimeSpan createTimeout, Func<Task<ProviderReply>> create, CancellationToken ct)
    {
        if (OpenBreaker() is { } pause)
        {
            return pause;
        }

        var (intent, problem) = await IntendAsync(0, createTimeout, ct);
        if (intent is null)
        {
            return problem;
        }

        ReportProgress(10, "submitting");
        var reply = await Breaker.CallAsync(_ => create(), CancellationToken.None);
        if (reply.Failure is { } failure)
        {
            await RecordTaskAsync(intent, StateOf(failure), requestId: reply.RequestId, failure: failure);
            return failure;
        }

        await RecordTaskAsync(intent, ProviderTaskState.Running, taskId: reply.TaskId, requestId: reply.RequestId);
        ct.ThrowIfCancellationRequested(); // whoever stopped us meanwhile finds a task that can be cancelled
        return null;
    }

    private async Task<TaskReport> AskAsync(ProviderTask task, Func<string, CancellationToken, Task<TaskReport>> retrieve, CancellationToken ct)
    {
        if (OpenBreaker() is { } pause)
        {
            return new TaskReport.Unanswered(pause);
        }

        TaskReport? report = null;
        var reply = await Breaker.CallAsync(
            async token =>
            {
                report = await retrieve(task.TaskId!, token);
                return report is TaskReport.Unanswered silence ? ProviderReply.Failed(silence.Failure) : ProviderReply.Started(task.TaskId!, null);
            },
            ct, "poll");
        return report ?? new TaskReport.Unanswered(reply.Failure!); // another call is just probing a broken provider
    }

    private async Task<Failure?> MakeAsync(
        int ordinal, IReadOnlyList<string> sourceHosts, TimeSpan callTimeout, Func<int, CancellationToken, Task<ProviderReply>> call, CancellationToken ct)
    {
        switch (FindTask(ordinal))
        {
            case { State: ProviderTaskState.Delivered } bought:
                return await FetchAsync(ordinal, bought, sourceHosts, ct);
            case { State: ProviderTaskState.Failed or ProviderTaskState.Unknown } over:
                return AsRecorded(over);
            case { } cutOff:
                return await GiveUpAsync(cutOff);
        }

        if (OpenBreaker() is { } pause)
        {
            return pause;
        }

        var (intent, problem) = await IntendAsync(ordinal, callTimeout, ct);
        if (intent is null)
        {
            return problem;
        }

        var reply = await Breaker.CallAsync(token => call(ordinal, token), ct);
        if (reply.Failure is { } failure)
        {
            await RecordTaskAsync(intent, StateOf(failure), requestId: reply.RequestId, failure: failure);
            return failure;
        }

        var result = new JsonObject { ["url"] = reply.Url!.AbsoluteUri, ["usage"] = reply.Usage?.DeepClone() };
        var task = await RecordTaskAsync(intent, ProviderTaskState.Delivered, requestId: reply.RequestId, result: result);
        return await FetchAsync(ordinal, task, sourceHosts, ct);
    }

    private ProviderBreaker Breaker => breakers.Of(Session.Provider);

    private Failure? OpenBreaker() => Breaker.OpenFor is { } pause
        ? new Failure(FailureKind.Unavailable, "breaker.open", $"{Session.Provider} failed too often and is left alone.") { RetryAfter = pause }
        : null;

    /// <summary>Records the intent; a failure when the database is away, so that nothing must be sent.</summary>
    private async Task<(ProviderTask? Intent, Failure? Problem)> IntendAsync(int ordinal, TimeSpan callTimeout, CancellationToken ct)
    {
        try
        {
            return (await RecordIntentAsync(ordinal, 1, callTimeout, callbackTokenHash: null, ct) ?? throw new LeaseLostException(), null);
        }
        catch (Exception e) when (e is NpgsqlException or TimeoutException)
        {
            // Nothing was sent. Thrown on, this would cut off the calls beside it, which may be paid for already.
            return (null, new Failure(FailureKind.Unavailable, "intent.not_recorded", e.Message));
        }
    }

    /// <summary>An earlier run was cut off in the call: it may have been billed, and cannot be asked for.</summary>
    private async Task<Failure> GiveUpAsync(ProviderTask cutOff)
    {
        var unknown = new Failure(FailureKind.OutcomeUnknown, "worker.cut_off", "The worker that made the call did not live to see its answer.");
        await RecordTaskAsync(cutOff, ProviderTaskState.Unknown, failure: unknown);
        return unknown;
    }

    private static Failure AsRecorded(ProviderTask over) =>
        new(Enum.Parse<FailureKind>(over.Failure!), over.FailureCode ?? "", "recorded by an earlier run") { RequestId = over.RequestId };

    private async Task<Failure?> FetchAsync(int ordinal, ProviderTask task, IReadOnlyList<string> sourceHosts, CancellationToken ct)
    {
        var url = new Uri(task.Result!.Value.GetProperty("url").GetString()!);
        var usage = task.Result.Value.TryGetProperty("usage", out var counted) && counted.ValueKind == JsonValueKind.Object ? JsonObject.Create(counted) : null;
        var failure = await DeliverAsync(ordinal, new MediaSource.Remote(url, sourceHosts), usage, ct);
        if (failure is { IsRetryable: false })
        {
            await RecordTaskAsync(task, ProviderTaskState.Failed, failure: failure);
        }

        return failure;
    }

    private static ProviderTaskState StateOf(Failure failure) =>
        failure.IsRetryable ? ProviderTaskState.Rejected
        : failure.Kind == FailureKind.OutcomeUnknown ? ProviderTaskState.Unknown
        : ProviderTaskState.Failed;

    /// <summary>The usage of all delivered calls, numbers added up; null without any.</summary>
    private JsonObject? SumUsage()
    {
        var sum = new JsonObject();
        foreach (var task in tasks.Where(t => t.Result is { ValueKind: JsonValueKind.Object }))
        {
            if (task.Result!.Value.TryGetProperty("usage", out var usage) && usage.ValueKind == JsonValueKind.Object)
            {
                foreach (var field in usage.EnumerateObject().Where(f => f.Value.ValueKind == JsonValueKind.Number))
                {
                    sum[field.Name] = (sum[field.Name]?.GetValue<long>() ?? 0) + field.Value.GetInt64();
                }
            }
        }

        return sum.Count == 0 ? null : sum;
    }

    private async Task RememberAsync(ProviderTask task)
    {
        await recording.WaitAsync(CancellationToken.None);
        tasks = [.. tasks.Where(t => t.ProviderTaskId != task.ProviderTaskId)];
        if (task.State != ProviderTaskState.Rejected)
        {
            tasks.Add(task);
        }

        recording.Release();
    }
}
