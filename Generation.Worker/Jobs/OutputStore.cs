using System.Collections.Immutable;
using System.Text.Json.Nodes;
using Generation.Core;
using Generation.Core.Database;
using Generation.Core.Media;
using Generation.Core.Providers;
using Generation.Core.Realtime;
using Generation.Core.Sessions;

namespace Generation.Worker.Jobs;

/// <summary>
/// The outputs of one job: transfers them into the media store, records their rows, publishes previews, and deletes previews when the output
/// is stored. The row of the last output may be left to the settlement (<see cref="LastOutput"/>), which then writes both in one transaction.
/// </summary>
public sealed class OutputStore(ActiveJob job, JobDependencies parts, ILogger log)
{
    /// <summary>The code of an output whose address answers that it is not there, which may change.</summary>
    public const string NotReady = $"media.{nameof(MediaFailure.SourceNotReady)}";

    private readonly Lock gate = new();
    private readonly Dictionary<int, MediaKey> previews = [];
    private ImmutableHashSet<int> stored = [.. job.Session.StoredOrdinals];

    /// <summary>Ordinals of the outputs that are stored, by this run or an earlier one.</summary>
    public IReadOnlySet<int> StoredOrdinals => stored;

    /// <summary>The output that completes the session and whose row is not written yet; the settlement writes it.</summary>
    internal StoredOutput? LastOutput { get; private set; }

    private ClaimedSession Session => job.Session;

    /// <summary>
    /// Stores and records one output. Returns null, or why it could not be stored; transient errors were retried by then.
    /// </summary>
    /// <param name="ordinal">From 0.</param>
    /// <param name="source">Where the bytes come from.</param>
    /// <param name="usage">The provider's usage figures for this output, as it names them; the price may depend on one of them.</param>
    /// <param name="ct">Cancels the transfer.</param>
    /// <param name="poster">The source of its still picture. The output is recorded without one when that cannot be stored.</param>
    /// <param name="endsStep">See <see cref="RecordAsync"/>.</param>
    /// <exception cref="LeaseLostException">The lease was lost.</exception>
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

        var still = poster is null ? null : (await StoreAsync(PictureOf(ordinal, MediaRole.Poster), poster, ct)).Media;
        await RecordAsync(ordinal, media, usage, still?.Key, endsStep);
        return null;
    }

    /// <summary>
    /// Transfers an output into the store without recording it: for a response that holds the media and states the usage behind it. Exceptions
    /// of the source's stream, other than those of the transfer, are passed on unchanged.
    /// </summary>
    public Task<(StoredMedia? Media, Failure? Problem)> StoreAsync(int ordinal, MediaSource source, CancellationToken ct) =>
        StoreAsync(DestinationOf(ordinal, Session.Kind), source, ct);

    /// <summary>
    /// Records an output whose object is in the store already: a sample, or one that
    /// <see cref="StoreAsync(int, MediaSource, CancellationToken)"/> stored.
    /// </summary>
    /// <param name="ordinal">From 0.</param>
    /// <param name="media">The object.</param>
    /// <param name="usage">The provider's usage figures for this output.</param>
    /// <param name="poster">The object of its still picture.</param>
    /// <param name="endsStep">
    /// The step ends right after this output, and the object could be fetched again. If no other output is missing, its row is then written in
    /// the transaction that settles the session.
    /// </param>
    /// <exception cref="LeaseLostException">The lease was lost.</exception>
    public async Task RecordAsync(int ordinal, StoredMedia media, JsonObject? usage = null, MediaKey? poster = null, bool endsStep = false)
    {
        ArgumentNullException.ThrowIfNull(media);
        var output = new StoredOutput(Session, Guid.CreateVersion7(parts.Time.GetUtcNow()), ordinal, media, usage?.ToJsonString(), poster);
        if (!endsStep || !TryDefer(output))
        {
            await WriteAsync(output);
        }

        lock (gate)
        {
            stored = stored.Add(ordinal);
        }

        await RemovePreviewAsync(ordinal);
    }

    /// <summary>
    /// Stores a preview of an output and publishes it with the progress. Best effort: when the picture cannot be stored, only the progress is
    /// published.
    /// </summary>
    /// <param name="ordinal">Of the output.</param>
    /// <param name="picture">Read to its end.</param>
    /// <param name="percent">Progress of the session.</param>
    /// <param name="phase">Phase of the session.</param>
    /// <param name="ct">Cancels the transfer.</param>
    public async Task ShowPreviewAsync(int ordinal, Stream picture, int percent, string phase, CancellationToken ct)
    {
        var (media, _) = await StoreAsync(PictureOf(ordinal, MediaRole.Preview), new MediaSource.Direct(picture), ct);
        if (media is null)
        {
            parts.Progress.Publish(job.Report(percent, phase));
            return;
        }

        bool isLate;
        lock (gate)
        {
            isLate = stored.Contains(ordinal);
            if (!isLate)
            {
                previews[ordinal] = media.Key;
            }
        }

        if (isLate)
        {
            await DeletePreviewAsync(media.Key);
            return;
        }

        parts.Progress.Publish(job.Report(percent, phase) with { Preview = new Preview(ordinal, media.Key.ToString()) });
    }

    /// <summary>Deletes the preview of an output, if there is one.</summary>
    public async Task RemovePreviewAsync(int ordinal)
    {
        MediaKey? preview;
        lock (gate)
        {
            previews.Remove(ordinal, out preview);
        }

        if (preview is not null)
        {
            await DeletePreviewAsync(preview);
        }
    }

    /// <summary>Writes the row of <see cref="LastOutput"/>, for a step that does not settle the session after all.</summary>
    internal async Task WriteLastOutputAsync()
    {
        if (LastOutput is { } last)
        {
            await WriteAsync(last);
            LastOutput = null;
        }
    }

    /// <summary>Called when the row of an output was written: deletes the object if the ordinal has another one, and logs.</summary>
    internal async Task OnOutputStoredAsync(StoredOutput output, bool isDuplicate)
    {
        if (isDuplicate && !output.Media.Key.IsSample)
        {
            await parts.Store.DeleteAsync(output.Media.Key, CancellationToken.None);
        }

        log.LogInformation(LogEvents.InsertImages, "Stored output {Ordinal} of {SessionId}", output.Ordinal, Session.SessionId);
    }

    private MediaDestination DestinationOf(int ordinal, MediaKind kind) =>
        new(Session.UserId, Session.CreatedAt, Session.SessionId, ordinal, Session.LeaseToken, kind);

    private MediaDestination PictureOf(int ordinal, MediaRole role) => DestinationOf(ordinal, MediaKind.Image) with { Role = role };

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
            var mayPass = e.Failure is MediaFailure.SourceUnavailable or MediaFailure.StoreUnavailable or MediaFailure.Truncated;
            return (null, new Failure(mayPass ? FailureKind.Unavailable : FailureKind.OutputUnusable, $"media.{e.Failure}", e.Message));
        }
    }

    /// <summary>Leaves the row to the settlement if no other output is missing.</summary>
    private bool TryDefer(StoredOutput output)
    {
        lock (gate)
        {
            var isLast = stored.Count + 1 == Session.RequestedOutputs && !stored.Contains(output.Ordinal);
            LastOutput = isLast ? output : LastOutput;
            return isLast;
        }
    }

    private async Task WriteAsync(StoredOutput output)
    {
        var answer = await TransientErrors.RetryAsync(
            () => parts.Leases.StoreMediaAsync(output, CancellationToken.None), parts.Time, log, job.GivenUp)
            ?? throw new LeaseLostException(); // the object is left to the orphan sweep: its name holds our lease token and nobody else's
        lock (gate)
        {
            job.Version = Math.Max(job.Version, answer.Version);
        }

        await OnOutputStoredAsync(output, answer.IsDuplicate);
    }

    /// <summary>Best effort: the orphan sweep finds it too.</summary>
    private async Task DeletePreviewAsync(MediaKey preview)
    {
        try
        {
            await parts.Store.DeleteAsync(preview, CancellationToken.None);
        }
        catch (MediaException e)
        {
            log.LogDebug(e, "Could not delete the preview {Key}; the orphan sweep deletes it", preview);
        }
    }
}
