using Generation.Core.Media;

namespace Generation.Tests.Media;

/// <summary>A corpus of small files: whole, cut, in pieces of any size, and with noise in them.</summary>
public sealed class MediaStructureTests
{
    public static readonly TheoryData<string, byte[], string, int?, int?, double?> Files = new()
    {
        { "PNG", SampleFiles.Png(1024, 768), "image/png", 1024, 768, null },
        { "PNG of pixels, 16 bits", SampleFiles.PngOfPixels(300, 200, bitDepth: 16), "image/png", 300, 200, null },
        { "PNG, animated", SampleFiles.PngAnimated(320, 200), "image/png", 320, 200, null },
        { "GIF", SampleFiles.Gif(320, 200), "image/gif", 320, 200, null },
        { "GIF, animated", SampleFiles.Gif(320, 200, frames: 5), "image/gif", 320, 200, null },
        { "JPEG, baseline", SampleFiles.Jpeg(1600, 900), "image/jpeg", 1600, 900, null },
        { "JPEG, progressive", SampleFiles.Jpeg(1600, 900, frame: 0xC2), "image/jpeg", 1600, 900, null },
        { "JPEG, CMYK", SampleFiles.Jpeg(1600, 900, components: 4), "image/jpeg", 1600, 900, null },
        { "JPEG after 325 KiB of C2PA", SampleFiles.Jpeg(4096, 2160, 325 << 10), "image/jpeg", 4096, 2160, null },
        { "WebP, lossy", SampleFiles.WebPLossy(640, 481), "image/webp", 640, 481, null },
        { "WebP, lossless", SampleFiles.WebPLossless(16383, 1), "image/webp", 16383, 1, null },
        { "WebP, extended", SampleFiles.WebPExtended(1 << 20, 3), "image/webp", 1 << 20, 3, null },
        { "AVIF", SampleFiles.Avif(1920, 1080), "image/avif", 1920, 1080, null },
        { "MP4, index first", SampleFiles.Mp4(1280, 720, 5.25), "video/mp4", 1280, 720, 5.25 },
        { "MP4, index last", SampleFiles.Mp4(1280, 720, 5.25, isIndexFirst: false, dataBytes: 50_000), "video/mp4", 1280, 720, 5.25 },
        { "MP4, 64-bit lengths", SampleFiles.Mp4(1280, 720, 5.25, isLong: true), "video/mp4", 1280, 720, 5.25 },
        { "MP4 behind free space", SampleFiles.Mp4(1280, 720, 5.25, before: [0, 0, 0, 8, .. "free"u8]), "video/mp4", 1280, 720, 5.25 },
        { "MP4 whose last box has no length", OpenEnded(SampleFiles.Mp4(1280, 720, 5.25, isIndexFirst: false)), "video/mp4", 1280, 720, 5.25 },
        { "MP4 in fragments", SampleFiles.Mp4Fragmented(640, 360, fragments: 3), "video/mp4", 640, 360, 3.0 },
        { "QuickTime", SampleFiles.Mp4(1280, 720, 5.25, brand: "qt  "), "video/quicktime", 1280, 720, 5.25 },
        { "M4A", SampleFiles.Mp4(0, 0, 5.25, brand: "M4A "), "audio/mp4", null, null, 5.25 },
        { "WebM", SampleFiles.WebM(), "video/webm", 640, 360, 2.0 },
        { "WebM, streamed", SampleFiles.WebM(isStreamed: true), "video/webm", 640, 360, 1.96 },
        { "WAV", SampleFiles.Wav(2.5), "audio/wav", null, null, 2.5 },
        { "WAV, streamed", SampleFiles.Wav(2.5, isStreamed: true), "audio/wav", null, null, 2.5 },
        { "RF64", SampleFiles.Rf64(2.5), "audio/wav", null, null, 2.5 },
        { "OGG", SampleFiles.Ogg(), "audio/ogg", null, null, 3.0 },
        { "MP3", SampleFiles.Mp3(100), "audio/mpeg", null, null, 100 * 1152 / 44_100.0 },
        { "MP3 after a large tag", SampleFiles.Mp3(100, tagBytes: 700_000), "audio/mpeg", null, null, 100 * 1152 / 44_100.0 },
        { "MP3 that does not say its length", SampleFiles.Mp3(101, saysLength: false), "audio/mpeg", null, null, 101 * 1152 / 44_100.0 },
        { "AAC", SampleFiles.Adts(51), "audio/aac", null, null, 51 * 1024 / 44_100.0 },
        { "FLAC", SampleFiles.Flac(200), "audio/flac", null, null, 200 * 4096 / 44_100.0 },
        { "FLAC, streamed", SampleFiles.Flac(200, saysLength: false), "audio/flac", null, null, 200 * 4096 / 44_100.0 },
    };

    /// <summary>Formats of which nothing says where they end: a cut between two parts is the end.</summary>
    private static readonly HashSet<string> Endless = ["WAV, streamed", "FLAC, streamed", "MP4 whose last box has no length"];

    [Theory]
    [MemberData(nameof(Files))]
    public void A_file_shows_its_type_its_size_and_that_it_is_whole(
        string name, byte[] file, string contentType, int? width, int? height, double? seconds)
    {
        var type = MediaType.Sniff(file);
        Assert.True(type?.ContentType == contentType, $"{name} is {type?.ContentType}");

        foreach (var pieceBytes in new[] { 1, 7, 4096, file.Length })
        {
            var facts = Facts(type!, file, pieceBytes);
            Assert.Equal((width, height), (facts.Width, facts.Height));
            Assert.Equal(seconds ?? -1, facts.DurationSeconds ?? -1, 3);
            Assert.NotEqual(MediaCompleteness.Cut, facts.Completeness);
        }
    }

    [Theory]
    [MemberData(nameof(Files))]
    public void A_file_that_is_cut_is_noticed(string name, byte[] file, string contentType, int? width, int? height, double? seconds)
    {
        Assert.NotEmpty(contentType);
        Assert.True(seconds is null or > 0);
        var type = MediaType.Sniff(file)!;
        foreach (var share in new[] { 0.25, 0.5, 0.75, 0.98 })
        {
            var length = (int)(file.Length * share);
            var facts = Facts(type, file[..length], 1000);
            Assert.True(facts.Completeness == MediaCompleteness.Cut || Endless.Contains(name), $"{name} cut at {length} of {file.Length}: {facts}");
            Assert.True((facts.Width, facts.Height) == (null, null) || (facts.Width, facts.Height) == (width, height), $"{name}: {facts}");
        }
    }

    [Theory]
    [MemberData(nameof(Files))]
    public void A_file_that_is_cut_anywhere_never_tells_another_size(
        string name, byte[] file, string contentType, int? width, int? height, double? seconds)
    {
        Assert.NotEmpty(contentType);
        var type = MediaType.Sniff(file)!;
        for (var length = 0; length < file.Length; length += length < 2_000 ? 1 : 4_999)
        {
            var facts = MediaStructure.Read(type, file.AsSpan(0, length));
            var isRight = (facts.Width, facts.Height) == (width, height) || (facts.Width, facts.Height) == (null, null);
            Assert.True(isRight && (facts.DurationSeconds is null || facts.DurationSeconds < seconds + 0.001), $"{name} cut at {length}: {facts}");
        }
    }

    [Theory]
    [MemberData(nameof(Files))]
    public void What_follows_a_file_does_not_make_it_another(
        string name, byte[] file, string contentType, int? width, int? height, double? seconds)
    {
        Assert.NotEmpty(contentType);
        if (name.EndsWith("streamed", StringComparison.Ordinal))
        {
            return; // there it belongs to it
        }

        byte[] longer = [.. file, .. "TAG"u8, .. new byte[125]];
        var facts = MediaStructure.Read(MediaType.Sniff(file)!, longer);
        Assert.Equal((width, height), (facts.Width, facts.Height));
        Assert.Equal(seconds ?? -1, facts.DurationSeconds ?? -1, 3);
        Assert.True(facts.Completeness != MediaCompleteness.Cut, $"{name}: {facts}");
    }

    [Fact]
    public void Noise_after_a_good_start_never_throws()
    {
        var random = new Random(20_260_304);
        foreach (var row in Files)
        {
            var file = row.Data.Item2;
            var type = MediaType.Sniff(file)!;
            for (var round = 0; round < 300; round++)
            {
                var noisy = file[..Math.Min(file.Length, 600)];
                for (var change = 0; change < 8; change++)
                {
                    noisy[random.Next(12, noisy.Length)] = (byte)random.Next(256);
                }

                using var structure = MediaStructure.Of(type, isStrict: true);
                structure.Feed(noisy);
                var facts = structure.Facts();
                Assert.False(facts.Width <= 0 || facts.Height <= 0 || facts.DurationSeconds <= 0, facts.ToString());
            }
        }
    }

    [Fact]
    public void An_mp3_of_variable_rate_is_as_long_as_its_frames()
    {
        var file = SampleFiles.Mp3(10, saysLength: false);
        byte[] faster = [0xFF, 0xFB, 0xA0, 0x04, .. new byte[518]]; // 160 kbit/s
        Assert.Equal(11 * 1152 / 44_100.0, MediaStructure.Read(MediaType.Mp3, [.. file, .. faster]).DurationSeconds!.Value, 6);
    }

    public static TheoryData<string, byte[], bool> Pictures => new()
    {
        { "8 bits", SampleFiles.PngOfPixels(300, 200), true },
        { "16 bits", SampleFiles.PngOfPixels(300, 200, bitDepth: 16), true },
        { "interlaced", SampleFiles.PngOfPixels(301, 203, isInterlaced: true), true },
        { "33 bytes", SampleFiles.PngOfPixels(300, 200)[..33], false },
        { "no pixels", SampleFiles.Png(300, 200), false },
        { "less than its pixels", SampleFiles.PngOfPixels(6000, 6000, rows: 20), false },
        { "one row short", SampleFiles.PngOfPixels(300, 200, rows: 199), false },
        { "pixels that do not inflate", Broken(SampleFiles.PngOfPixels(300, 200)), false },
        { "chunks that are none", [.. SampleFiles.PngOfPixels(300, 200)[..33], .. new byte[500]], false },
        { "a GIF without its end", SampleFiles.Gif(320, 200)[..^1], false },
        { "a JPEG", SampleFiles.Jpeg(400, 300, scanBytes: 2_000), true },
        { "a JPEG, progressive", SampleFiles.Jpeg(400, 300, frame: 0xC2, scanBytes: 2_000), true },
        { "a JPEG of less than its pixels", SampleFiles.Jpeg(6000, 6000), false },
        { "a GIF", SampleFiles.Gif(320, 200), true },
        { "a WebP that is cut", SampleFiles.WebPLossy(320, 200)[..^1], false },
    };

    [Theory]
    [MemberData(nameof(Pictures))]
    public void An_upload_must_hold_the_pixels_that_it_claims(string name, byte[] file, bool isWhole)
    {
        foreach (var pieceBytes in new[] { 1, 1000, file.Length })
        {
            var facts = Facts(MediaType.Sniff(file)!, file, pieceBytes, isStrict: true);
            Assert.True(facts.Completeness == (isWhole ? MediaCompleteness.Whole : MediaCompleteness.Cut), $"{name}: {facts}");
        }
    }

    [Fact]
    public void Files_that_were_met_are_read() // by ffmpeg and cameras; those of the corpus are of our own making
    {
        MockSample[] samples = [MockSamples.Choose(0), MockSamples.Choose(1), MockSamples.Choose(2), MockSamples.Placeholder,
            MockSamples.Choose(0, MediaKind.Video), MockSamples.Choose(0, MediaKind.Audio)];
        Assert.All(samples, sample =>
        {
            using var file = new MemoryStream();
            sample.Open().CopyTo(file);
            var type = MediaType.Sniff(file.ToArray())!;
            Assert.Equal(sample.ContentType, type.ContentType);
            Assert.Equal(MediaCompleteness.Whole, Facts(type, file.ToArray(), 1000, isStrict: true).Completeness);
            Assert.Equal(MediaCompleteness.Cut, Facts(type, file.ToArray()[..^1000], 1000).Completeness);
        });
    }

    private static byte[] OpenEnded(byte[] mp4)
    {
        mp4.AsSpan(mp4.AsSpan().IndexOf("moov"u8) - 4, 4).Clear();
        return mp4;
    }

    private static byte[] Broken(byte[] png)
    {
        png[^30] ^= 0xFF;
        return png;
    }

    private static MediaFacts Facts(MediaType type, byte[] file, int pieceBytes, bool isStrict = false)
    {
        using var structure = MediaStructure.Of(type, isStrict);
        foreach (var piece in file.Chunk(pieceBytes))
        {
            structure.Feed(piece);
        }

        return structure.Facts();
    }
}
