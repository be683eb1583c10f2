using Generation.Core.Media;

namespace Generation.Tests.Media;

public sealed class MediaTypeTests
{
    public static readonly TheoryData<string, byte[], string, int?, int?, double?> Files = new()
    {
        { "PNG", SampleFiles.Png(1024, 768), "image/png", 1024, 768, null },
        { "GIF", SampleFiles.Gif(320, 200), "image/gif", 320, 200, null },
        { "JPEG, baseline", SampleFiles.Jpeg(1600, 900), "image/jpeg", 1600, 900, null },
        { "JPEG, progressive", SampleFiles.Jpeg(1600, 900, frame: 0xC2), "image/jpeg", 1600, 900, null },
        { "JPEG after 200 KiB of segments", SampleFiles.Jpeg(4096, 2160, 200 << 10), "image/jpeg", 4096, 2160, null },
        { "WebP, lossy", SampleFiles.WebPLossy(640, 481), "image/webp", 640, 481, null },
        { "WebP, lossless", SampleFiles.WebPLossless(16383, 1), "image/webp", 16383, 1, null },
        { "WebP, extended", SampleFiles.WebPExtended(1 << 20, 3), "image/webp", 1 << 20, 3, null },
        { "AVIF", SampleFiles.Avif(1920, 1080), "image/avif", 1920, 1080, null },
        { "MP4, index first", SampleFiles.Mp4(1280, 720, 5.25), "video/mp4", 1280, 720, 5.25 },
        { "MP4, index last but near", SampleFiles.Mp4(1280, 720, 5.25, isIndexFirst: false), "video/mp4", 1280, 720, 5.25 },
        { "WebM", SampleFiles.WebM(), "video/webm", null, null, null },
        { "WAV", SampleFiles.Wav(2.5), "audio/wav", null, null, 2.5 },
        { "OGG", SampleFiles.Ogg(), "audio/ogg", null, null, null },
        { "MP3", SampleFiles.Mp3(100), "audio/mpeg", null, null, 100 * 1152 / 44_100.0 },
        { "MP3 with a picture in its tag", SampleFiles.Mp3(100, tagBytes: 30_000), "audio/mpeg", null, null, 100 * 1152 / 44_100.0 },
        { "MP3 that does not say its length", SampleFiles.Mp3(100, saysLength: false), "audio/mpeg", null, null, null },
    };

    public static readonly TheoryData<string, byte[], string> Others = new()
    {
        { "HTML", SampleFiles.Text("\n <!DOCTYPE html><title>Not found</title>"), "HTML" },
        { "HTML with a BOM", SampleFiles.Text("\uFEFF<HTML>"), "HTML" },
        { "SVG", SampleFiles.Text("<svg xmlns='http://www.w3.org/2000/svg'/>"), "SVG" },
        { "JSON", SampleFiles.Text("""{"error":"expired"}"""), "JSON" },
        { "zip", SampleFiles.Fill(300, [.. "PK"u8, 3, 4]), "zip" },
        { "gzip", SampleFiles.Fill(300, [0x1F, 0x8B, 8]), "gzip" },
        { "PDF", SampleFiles.Text("%PDF-1.7"), "PDF" },
        { "HEIC", SampleFiles.Fill(300, [0, 0, 0, 24, .. "ftypheic"u8, 0, 0, 0, 0, .. "mif1heic"u8]), "heic" },
        { "QuickTime", SampleFiles.Fill(300, [0, 0, 0, 20, .. "ftypqt  "u8, 0, 0, 0, 0, .. "mp42"u8]), "qt" },
        { "Matroska", SampleFiles.Fill(300, [0x1A, 0x45, 0xDF, 0xA3, 0x93, 0x42, 0x82, 0x88, .. "matroska"u8]), "1A45DFA3" },
        { "PNG without a header", SampleFiles.Fill(300, [0x89, .. "PNG\r\n\x1A\n"u8, 0, 0, 0, 13, .. "IDAT"u8]), "89504E47" },
        { "nothing", [], "no format" },
    };

    [Theory]
    [MemberData(nameof(Files))]
    public void A_file_shows_its_type_and_size(string name, byte[] file, string contentType, int? width, int? height, double? seconds)
    {
        var type = MediaType.Sniff(file);

        Assert.True(type?.ContentType == contentType, $"{name} is {type?.ContentType}");
        var header = MediaHeader.Read(type!, file);
        Assert.Equal((width, height, seconds, true), (header.Width, header.Height, header.DurationSeconds, header.IsComplete));
    }

    [Theory]
    [MemberData(nameof(Others))]
    public void What_is_not_stored_has_no_type_and_is_described(string name, byte[] file, string description)
    {
        Assert.True(MediaType.Sniff(file) is null, name);
        Assert.Contains(description, MediaType.Describe(file), StringComparison.OrdinalIgnoreCase);
    }

    [Theory]
    [MemberData(nameof(Files))]
    public void A_file_that_is_cut_anywhere_never_throws_and_never_tells_another_size(
        string name, byte[] file, string contentType, int? width, int? height, double? seconds)
    {
        Assert.NotEmpty(contentType);
        var type = MediaType.Sniff(file)!;
        for (var length = 0; length < file.Length; length += length < 2_000 ? 1 : 4_999)
        {
            var header = MediaHeader.Read(type, file.AsSpan(0, length));
            var isSilent = (header.Width, header.Height, header.DurationSeconds) == (null, null, null);
            var isRight = (header.Width, header.Height, header.DurationSeconds) == (width, height, seconds);
            Assert.True(isSilent || isRight, $"{name} cut at {length}: {header}");
        }
    }

    [Fact]
    public void Noise_after_a_good_start_never_throws()
    {
        var random = new Random(20_260_304);
        foreach (var row in Files)
        {
            var file = row.Data.Item2.ToArray();
            var type = MediaType.Sniff(file)!;
            for (var round = 0; round < 2_000; round++)
            {
                var noisy = file[..Math.Min(file.Length, 600)];
                for (var change = 0; change < 8; change++)
                {
                    noisy[random.Next(12, noisy.Length)] = (byte)random.Next(256);
                }

                var header = MediaHeader.Read(type, noisy);
                Assert.False(header.Width <= 0 || header.Height <= 0 || header.DurationSeconds <= 0, header.ToString());
            }
        }
    }

    [Theory]
    [InlineData(0)]
    [InlineData(5_000)]
    public void An_mp3_that_does_not_say_its_length_shows_it_by_its_bytes(int tagBytes)
    {
        var file = SampleFiles.Mp3(1_000, tagBytes, saysLength: false);

        var header = MediaHeader.Read(MediaType.Mp3, file.AsSpan(0, 10_000));
        Assert.Equal((null, true), (header.DurationSeconds, header.IsComplete));
        Assert.Equal(1_000 * 417 / 16_000.0, header.DurationOf(file.Length)!.Value, 3);
        Assert.Null(header.DurationOf(tagBytes)); // cut before its first frame
    }

    [Fact]
    public void An_mp3_whose_frames_differ_in_their_rate_has_no_length()
    {
        var file = SampleFiles.Mp3(10, saysLength: false);
        file[417 + 2] = 0xA0; // the second frame is one of 160 kbit/s
        Assert.Null(MediaHeader.Read(MediaType.Mp3, file).DurationOf(file.Length));
    }

    [Fact]
    public void An_mp4_whose_index_comes_after_its_data_says_nothing_and_asks_for_no_more()
    {
        var file = SampleFiles.Mp4(1280, 720, 5, isIndexFirst: false, dataBytes: 1_000_000);

        Assert.Equal(new MediaHeader(null, null, null, IsComplete: true), MediaHeader.Read(MediaType.Mp4, file.AsSpan(0, 4_000)));
    }
}
