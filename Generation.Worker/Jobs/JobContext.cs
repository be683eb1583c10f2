using System.Text.Json;
using System.Text.Json.Nodes;
using Generation.Core;
using Generation.Core.Database;
using Generation.Core.Media;
using Generation.Core.Providers;
using Generation.Core.Realtime;
using Generation.Core.Sessions;
using Generation.Worker.Calls;

namespace Generation.Worker.Jobs;

/// <summary>The lease was lost: another worker may hold the session, and no write of this one is accepted any more.</summary>
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

/// <summary>The dependencies that all jobs of a worker share.</summary>
public sealed record JobDependencies(
    Leases Leases, MediaTransfer Transfer, IMediaStore Store, ProgressChannel Progress, ProviderBreakers Breakers, ProviderLimits Limits,
        GpuSlots Slots,
    Uploads Uploads, WorkerOptions Options, TimeProvider Time);

/// <summary>
/// What a handler sees of its job: what to make, what was made before, and the ways to record and deliver. The two ways to work with a
/// provider stand in the other parts of this class: PaidCalls (it answers with the output) and PolledTasks (it takes on a task).
/// </summary>
public sealed partial class JobContext(ActiveJob job, JobDependencies parts, ILogger log)
{
    private readonly HashSet<int> stored = [.. job.Session.StoredOrdinals];
    private readonly SemaphoreSlim recording = new(1, 1);
    private readonly Dictionary<int, MediaKey> previews = [];
    private List<ProviderTask> tasks = [.. job.Session.Tasks];

    public ClaimedSession Session => job.Session;

    /// <summary>
    /// The parameters with their defaults, and <c>providerModel</c>. Where the user named an upload, a signed address stands that the
    /// provider can fetch.
    /// </summary>
    public JsonObject Settings { get; private set; } = job.Session.Settings;

    public int RequestedOutputs => job.Session.RequestedOutputs;

    /// <summary>Outputs that need no work: stored in this run or an earlier one.</summary>
    public IReadOnlySet<int> StoredOrdinals => stored;

    /// <summary>Paid calls recorded so far, by this run or an earlier one.</summary>
    public IReadOnlyList<ProviderTask> Tasks => tasks;

    /// <summary>Makes the session whole, and is written with its end.</summary>
    internal StoredOutput? LastOutput { get; private set; }

    /// <summary>When the session ends whatever happens.</summary>
    public DateTimeOffset Deadline => job.Session.Deadline;

    /// <summary>By the database's clock, as everything that is stored: this machine's may be hours off.</summary>
    public DateTimeOffset Now => Session.ClaimedAt + parts.Time.GetElapsedTime(job.ClaimedAt);

    /// <summary>Of the session's provider. It is asked before every call that is made through this context.</summary>
    public ProviderBreaker Breaker => parts.Breakers.Of(Session.Provider);

    /// <summary>Tells watchers how far it is. Percent never falls; 100 is the pipeline's.</summary>
    public void ReportProgress(int percent, string phase) => parts.Progress.Publish(job.Report(percent, phase));

    /// <summary>The recorded call for an output, if there is one that counts.</summary>
    public ProviderTask? FindTask(int ordinal) => tasks.Find(t => ordinal >= t.FirstOrdinal && ordinal < t.FirstOrdinal + t.OutputCount);

    /// <summary>Our request id for the call for an output: it leads from the provider's log to session, output and lease.</summary>
    public string NameOfCall(int ordinal) => $"{Session.SessionId:N}-{ordinal}-{Session.LeaseToken}";

    /// <summary>Before a paid call. Null when a call for these outputs counts already: then it must not be made again.</summary>
    public async Task<ProviderTask?> RecordIntentAsync(int firstOrdinal, int outputCount, TimeSpan deadline, byte[]? callbackTokenHash,
        CancellationToken ct)
    {
        var sameInEveryTry = Guid.CreateVersion7(parts.Time.GetUtcNow());
        var id = await TransientErrors.RetryAsync(
            () => parts.Leases.RecordIntentAsync(Session, firstOrdinal, outputCount, deadline, callbackTokenHash, ct, sameInEveryTry), parts.Time,
                log, job.Stopped);
        if (id is null)
        {
            return null;
        }

        var now = Now;
        job.CallStarted(id.Value, parts.Time.GetUtcNow() + deadline);
        var task = new ProviderTask
        {
            ProviderTaskId = id.Value,
            FirstOrdinal = firstOrdinal,
            OutputCount = outputCount,
            Deadline = now + deadline,
            CreatedAt = now,
            TakesCallbacks = callbackTokenHash is not null,
        };
        await RememberAsync(task);
        return task;
    }

    /// <summary>Records the outcome right after a paid call, and is not cancelled with the job: what was paid for must be recorded.</summary>
    public async Task<ProviderTask> RecordTaskAsync(
        ProviderTask task, ProviderTaskState state, string? taskId = null, string? requestId = null, JsonObject? result = null,
            Failure? failure = null)
    {
        ArgumentNullException.ThrowIfNull(task);
        var recorded = await TransientErrors.RetryAsync(
            () => parts.Leases.RecordTaskAsync(
                Session, task.ProviderTaskId, state, CancellationToken.None, taskId, requestId, result?.ToJsonString(), failure?.Kind.ToString(),
                    failure?.ProviderCode),
            parts.Time, log, job.Stopped);
        if (!recorded)
        {
            throw new LeaseLostException();
        }

        job.CallCompleted(task.ProviderTaskId);
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
    /// <param name="poster">Where a still picture of it comes from. One that cannot be had is done without.</param>
    /// <param name="endsStep">See <see cref="RecordStoredAsync"/>.</param>
    /// <exception cref="LeaseLostException">Nothing counts any more.</exception>
    public async Task<Failure?> DeliverAsync(int ordinal, MediaSource source, JsonObject? usage, CancellationToken ct, MediaSource? poster = null,
        bool endsStep = false)
    {
        if (stored.Contains(ordinal))
        {
            return null;
        }

        var (media, problem) = await StoreAsync(ordinal, source, ct);
        if (media is null)
        {
            return problem;
        }

        var still = poster is null ? null : (
            await StoreAsync(DestinationOf(ordinal, MediaKind.Image) with { Role = MediaRole.Poster }, poster, ct)).Media;
        await RecordStoredAsync(ordinal, media, usage, still?.Key, endsStep);
        return null;
    }

    /// <summary>
    /// Puts an output into the store without showing it, for an answer that says what it cost only behind the media; goes with
    /// <see cref="ProviderReply.Stored"/>. What the source's stream throws beside its own ends comes out unchanged.
    /// </summary>
    public Task<(StoredMedia? Media, Failure? Problem)> StoreAsync(int ordinal, MediaSource source, CancellationToken ct) =>
        StoreAsync(DestinationOf(ordinal, Enum.Parse<MediaKind>(Session.Kind, ignoreCase: true)), source, ct);

    /// <summary>
    /// Records an output whose object is in the store already (a sample, or what <see cref="StoreAsync(int, MediaSource, CancellationToken)"/> has
    /// put there).
    /// </summary>
    /// <param name="ordinal">From 0.</param>
    /// <param name="media">The object.</param>
    /// <param name="usage">What the provider counted for this output.</param>
    /// <param name="poster">The object of its still picture.</param>
    /// <param name="endsStep">
    /// When no other output is missing, the step ends with this one, at once, and its object could be had again: then it is written in the
    /// transaction that ends the session.
    /// </param>
    public async Task RecordStoredAsync(int ordinal, StoredMedia media, JsonObject? usage = null, MediaKey? poster = null, bool endsStep = false)
    {
        ArgumentNullException.ThrowIfNull(media);
        var output = new StoredOutput(Session, Guid.CreateVersion7(parts.Time.GetUtcNow()), ordinal, media, usage?.ToJsonString(), poster);
        if (!endsStep || !await TryKeepAsync(output))
        {
            await WriteAsync(output);
        }

        await recording.WaitAsync(CancellationToken.None);
        stored.Add(ordinal);
        var preview = previews.Remove(ordinal, out var key) ? key : null;
        recording.Release();
        if (preview is not null)
        {
            await ForgetPreviewAsync(preview);
        }
    }

    /// <summary>For a step that did not end its session after all.</summary>
    internal async Task WriteLastOutputAsync()
    {
        if (LastOutput is { } last)
        {
            await WriteAsync(last);
            LastOutput = null;
        }
    }

    /// <summary>After its row was written.</summary>
    internal async Task OnOutputStoredAsync(StoredOutput output, bool isDuplicate)
    {
        if (isDuplicate && !output.Media.Key.IsSample)
        {
            await parts.Store.DeleteAsync(output.Media.Key, CancellationToken.None);
        }

        log.LogInformation(LogEvents.InsertImages, "Stored output {Ordinal} of {SessionId}", output.Ordinal, Session.SessionId);
    }

    /// <summary>Removes what watchers were shown of an output that has not come.</summary>
    public async Task HidePreviewAsync(int ordinal)
    {
        await recording.WaitAsync(CancellationToken.None);
        var preview = previews.Remove(ordinal, out var key) ? key : null;
        recording.Release();
        if (preview is not null)
        {
            await ForgetPreviewAsync(preview);
        }
    }

    /// <summary>
    /// Shows watchers what an output looks like so far. Best effort: a picture that cannot be stored is not shown, and the work goes on.
    /// </summary>
    /// <param name="ordinal">Of which output.</param>
    /// <param name="picture">Read to its end.</param>
    /// <param name="percent">How far the session is.</param>
    /// <param name="phase">What it does.</param>
    /// <param name="ct">Stops.</param>
    public async Task ShowPreviewAsync(int ordinal, Stream picture, int percent, string phase, CancellationToken ct)
    {
        var (media, _) = await StoreAsync(DestinationOf(ordinal, MediaKind.Image) with { Role = MediaRole.Preview }, new MediaSource.Direct(picture),
            ct);
        if (media is null)
        {
            ReportProgress(percent, phase);
            return;
        }

        await recording.WaitAsync(CancellationToken.None);
        var isLate = stored.Contains(ordinal);
        if (!isLate)
        {
            previews[ordinal] = media.Key;
        }

        recording.Release();
        if (isLate)
        {
            await ForgetPreviewAsync(media.Key);
            return;
        }

        parts.Progress.Publish(job.Report(percent, phase) with { Preview = new Preview(ordinal, media.Key.ToString()) });
    }

    /// <summary>A GPU for this job alone, over all workers; null when none came free within <paramref name="maxWait"/>.</summary>
    /// <param name="endpoints">The GPUs, in order of preference.</param>
    /// <param name="maxWait">How long to wait while occupying a slot of the worker.</param>
    /// <param name="ct">Stops waiting.</param>
    public async Task<GpuSlot?> TakeSlotAsync(IReadOnlyList<string> endpoints, TimeSpan maxWait, CancellationToken ct)
    {
        var since = parts.Time.GetTimestamp();
        while (true)
        {
            if (await parts.Slots.TakeAsync(Session, endpoints, ct) is { } endpoint)
            {
                return new GpuSlot(endpoint, () => parts.Slots.ReleaseAsync(Session, endpoint, CancellationToken.None), log);
            }

            if (parts.Time.GetElapsedTime(since) >= maxWait)
            {
                return null;
            }

            ReportProgress(0, "waiting_for_gpu");
            await Task.Delay(TimeSpan.FromMilliseconds(500), parts.Time, ct);
        }
    }

    /// <summary>Puts addresses in place of <c>upload:&lt;id&gt;</c>; a failure when one is gone. A session without uploads asks nobody.</summary>
    internal async Task<Failure?> ResolveUploadsAsync(CancellationToken ct)
    {
        var named = Uploads.In(Settings).Select(u => u.UploadId).ToList();
        if (named.Count == 0)
        {
            return null;
        }

        var keys = await parts.Uploads.FindAsync(Session.UserId, named, ct);
        var lifetime = Deadline - Now;
        var addresses = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var id in named)
        {
            if (!keys.TryGetValue(id, out var key))
            {
                return new Failure(FailureKind.InvalidRequest, "upload.gone", $"{Uploads.Scheme}{id} is not there any more.");
            }

            var url = parts.Store.SignedUrl(key, TimeSpan.FromSeconds(Math.Clamp((long)lifetime.TotalSeconds, 3600, 7 * 86_400)));
            if (url.StartsWith('/') && parts.Options.PublicBaseUrl is null)
            {
                return new Failure(FailureKind.Unavailable, "upload.no_address",
                    "Uploads are files here, and Worker:PublicBaseUrl (PUBLIC_BASE_URL) does not say where providers can fetch them.")
                {
                    IsFinal =
                    true
                };
            }

            addresses[$"{Uploads.Scheme}{id}"] = url.StartsWith('/') ? parts.Options.PublicBaseUrl!.TrimEnd('/') + url : url;
        }

        var resolved = Settings.DeepClone().AsObject();
        foreach (var (name, value) in Settings)
        {
            resolved[name] = value is JsonArray list ? new JsonArray([.. list.Select(Address)]) : Address(value);
        }

        Settings = resolved;
        return null;

        JsonNode? Address(JsonNode? value) =>
            value is JsonValue text && text.TryGetValue<string>(out var reference) && addresses.TryGetValue(reference, out var url) ? url
                : value?.DeepClone();
    }

    private MediaDestination DestinationOf(int ordinal, MediaKind kind) =>
        new(Session.UserId, Session.CreatedAt, Session.SessionId, ordinal, Session.LeaseToken, kind);

    private async Task<(StoredMedia? Media, Failure? Problem)> StoreAsync(MediaDestination destination, MediaSource source, CancellationToken ct)
    {
        try
        {
            return (await parts.Transfer.StoreAsync(source, destination, _ => job.MarkProgress(), ct), null);
        }
        catch (MediaException e)
        {
            log.LogWarning(
                "Could not store {Role} {Ordinal} of {SessionId}: {Failure}, {Problem}", destination.Role, destination.Ordinal, Session.SessionId,
                    e.Failure, e.Message);
            return (null, e.Failure is MediaFailure.SourceUnavailable or MediaFailure.StoreUnavailable or MediaFailure.Truncated
                ? new Failure(FailureKind.Unavailable, $"media.{e.Failure}", e.Message)
                : new Failure(FailureKind.OutputUnusable, $"media.{e.Failure}", e.Message));
        }
    }

    private async Task<bool> TryKeepAsync(StoredOutput output)
    {
        await recording.WaitAsync(CancellationToken.None);
        var isLast = stored.Count + 1 == RequestedOutputs && !stored.Contains(output.Ordinal);
        LastOutput = isLast ? output : LastOutput;
        recording.Release();
        return isLast;
    }

    private async Task WriteAsync(StoredOutput output)
    {
        var answer = await TransientErrors.RetryAsync(() => parts.Leases.StoreMediaAsync(output, CancellationToken.None), parts.Time, log,
            job.Stopped)
            ?? throw new LeaseLostException(); // the object stays for the orphan sweep: its name holds our token and nobody else's
        await recording.WaitAsync(CancellationToken.None);
        job.Version = Math.Max(job.Version, answer.Version);
        recording.Release();
        await OnOutputStoredAsync(output, answer.IsDuplicate);
    }

    /// <summary>The orphan sweep would find it too.</summary>
    private async Task ForgetPreviewAsync(MediaKey preview)
    {
        try
        {
            await parts.Store.DeleteAsync(preview, CancellationToken.None);
        }
        catch (MediaException e)
        {
            log.LogDebug(e, "The preview {Key} stays until the sweep", preview);
        }
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

/// <summary>A GPU that this job has to itself until it is disposed, or until its lease is over.</summary>
public sealed class GpuSlot(string endpoint, Func<Task> release, ILogger log) : IAsyncDisposable
{
    /// <summary>Which one.</summary>
    public string Endpoint => endpoint;

    public async ValueTask DisposeAsync()
    {
        try
        {
            await release();
        }
        catch (Exception e) when (e is Npgsql.NpgsqlException or TimeoutException)
        {
            log.LogDebug(e, "The slot of {Endpoint} is free again when the lease is over", endpoint);
        }
    }
}
