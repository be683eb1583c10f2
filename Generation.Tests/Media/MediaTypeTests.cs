using Generation.Core.Media;

namespace Generation.Tests.Media;

public sealed class MediaTypeTests
{
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
        { "Matroska", SampleFiles.Fill(300, [0x1A, 0x45, 0xDF, 0xA3, 0x93, 0x42, 0x82, 0x88, .. "matroska"u8]), "1A45DFA3" },
        { "PNG without a header", SampleFiles.Fill(300, [0x89, .. "PNG\r\n\x1A\n"u8, 0, 0, 0, 13, .. "IDAT"u8]), "89504E47" },
        { "nothing", [], "no format" },
    };

    [Theory]
    [MemberData(nameof(Others))]
    public void What_is_not_stored_has_no_type_and_is_described(string name, byte[] file, string description)
    {
        Assert.True(MediaType.Sniff(file) is null, name);
        Assert.Contains(description, MediaType.Describe(file), StringComparison.OrdinalIgnoreCase);
    }

    public static readonly TheoryData<string, byte[], MediaKind, string?> Wanted = new()
    {
        { "an MP4 for a sound", SampleFiles.Mp4(0, 0, 2), MediaKind.Audio, "audio/mp4" },
        { "a WebM for a sound", SampleFiles.WebM(), MediaKind.Audio, "audio/webm" },
        { "an M4A for a sound", SampleFiles.Mp4(0, 0, 2, brand: "M4A "), MediaKind.Audio, "audio/mp4" },
        { "an M4A for a video", SampleFiles.Mp4(0, 0, 2, brand: "M4A "), MediaKind.Video, null },
        { "a PNG for a video", SampleFiles.Png(1, 1), MediaKind.Video, null },
        { "a Matroska file", SampleFiles.WebM(type: "matroska"), MediaKind.Video, "application/octet-stream" },
        { "a TIFF", SampleFiles.Fill(5_000, [.. "II*"u8, 0, 8, 0, 0, 0]), MediaKind.Image, "application/octet-stream" },
        { "a HEIC", SampleFiles.Fill(300, [0, 0, 0, 24, .. "ftypheic"u8, 0, 0, 0, 0, .. "mif1heic"u8]), MediaKind.Image, "application/octet-stream" },
        { "a few bytes", SampleFiles.Fill(20, [1, 2, 3]), MediaKind.Image, null },
        { "HTML", SampleFiles.Text("<!doctype html><p>Sign in"), MediaKind.Image, null },
        { "JSON", SampleFiles.Text("""{"error":"expired"}"""), MediaKind.Video, null },
        { "a sentence", SampleFiles.Text("Hâlâ çalışıyor, sonra tekrar deneyin"), MediaKind.Audio, null },
        { "a zip", SampleFiles.Fill(300, [.. "PK"u8, 3, 4, 0, 0]), MediaKind.Image, null },
        { "a PDF", SampleFiles.Fill(300, [.. "%PDF-1.7"u8, 0, 0]), MediaKind.Image, null },
    };

    [Theory]
    [MemberData(nameof(Wanted))]
    public void What_is_paid_is_stored_unless_it_is_certainly_something_else(string name, byte[] file, MediaKind kind, string? contentType)
    {
        var type = MediaType.Sniff(file, kind, takesUnrecognized: true);

        Assert.True(type?.ContentType == contentType, $"{name} is {type?.ContentType}");
        Assert.True(type != MediaType.Unrecognized || MediaType.Sniff(file, kind, takesUnrecognized: false) is null, name);
    }
}
