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
/// <param name="Width">In pixels; null when the header does not say.</param>
/// <param name="DurationSeconds">Null when the header does not say.</param>
public sealed record StoredMedia(
    MediaKey Key, string ContentType, long Bytes, byte[] Sha256, int? Width, int? Height, double? DurationSeconds);

/// <summary>
/// Moves one result into the store: source → cap → SHA-256 → type → size → store, in one pass.
/// </summary>
/// <remarks>
/// Memory is the header window (256 KiB, pooled) and the store's own buffer, independent of the body's size. The window exists
/// because the key's extension and the picture's size must be known before the first byte is stored, and a JPEG may keep
/// its size behind long Exif and colour segments. The store pulls: a slow store slows the source down, nothing piles up.
/// </remarks>
public sealed class MediaTransfer(
    IMediaStore store, MediaDownloader downloader, IOptions<MediaOptions> options, TimeProvider time, ILogger<MediaTransfer> logger)
{
    /// <summary>How many bytes of a body are searched for its dimensions.</summary>
    public const int HeaderWindowBytes = 256 << 10;

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
            LogEvents.StorageStreamStart, "Streaming output {Ordinal} of {SessionId} from {Source}, {DeclaredBytes} bytes declared",
            destination.Ordinal, destination.SessionId, address, declaredBytes);
        if (declaredBytes > maxBytes)
        {
            throw MeteredBody.TooLarge(declaredBytes.Value, maxBytes);
        }

        using var idle = new CancellationTokenSource(Timeout.InfiniteTimeSpan, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(idle.Token, ct);
        var window = ArrayPool<byte>.Shared.Rent(HeaderWindowBytes);
        try
        {
            await using var body = new MeteredBody(stream, address, declaredBytes, maxBytes, options.Value.IdleTimeout, idle, reportBytes);
            var (type, header, length) = await ReadHeaderAsync(
                body, window.AsMemory(0, HeaderWindowBytes), destination.Kind, remote is not null, either.Token);
            body.Unread(window.AsMemory(0, length));
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
            Telemetry.StreamedBytes.Add(body.BytesRead, new KeyValuePair<string, object?>("kind", type.Kind.Name()));
            return new(key, type.ContentType, body.BytesRead, body.Sha256(), header.Width, header.Height, header.DurationOf(body.BytesRead));
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

    /// <summary>Reads until type and size are known, the window is full or the body ends.</summary>
    private static async Task<(MediaType Type, MediaHeader Header, int Length)> ReadHeaderAsync(
        MeteredBody body, Memory<byte> window, MediaKind kind, bool isRemote, CancellationToken ct)
    {
        var length = 0;
        MediaType? type = null;
        while (true)
        {
            var read = await body.ReadAsync(window[length..], ct);
            length += read;
            var isEnd = read == 0;
            if (type is null && (isEnd || length >= MediaType.SniffBytes))
            {
                type = MediaType.Sniff(window.Span[..length]);
                if (type?.Kind != kind)
                {
                    var found = type?.ContentType ?? MediaType.Describe(window.Span[..length]);
                    throw new MediaException(
                        type is null && isRemote && IsText(window.Span[..length]) ? MediaFailure.SourceNotReady : MediaFailure.WrongType,
                        $"Expected {kind.Name()}, got {found}.");
                }
            }

            if (type is not null)
            {
                var header = MediaHeader.Read(type, window.Span[..length]);
                if (header.IsComplete || isEnd || length == window.Length)
                {
                    return (type, header, length);
                }
            }
        }
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
    /// The source's stream with everything that is checked on the way: cap, declared length, idle time, hash, progress.
    /// What was read ahead can be put back in front; it is hashed and counted once.
    /// </summary>
    private sealed class MeteredBody(
        Stream source,
        string address,
        long? declaredBytes,
        long maxBytes,
        TimeSpan idleTimeout,
        CancellationTokenSource idle,
        Action<long>? reportBytes) : Stream
    {
        private readonly IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        private ReadOnlyMemory<byte> unread;

        public long BytesRead { get; private set; }

        public override bool CanRead => true;

        public override bool CanSeek => false;

        public override bool CanWrite => false;

        public override long Length => throw new NotSupportedException();

        public override long Position
        {
            get => throw new NotSupportedException();
            set => throw new NotSupportedException();
        }

        public static MediaException TooLarge(long bytes, long maxBytes) => new(
            MediaFailure.TooLarge,
            $"{bytes} bytes or more are over the cap of {maxBytes} (MAX_IMAGE_DOWNLOAD_BYTES for images, MAX_REMOTE_DOWNLOAD_BYTES for the rest).");

        public void Unread(ReadOnlyMemory<byte> bytes) => unread = bytes;

        public byte[] Sha256() => hash.GetHashAndReset();

        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken ct = default)
        {
            if (unread.Length > 0)
            {
                var count = Math.Min(unread.Length, buffer.Length);
                unread[..count].CopyTo(buffer);
                unread = unread[count..];
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

                return 0;
            }

            BytesRead += read;
            if (BytesRead > maxBytes)
            {
                throw TooLarge(BytesRead, maxBytes);
            }

            hash.AppendData(buffer.Span[..read]);
            reportBytes?.Invoke(BytesRead);
            return read;
        }

        public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken ct) =>
            ReadAsync(buffer.AsMemory(offset, count), ct).AsTask();

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException("Read asynchronously.");

        public override void Flush()
        {
        }

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

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
