using System.Buffers;
using System.Diagnostics;
using System.Security.Cryptography;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Generation.Core.Media;

/// <summary>Where a result's bytes come from: a URL to fetch, or a stream that a handler already holds.</summary>
public abstract record MediaSource
{
    private MediaSource()
    {
    }

    /// <summary>To be fetched; the URL and its redirects must match the patterns (<see cref="HostPattern"/>).</summary>
    public sealed record Remote(Uri Url, IReadOnlyList<string> AllowedHosts) : MediaSource
    {
        /// <summary>The key that the source wants to see, if it wants one.</summary>
        public SourceCredential? Credential { get; init; }
    }

    /// <summary>Read to its end; the caller disposes it.</summary>
    /// <param name="DeclaredBytes">Its length if known; a body that ends earlier is an error.</param>
    public sealed record Direct(Stream Body, long? DeclaredBytes = null) : MediaSource;
}

/// <summary>A header that opens a source. It is sent to this origin alone: not to another host, also not when a redirect leads there.</summary>
/// <param name="Origin">Scheme, host and port count.</param>
/// <param name="Header">Such as <c>x-goog-api-key</c>.</param>
/// <param name="Value">The secret.</param>
public sealed record SourceCredential(Uri Origin, string Header, string Value)
{
    public bool IsFor(Uri url) => Uri.Compare(Origin, url, UriComponents.SchemeAndServer, UriFormat.SafeUnescaped,
        StringComparison.OrdinalIgnoreCase) == 0;
}

/// <summary>Which output of which session is stored, under which lease; everything of its key but the extension.</summary>
public sealed record MediaDestination(
    Guid UserId, DateTimeOffset SessionCreatedAt, Guid SessionId, int Ordinal, long LeaseToken, MediaKind Kind)
{
    /// <summary>What the object is for. An upload has its own id for a session's, and no ordinal.</summary>
    public MediaRole Role { get; init; }

    /// <summary>The cap in bytes; null for the cap of its kind.</summary>
    public long? MaxBytes { get; init; }

    public MediaKey KeyFor(MediaType type) => Role == MediaRole.Upload
        ? MediaKey.Upload(UserId, SessionCreatedAt, SessionId, type.Extension)
        : MediaKey.Output(UserId, SessionCreatedAt, SessionId, Ordinal, LeaseToken, type.Extension, Role);
}

/// <summary>An object that is in the store, and what is known of it.</summary>
/// <param name="ContentType">As its bytes show, not as its source said.</param>
/// <param name="Sha256">32 bytes.</param>
/// <param name="Width">In pixels; null when the file does not say.</param>
/// <param name="DurationSeconds">Null when the file does not say.</param>
public sealed record StoredMedia(
    MediaKey Key, string ContentType, long Bytes, byte[] Sha256, int? Width, int? Height, double? DurationSeconds);

/// <summary>
/// Moves one result into the store: source → cap → SHA-256 → type → structure → store, in one pass.
/// </summary>
/// <remarks>
/// Memory is the window of first bytes that show the type (4 KiB, pooled: the key's extension must be known before the first byte is
/// stored), the structure's own state and the store's buffer, independent of the body's size. Size and duration are read while the body
/// passes, wherever in it they stand, and a body that its own structure says is cut fails like one that the transport cut short: before the
/// store has taken it for whole. The store pulls: a slow store slows the source down, nothing piles up.
/// </remarks>
public sealed class MediaTransfer(
    IMediaStore store, MediaDownloader downloader, IOptions<MediaOptions> options, TimeProvider time, ILogger<MediaTransfer> logger)
{
    /// <summary>Stores one output.</summary>
    /// <param name="reportBytes">Called with the bytes so far, after each read and on the reading thread: be quick.</param>
    /// <exception cref="MediaException">For every expected failure; then there is no object.</exception>
    public async Task<StoredMedia> StoreAsync(
        MediaSource source, MediaDestination destination, Action<long>? reportBytes, CancellationToken ct)
    {
        var started = time.GetTimestamp();
        using var span = source is MediaSource.Remote remote
            ? Start("download", destination, ActivityKind.Client)?.SetTag("server.address", remote.Url.IsAbsoluteUri ? remote.Url.Host : null) : null;
        using var deadline = new CancellationTokenSource(options.Value.DownloadTimeout, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, ct);
        try
        {
            var stored = await StoreCoreAsync(source, destination, reportBytes, either.Token);
            span?.SetTag("generation.media.bytes", stored.Bytes).SetTag("generation.media.content_type", stored.ContentType);
            logger.LogInformation(
                LogEvents.StorageStreamDone,
                "Stored {Key}: {Bytes} bytes of {ContentType} in {ElapsedMs} ms",
                stored.Key, stored.Bytes, stored.ContentType, (long)time.GetElapsedTime(started).TotalMilliseconds);
            return stored;
        }
        catch (OperationCanceledException e) when (deadline.IsCancellationRequested && !ct.IsCancellationRequested)
        {
            span.SetFailed(nameof(MediaFailure.SourceUnavailable));
            throw new MediaException(
                MediaFailure.SourceUnavailable, $"Not stored within {options.Value.DownloadTimeout} (Media:DownloadTimeout).", e);
        }
        catch (Exception e)
        {
            SetFailed(span, e);
            throw;
        }
    }

    /// <summary>A span of one output. An upload belongs to no session.</summary>
    private static Activity? Start(string what, MediaDestination destination, ActivityKind kind)
    {
        var span = Telemetry.Source.StartActivity($"{what} {destination.Kind.Name()}", kind);
        return span is not { IsAllDataRequested: true } ? span : span
            .SetSession(destination.Role == MediaRole.Upload ? default : destination.SessionId)!
            .SetTag("generation.media.role", destination.Role.Name())
            .SetTag("generation.output.ordinal", destination.Ordinal);
    }

    private static void SetFailed(Activity? span, Exception error) =>
        span.SetFailed(error is MediaException refused ? refused.Failure.ToString() : error.GetType().FullName!);

    private async Task<StoredMedia> StoreCoreAsync(
        MediaSource source, MediaDestination destination, Action<long>? reportBytes, CancellationToken ct)
    {
        var remote = source as MediaSource.Remote;
        await using var download = remote is null ? null : await downloader.OpenAsync(remote.Url, remote.AllowedHosts, remote.Credential,
            ct);
        var (stream, declaredBytes) = source switch
        {
            MediaSource.Direct direct => (direct.Body, direct.DeclaredBytes),
            _ => (download!.Body, download.DeclaredBytes),
        };
        var address = download?.Address ?? "the handler";
        var maxBytes = destination.MaxBytes ?? options.Value.MaxBytes(destination.Kind);
        logger.LogInformation(
            LogEvents.StorageStreamStart, "Streaming output {Ordinal} of {SessionId} from {Source}, declared length {DeclaredBytes}",
            destination.Ordinal, destination.SessionId, address, (object?)declaredBytes ?? "unknown");
        if (declaredBytes > maxBytes)
        {
            throw MeteredBody.TooLarge(declaredBytes.Value, maxBytes);
        }

        using var idle = new CancellationTokenSource(Timeout.InfiniteTimeSpan, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(idle.Token, ct);
        var window = ArrayPool<byte>.Shared.Rent(MediaType.SniffBytes);
        try
        {
            await using var body = new MeteredBody(stream, address, declaredBytes, maxBytes, options.Value.IdleTimeout, idle, reportBytes);
            var length = await body.ReadAtLeastAsync(
                window.AsMemory(0, MediaType.SniffBytes), MediaType.SniffBytes, throwOnEndOfStream: false, either.Token);
            var type = TypeOf(window.AsSpan(0, length), destination, isRemote: remote is not null);
            using var structure = MediaStructure.Of(type, isStrict: destination.Role == MediaRole.Upload);
            body.Unread(window.AsMemory(0, length), type, structure);
            var key = destination.KeyFor(type);
            using var span = Start("store", destination, ActivityKind.Internal);
            try
            {
                await store.PutAsync(key, body, type.ContentType, either.Token);
            }
            catch (Exception e)
            {
                SetFailed(span, e);
                throw;
            }

            span?.SetTag("generation.media.bytes", body.BytesRead).SetTag("generation.media.content_type", type.ContentType);
            Telemetry.StreamedBytes.Add(body.BytesRead, new KeyValuePair<string, object?>("kind", destination.Kind.Name()));
            var facts = structure.Facts();
            return new(key, type.ContentType, body.BytesRead, body.Sha256(), facts.Width, facts.Height, facts.DurationSeconds);
        }
        catch (OperationCanceledException e) when (idle.IsCancellationRequested && !ct.IsCancellationRequested)
        {
            throw new MediaException(
                MediaFailure.SourceUnavailable, $"{address} sent nothing for {options.Value.IdleTimeout} (Media:IdleTimeout).", e);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(window);
        }
    }

    /// <summary>
    /// The type that the first bytes show. What was paid for is stored also when its format is unknown; a picture that goes along with it,
    /// or that a user sends, is not. Words where a provider's file should be say that it is not ready.
    /// </summary>
    private static MediaType TypeOf(ReadOnlySpan<byte> start, MediaDestination destination, bool isRemote)
    {
        if (MediaType.Sniff(start, destination.Kind, takesUnrecognized: destination.Role == MediaRole.Output) is { } type)
        {
            return type;
        }

        var other = MediaType.Sniff(start);
        throw new MediaException(
            other is null && isRemote && IsText(start) ? MediaFailure.SourceNotReady : MediaFailure.WrongType,
            $"Expected {destination.Kind.Name()}, got {other?.ContentType ?? MediaType.Describe(start)}.");
    }

    /// <summary>Words instead of media: a page, JSON, a line of text. No format of media begins without a control character.</summary>
    private static bool IsText(ReadOnlySpan<byte> start)
    {
        foreach (var value in start[..Math.Min(start.Length, MediaType.SniffBytes)])
        {
            if (value is < 0x20 and not ((byte)'\t' or (byte)'\n' or (byte)'\r' or (byte)'\f'))
            {
                return false;
            }
        }

        return start.Length > 0;
    }

    /// <summary>
    /// The source's stream with everything that is checked on the way: cap, declared length, idle time, hash, structure, progress.
    /// What was read ahead can be put back in front; it is hashed and counted once.
    /// </summary>
    private sealed class MeteredBody(
        Stream source,
        string address,
        long? declaredBytes,
        long maxBytes,
        TimeSpan idleTimeout,
        CancellationTokenSource idle,
        Action<long>? reportBytes) : ForwardStream
    {
        private readonly IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        private ReadOnlyMemory<byte> unread;
        private MediaType? type;
        private MediaStructure? structure;

        public long BytesRead { get; private set; }

        public static MediaException TooLarge(long bytes, long maxBytes) => new(
            MediaFailure.TooLarge,
            $"{bytes} bytes or more are over the cap of {maxBytes} (MAX_IMAGE_DOWNLOAD_BYTES for images, MAX_REMOTE_DOWNLOAD_BYTES for the rest).");

        /// <summary>Puts what was read back in front; all that is read from now on passes through the structure.</summary>
        public void Unread(ReadOnlyMemory<byte> bytes, MediaType itsType, MediaStructure itsStructure) =>
            (unread, type, structure) = (bytes, itsType, itsStructure);

        public byte[] Sha256() => hash.GetHashAndReset();

        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken ct = default)
        {
            if (unread.Length > 0)
            {
                var count = Math.Min(unread.Length, buffer.Length);
                unread[..count].CopyTo(buffer);
                unread = unread[count..];
                structure?.Feed(buffer.Span[..count]);
                return count;
            }

            if (buffer.IsEmpty)
            {
                return 0;
            }

            var read = await ReadSourceAsync(buffer, ct);
            if (read == 0)
            {
                if (BytesRead == 0 || BytesRead < declaredBytes)
                {
                    throw Truncated(null);
                }

                if (structure?.Facts().Completeness == MediaCompleteness.Cut)
                {
                    throw new MediaException(
                        MediaFailure.Truncated, $"{address} ended after {BytesRead} bytes, in the middle of its {type!.ContentType}.");
                }

                return 0;
            }

            BytesRead += read;
            if (BytesRead > maxBytes)
            {
                throw TooLarge(BytesRead, maxBytes);
            }

            hash.AppendData(buffer.Span[..read]);
            structure?.Feed(buffer.Span[..read]);
            reportBytes?.Invoke(BytesRead);
            return read;
        }

        protected override void Dispose(bool disposing)
        {
            hash.Dispose();
            base.Dispose(disposing);
        }

        private async ValueTask<int> ReadSourceAsync(Memory<byte> buffer, CancellationToken ct)
        {
            // Only the source's silence counts: while the store writes, the clock stands still.
            idle.CancelAfter(idleTimeout);
            try
            {
                return await source.ReadAsync(buffer, ct);
            }
            catch (HttpIOException e) when (e.HttpRequestError == HttpRequestError.ResponseEnded)
            {
                throw Truncated(e);
            }
            catch (Exception e) when (e is IOException or HttpRequestException)
            {
                throw new MediaException(MediaFailure.SourceUnavailable, $"{address} broke off after {BytesRead} bytes: {e.Message}", e);
            }
            finally
            {
                idle.CancelAfter(Timeout.InfiniteTimeSpan);
            }
        }

        private MediaException Truncated(Exception? inner) => new(
            MediaFailure.Truncated,
            $"{address} ended after {BytesRead} bytes" + (declaredBytes is { } declared ? $" of {declared}." : "."),
            inner);
    }
}
