using System.Diagnostics;
using System.IO.Compression;
using System.Security.Cryptography;
using Generation.Core.Media;
using Generation.Tests.Harness;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;

namespace Generation.Tests.Media;

/// <summary>A folder store and everything that fills it, for one test.</summary>
internal sealed class TransferBench : IDisposable
{
    private readonly DirectoryInfo folder = Directory.CreateTempSubdirectory("generation-media-");
    private readonly MediaDownloader downloader;

    public TransferBench(Action<MediaOptions>? configure = null, ILogger<MediaTransfer>? logger = null)
    {
        var options = new MediaOptions { Folder = { Root = folder.FullName }, AllowPrivateAddresses = true };
        configure?.Invoke(options);
        var wrapped = Options.Create(options);
        Store = new FolderMediaStore(wrapped, TimeProvider.System);
        downloader = new MediaDownloader(wrapped, TimeProvider.System);
        Transfer = new MediaTransfer(Store, downloader, wrapped, TimeProvider.System, logger ?? NullLogger<MediaTransfer>.Instance);
    }

    public IMediaStore Store { get; }

    public MediaTransfer Transfer { get; }

    public static MediaSource From(Uri url) => new MediaSource.Remote(url, ["127.0.0.1"]);

    public Task<StoredMedia> StoreAsync(MediaSource source, MediaKind kind = MediaKind.Image, Action<long>? reportBytes = null) =>
        Transfer.StoreAsync(source, SampleOutput.Of(kind), reportBytes, default);

    public async Task<byte[]> ReadAsync(MediaKey key)
    {
        await using var stored = (await Store.OpenReadAsync(key, default))!;
        using var bytes = new MemoryStream();
        await stored.CopyToAsync(bytes);
        return bytes.ToArray();
    }

    /// <summary>Expects this failure, and that neither an object nor a part of one is left.</summary>
    public async Task<MediaException> FailAsync(MediaSource source, MediaFailure failure, MediaKind kind = MediaKind.Image)
    {
        var error = await Assert.ThrowsAsync<MediaException>(() => StoreAsync(source, kind));
        Assert.True(error.Failure == failure, $"{error.Failure}: {error.Message}");
        Assert.Empty(folder.GetFiles("*", SearchOption.AllDirectories));
        return error;
    }

    public void Dispose()
    {
        downloader.Dispose();
        folder.Delete(recursive: true);
    }
}

public sealed class MediaTransferTests
{
    [Fact]
    public async Task A_fetched_image_is_stored_with_its_hash_type_and_size_whatever_its_source_calls_it()
    {
        var file = SampleFiles.Jpeg(1600, 900, segmentBytes: 100_000);
        await using var origin = await MediaOrigin.StartAsync(file, "text/html");
        using var bench = new TransferBench();
        var output = SampleOutput.Of(MediaKind.Image) with { Ordinal = 3, LeaseToken = 9 };
        var reported = new List<long>();

        var stored = await bench.Transfer.StoreAsync(TransferBench.From(origin.Url()), output, reported.Add, default);

        Assert.Equal(output.KeyFor(MediaType.Jpeg), stored.Key);
        Assert.EndsWith("/output-3-9.jpg", stored.Key.ToString(), StringComparison.Ordinal);
        Assert.Equal(("image/jpeg", file.LongLength, 1600, 900), (stored.ContentType, stored.Bytes, stored.Width, stored.Height));
        Assert.Equal(SHA256.HashData(file), stored.Sha256);
        Assert.Equal(file, await bench.ReadAsync(stored.Key));
        Assert.Equal(reported.Order(), reported);
        Assert.Equal(file.Length, reported[^1]);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(100_000)]
    public async Task A_stream_may_come_in_any_pieces(int pieceBytes)
    {
        var file = SampleFiles.Png(64, 48, bytes: 70_000);
        using var bench = new TransferBench();

        var stored = await bench.StoreAsync(new MediaSource.Direct(new Pieces(file, pieceBytes), file.Length));

        Assert.Equal((64, 48), (stored.Width, stored.Height));
        Assert.Equal(SHA256.HashData(file), stored.Sha256);
        Assert.Equal(file, await bench.ReadAsync(stored.Key));
    }

    [Fact]
    public async Task A_file_smaller_than_what_is_sniffed_is_stored_too()
    {
        using var bench = new TransferBench();
        var file = SampleFiles.Png(1, 1, bytes: 60);

        var stored = await bench.StoreAsync(new MediaSource.Direct(new MemoryStream(file)));

        Assert.Equal((60L, 1, 1), (stored.Bytes, stored.Width, stored.Height));
    }

    [Theory]
    [InlineData(250 << 10)]
    [InlineData(3 << 20)]
    public async Task A_picture_is_measured_however_much_stands_before_its_size(int segmentBytes)
    {
        using var bench = new TransferBench();
        var file = SampleFiles.Jpeg(640, 480, segmentBytes);

        var stored = await bench.StoreAsync(new MediaSource.Direct(new MemoryStream(file)));

        Assert.Equal((file.LongLength, 640, 480), (stored.Bytes, stored.Width, stored.Height));
        Assert.Equal(file, await bench.ReadAsync(stored.Key));
    }

    [Fact]
    public async Task A_video_has_its_duration()
    {
        using var bench = new TransferBench();

        var stored = await bench.StoreAsync(new MediaSource.Direct(new MemoryStream(SampleFiles.Mp4(1280, 720, 8))), MediaKind.Video);

        Assert.Equal(("video/mp4", 1280, 720, 8.0), (stored.ContentType, stored.Width, stored.Height, stored.DurationSeconds));
    }

    [Fact]
    public async Task An_html_page_that_calls_itself_a_png_is_refused_and_may_become_one_where_it_has_an_address()
    {
        await using var origin = await MediaOrigin.StartAsync(SampleFiles.Text("<!doctype html><p>Sign in"), "image/png");
        using var bench = new TransferBench();

        var error = await bench.FailAsync(TransferBench.From(origin.Url()), MediaFailure.SourceNotReady);
        await bench.FailAsync(new MediaSource.Direct(new MemoryStream(SampleFiles.Text("<!doctype html><p>Sign in"))), MediaFailure.WrongType);

        Assert.Contains("HTML", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(MediaKind.Video)]
    [InlineData(MediaKind.Audio)]
    public async Task A_file_of_another_kind_than_was_asked_for_is_refused(MediaKind kind)
    {
        using var bench = new TransferBench();

        var error = await bench.FailAsync(new MediaSource.Direct(new MemoryStream(SampleFiles.Png(1, 1))), MediaFailure.WrongType, kind);

        Assert.Contains("image/png", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_zip_is_refused()
    {
        using var bench = new TransferBench();

        await bench.FailAsync(new MediaSource.Direct(new MemoryStream(SampleFiles.Fill(5_000, [.. "PK"u8, 3, 4]))), MediaFailure.WrongType);
    }

    [Fact]
    public async Task A_file_of_exactly_the_cap_is_stored_and_one_byte_more_is_not()
    {
        using var bench = new TransferBench(options => options.MaxImageDownloadBytes = 500_000);

        Assert.Equal(500_000, (await bench.StoreAsync(new MediaSource.Direct(new MemoryStream(SampleFiles.Png(1, 1, 500_000))))).Bytes);
        using var other = new TransferBench(options => options.MaxImageDownloadBytes = 500_000);
        await other.FailAsync(new MediaSource.Direct(new MemoryStream(SampleFiles.Png(1, 1, 500_001))), MediaFailure.TooLarge);
    }

    [Fact]
    public async Task A_declared_length_over_the_cap_is_refused_before_a_byte_is_read()
    {
        using var bench = new TransferBench(options => options.MaxImageDownloadBytes = 1_000);
        var wasRead = false;
        var body = new EndlessBody(2_000, SampleFiles.Png(1, 1), onRead: _ => wasRead = true);

        var error = await bench.FailAsync(new MediaSource.Direct(body, 2_000), MediaFailure.TooLarge);

        Assert.False(wasRead);
        Assert.Contains("MAX_IMAGE_DOWNLOAD_BYTES", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_endless_answer_is_cut_at_the_cap_and_its_connection_closed()
    {
        var wasClosed = new TaskCompletionSource();
        await using var origin = await MediaOrigin.StartAsync(async context =>
        {
            var piece = SampleFiles.Png(1, 1, 64 << 10);
            try
            {
                while (!context.RequestAborted.IsCancellationRequested)
                {
                    await context.Response.Body.WriteAsync(piece, context.RequestAborted);
                }
            }
            catch (OperationCanceledException)
            {
                // The reader has gone, as it should.
            }

            wasClosed.SetResult();
        });
        using var bench = new TransferBench(options => options.MaxImageDownloadBytes = 2_000_000);

        await bench.FailAsync(TransferBench.From(origin.Url()), MediaFailure.TooLarge);

        await wasClosed.Task.WaitAsync(TimeSpan.FromSeconds(20));
    }

    [Theory]
    [InlineData("Content-Length: 9000", 5_000)]
    [InlineData("Content-Length: 9000", 100)]
    [InlineData("Content-Length: 9000", 0)]
    [InlineData("Transfer-Encoding: chunked", 5_000)]
    public async Task A_cut_body_is_an_error_and_leaves_no_object(string header, int sentBytes)
    {
        byte[] body = SampleFiles.Png(1, 1, 5_000)[..sentBytes];
        if (header.EndsWith("chunked", StringComparison.Ordinal))
        {
            body = [.. "1388\r\n"u8, .. body, .. "\r\n"u8]; // one whole chunk, but not the last
        }

        using var bench = new TransferBench();

        await bench.FailAsync(TransferBench.From(MediaOrigin.AnswerOnce($"HTTP/1.1 200 OK\n{header}", body)), MediaFailure.Truncated);
    }

    [Theory]
    [InlineData(0.25)]
    [InlineData(0.5)]
    [InlineData(0.75)]
    public async Task A_file_that_is_cut_is_truncated_although_the_transport_ended_properly(double share)
    {
        (byte[] File, MediaKind Kind)[] files = [(SampleFiles.Png(9, 9, 50_000), MediaKind.Image), (SampleFiles.Jpeg(9, 9), MediaKind.Image),
            (SampleFiles.WebPLossy(9, 9), MediaKind.Image), (SampleFiles.Mp4(9, 9, 1, dataBytes: 50_000), MediaKind.Video),
            (SampleFiles.WebM(), MediaKind.Video), (SampleFiles.Wav(2), MediaKind.Audio)];
        foreach (var (file, kind) in files)
        {
            var cut = file[..(int)(file.Length * share)];
            await using var origin = await MediaOrigin.StartAsync(async context => await context.Response.Body.WriteAsync(cut)); // chunked
            using var bench = new TransferBench();
            await bench.FailAsync(TransferBench.From(origin.Url()), MediaFailure.Truncated, kind);
        }
    }

    [Theory]
    [InlineData("gzip", true)]
    [InlineData("br", true)]
    [InlineData("deflate", true)]
    [InlineData("gzip", false)] // says so, and is plain
    [InlineData("identity", false)]
    [InlineData("x-unknown", false)]
    public async Task A_body_that_comes_encoded_is_stored_decoded(string coding, bool isEncoded)
    {
        var file = SampleFiles.Png(64, 48, 100_000);
        using var coded = new MemoryStream();
        await using (var encoder = (isEncoded, coding) switch
        {
            (true, "gzip") => new GZipStream(coded, CompressionLevel.Fastest, leaveOpen: true),
            (true, "br") => new BrotliStream(coded, CompressionLevel.Fastest, leaveOpen: true),
            (true, _) => new ZLibStream(coded, CompressionLevel.Fastest, leaveOpen: true),
            _ => (Stream)coded,
        })
        {
            await encoder.WriteAsync(file);
        }

        var body = coded.ToArray();
        await using var origin = await MediaOrigin.StartAsync(async context =>
        {
            context.Response.Headers.ContentEncoding = coding;
            context.Response.ContentLength = body.Length;
            await context.Response.Body.WriteAsync(body);
        });
        using var bench = new TransferBench();

        var stored = await bench.StoreAsync(TransferBench.From(origin.Url()));

        Assert.Equal(file, await bench.ReadAsync(stored.Key));
        Assert.Equal(("image/png", file.LongLength, 64), (stored.ContentType, stored.Bytes, stored.Width));
    }

    [Fact]
    public async Task A_bomb_ends_at_the_cap()
    {
        using var coded = new MemoryStream();
        await using (var encoder = new GZipStream(coded, CompressionLevel.Fastest, leaveOpen: true))
        {
            await encoder.WriteAsync(SampleFiles.Png(1, 1, 100_000));
            await encoder.WriteAsync(new byte[10_000_000]);
        }

        await using var origin = await MediaOrigin.StartAsync(async context =>
        {
            context.Response.Headers.ContentEncoding = "gzip";
            await context.Response.Body.WriteAsync(coded.ToArray());
        });
        using var bench = new TransferBench(options => options.MaxImageDownloadBytes = 1_000_000);
        await bench.FailAsync(TransferBench.From(origin.Url()), MediaFailure.TooLarge);
    }

    [Theory]
    [InlineData(MediaRole.Output, true)]
    [InlineData(MediaRole.Poster, false)]
    [InlineData(MediaRole.Preview, false)]
    [InlineData(MediaRole.Upload, false)]
    public async Task A_paid_output_of_a_format_unknown_here_is_stored_as_it_came_and_nothing_else_is(MediaRole role, bool isStored)
    {
        var file = SampleFiles.Fill(9_000, [.. "II*"u8, 0, 8, 0, 0, 0]);
        using var bench = new TransferBench();
        var store = () => bench.Transfer.StoreAsync(
            new MediaSource.Direct(new MemoryStream(file)), SampleOutput.Of(MediaKind.Image) with { Role = role }, null, default);
        if (!isStored)
        {
            Assert.Equal(MediaFailure.WrongType, (await Assert.ThrowsAsync<MediaException>(store)).Failure);
            return;
        }

        var stored = await store();
        Assert.Equal(("application/octet-stream", null, null), (stored.ContentType, stored.Width, stored.DurationSeconds));
        Assert.EndsWith(".bin", stored.Key.ToString(), StringComparison.Ordinal);
        Assert.True(MediaKey.TryParse(stored.Key.ToString(), out _));
        Assert.Equal(file, await bench.ReadAsync(stored.Key));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(50)]
    [InlineData(2_000)]
    public async Task A_stream_shorter_than_declared_is_truncated(int bytes)
    {
        using var bench = new TransferBench();
        var body = new MemoryStream(SampleFiles.Png(1, 1, 3_000)[..bytes]);

        await bench.FailAsync(new MediaSource.Direct(body, 3_000), MediaFailure.Truncated);
    }

    [Fact]
    public async Task An_empty_body_is_truncated_whatever_was_declared()
    {
        using var bench = new TransferBench();

        await bench.FailAsync(new MediaSource.Direct(new MemoryStream()), MediaFailure.Truncated);
        await bench.FailAsync(new MediaSource.Direct(new MemoryStream(), 0), MediaFailure.Truncated);
    }

    [Theory]
    [InlineData(false, "Media:IdleTimeout")]
    [InlineData(true, "Media:DownloadTimeout")]
    public async Task A_source_that_stops_or_dribbles_is_given_up(bool dribbles, string setting)
    {
        await using var origin = await MediaOrigin.StartAsync(async context =>
        {
            await context.Response.Body.WriteAsync(SampleFiles.Png(1, 1, 1_000), context.RequestAborted);
            await context.Response.Body.FlushAsync(context.RequestAborted);
            var pause = dribbles ? TimeSpan.FromMilliseconds(20) : Timeout.InfiniteTimeSpan;
            while (true)
            {
                await Task.Delay(pause, TimeProvider.System, context.RequestAborted);
                await context.Response.Body.WriteAsync(new byte[1], context.RequestAborted);
                await context.Response.Body.FlushAsync(context.RequestAborted);
            }
        });
        using var bench = new TransferBench(options =>
        {
            options.IdleTimeout = dribbles ? TimeSpan.FromSeconds(30) : TimeSpan.FromMilliseconds(300);
            options.DownloadTimeout = dribbles ? TimeSpan.FromMilliseconds(600) : TimeSpan.FromMinutes(1);
        });

        var error = await bench.FailAsync(TransferBench.From(origin.Url()), MediaFailure.SourceUnavailable);

        Assert.Contains(setting, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Start_and_end_are_logged_without_the_signature_in_the_url()
    {
        await using var origin = await MediaOrigin.StartAsync(SampleFiles.Png(1, 1));
        var log = new LogLines();
        using var bench = new TransferBench(logger: log);

        await bench.StoreAsync(TransferBench.From(origin.Url("/a.png?X-Signature=secret#secret")));

        Assert.Equal(["storage.stream.start", "storage.stream.done"], log.Lines.Select(line => line.Event));
        Assert.Contains("/a.png", log.Lines[0].Text, StringComparison.Ordinal);
        Assert.DoesNotContain(log.Lines, line => line.Text.Contains("secret", StringComparison.Ordinal));
    }

    private sealed class Pieces(byte[] file, int pieceBytes) : MemoryStream(file)
    {
        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) =>
            base.ReadAsync(buffer[..Math.Min(buffer.Length, pieceBytes)], cancellationToken);
    }

    private sealed class LogLines : ILogger<MediaTransfer>
    {
        public List<(string? Event, string Text)> Lines { get; } = [];

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
            Lines.Add((eventId.Name, formatter(state, exception)));
    }
}

/// <summary>Measurements of the whole process want it to themselves.</summary>
[CollectionDefinition(Name, DisableParallelization = true)]
public sealed class AloneInTheProcess
{
    public const string Name = "Alone in the process";
}

[Collection(AloneInTheProcess.Name)]
[Trait("tier", "slow")]
public sealed class MediaMemoryTests(TestS3 server)
{
    private const long BodyBytes = 500L << 20;
    private const long AllowedBytes = 64L << 20;

    /// <summary>
    /// Counts what is allocated in all, which bounds what can be held at any time and, unlike a working set, does not
    /// depend on when the collector runs.
    /// </summary>
    [Theory]
    [InlineData(MediaStoreKind.Folder, "a stream")]
    [InlineData(MediaStoreKind.Folder, "HTTP")]
    [InlineData(MediaStoreKind.S3, "a stream")]
    [InlineData(MediaStoreKind.S3, "HTTP")]
    public async Task Half_a_gigabyte_costs_less_than_64_MiB_of_memory(MediaStoreKind kind, string from)
    {
        var folder = Directory.CreateTempSubdirectory("generation-media-");
        var settings = kind == MediaStoreKind.S3 ? await server.NewBucketAsync() : new MediaOptions { Folder = { Root = folder.FullName } };
        settings.AllowPrivateAddresses = true;
        var options = Options.Create(settings);
        using var s3 = kind == MediaStoreKind.S3 ? new S3MediaStore(options, TimeProvider.System, NullLogger<S3MediaStore>.Instance) : null;
        IMediaStore store = s3 is null ? new FolderMediaStore(options, TimeProvider.System) : s3;
        using var downloader = new MediaDownloader(options, TimeProvider.System);
        var transfer = new MediaTransfer(store, downloader, options, TimeProvider.System, NullLogger<MediaTransfer>.Instance);
        var start = SampleFiles.Mp4(1920, 1080, 60);
        await using var origin = await MediaOrigin.StartAsync(async context =>
        {
            context.Response.ContentLength = BodyBytes;
            await new EndlessBody(BodyBytes, start).CopyToAsync(context.Response.Body);
        });
        MediaSource source = from == "HTTP"
            ? TransferBench.From(origin.Url())
            : new MediaSource.Direct(new EndlessBody(BodyBytes, start), BodyBytes);
        var started = Stopwatch.GetTimestamp();
        var allocatedBefore = GC.GetTotalAllocatedBytes(precise: true);

        var stored = await transfer.StoreAsync(source, SampleOutput.Of(MediaKind.Video), null, default);

        var allocated = GC.GetTotalAllocatedBytes(precise: true) - allocatedBefore;
        var seconds = Stopwatch.GetElapsedTime(started).TotalSeconds;
        TestContext.Current.TestOutputHelper?.WriteLine($"{from} to {kind}: {allocated >> 10} KiB allocated in {seconds:F1} s");
        Assert.Equal(BodyBytes, stored.Bytes);
        Assert.True(allocated < AllowedBytes, $"{allocated >> 20} MiB were allocated.");
        await store.DeleteAsync(stored.Key, default);
        Assert.False(await store.ExistsAsync(stored.Key, default));
        folder.Delete(recursive: true);
    }
}
