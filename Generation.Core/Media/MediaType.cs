using System.Buffers.Binary;

namespace Generation.Core.Media;

/// <summary>What a result is for its user.</summary>
public enum MediaKind
{
    Image,
    Video,
    Audio,
}

/// <summary>A format that is stored. The list is closed: other formats are rejected, whatever content type the source declares.</summary>
/// <param name="Kind">Image, video or audio.</param>
/// <param name="ContentType">As it is served.</param>
/// <param name="Extension">As it ends the object's name, without a dot.</param>
public sealed record MediaType(MediaKind Kind, string ContentType, string Extension)
{
    public static readonly MediaType Jpeg = new(MediaKind.Image, "image/jpeg", "jpg");
    public static readonly MediaType Png = new(MediaKind.Image, "image/png", "png");
    public static readonly MediaType WebP = new(MediaKind.Image, "image/webp", "webp");
    public static readonly MediaType Gif = new(MediaKind.Image, "image/gif", "gif");
    public static readonly MediaType Avif = new(MediaKind.Image, "image/avif", "avif");
    public static readonly MediaType Mp4 = new(MediaKind.Video, "video/mp4", "mp4");
    public static readonly MediaType WebM = new(MediaKind.Video, "video/webm", "webm");
    public static readonly MediaType Mp3 = new(MediaKind.Audio, "audio/mpeg", "mp3");
    public static readonly MediaType Wav = new(MediaKind.Audio, "audio/wav", "wav");
    public static readonly MediaType Ogg = new(MediaKind.Audio, "audio/ogg", "ogg");

    /// <summary>Every format that is stored.</summary>
    public static readonly IReadOnlyList<MediaType> All = [Jpeg, Png, WebP, Gif, Avif, Mp4, WebM, Mp3, Wav, Ogg];

    /// <summary>How many first bytes <see cref="Sniff"/> wants to see, unless the body is shorter.</summary>
    public const int SniffBytes = 128;

    /// <summary>The format with this extension (lower case, no dot), or null.</summary>
    public static MediaType? ByExtension(string extension) => All.FirstOrDefault(type => type.Extension == extension);

    /// <summary>The format that the first bytes of a body show, or null. The declared content type plays no part.</summary>
    public static MediaType? Sniff(ReadOnlySpan<byte> start)
    {
        start = start[..Math.Min(start.Length, SniffBytes)];
        if (start.StartsWith<byte>([0xFF, 0xD8, 0xFF]))
        {
            return Jpeg;
        }

        if (start.Length >= 16 && start.StartsWith<byte>([0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]))
        {
            return start[12..].StartsWith("IHDR"u8) ? Png : null;
        }

        if (start.StartsWith("GIF87a"u8) || start.StartsWith("GIF89a"u8))
        {
            return Gif;
        }

        if (start.Length >= 12 && start.StartsWith("RIFF"u8))
        {
            return start[8..].StartsWith("WEBP"u8) ? WebP : start[8..].StartsWith("WAVE"u8) ? Wav : null;
        }

        if (start.Length >= 12 && start[4..].StartsWith("ftyp"u8))
        {
            return ByBrands(start);
        }

        if (start.StartsWith<byte>([0x1A, 0x45, 0xDF, 0xA3]))
        {
            return start.IndexOf("webm"u8) > 0 ? WebM : null; // other Matroska files do not play in a browser
        }

        if (start.StartsWith("OggS"u8))
        {
            return start.IndexOf("OpusHead"u8) > 0 || start.IndexOf("vorbis"u8) > 0 ? Ogg : null;
        }

        // A frame header: eleven set bits of synchronisation, layer III.
        var isMp3Frame = start.Length >= 4 && start[0] == 0xFF && (start[1] & 0xE0) == 0xE0 && (start[1] & 0x06) == 0x02;
        return isMp3Frame || start.StartsWith("ID3"u8) ? Mp3 : null;
    }

    /// <summary>What refused bytes look like, in a word for the error message.</summary>
    public static string Describe(ReadOnlySpan<byte> start)
    {
        var text = start.StartsWith<byte>([0xEF, 0xBB, 0xBF]) ? start[3..] : start;
        text = text.TrimStart(" \t\r\n"u8);
        return start switch
        {
            _ when start.StartsWith("PK"u8) => "a zip archive",
            _ when start.StartsWith<byte>([0x1F, 0x8B]) => "gzip",
            _ when start.StartsWith("%PDF"u8) => "a PDF",
            _ when start.Length >= 12 && start[4..].StartsWith("ftyp"u8) => $"an ISO media file of brand '{Printable(start[8..12])}'",
            _ when StartsWithIgnoringCase(text, "<!doctype html") || StartsWithIgnoringCase(text, "<html") => "an HTML page",
            _ when text.StartsWith("<"u8) => "XML or SVG",
            _ when text.StartsWith("{"u8) || text.StartsWith("["u8) => "JSON",
            _ => $"no format that is stored (it starts with {Convert.ToHexString(start[..Math.Min(8, start.Length)])})",
        };
    }

    private static MediaType? ByBrands(ReadOnlySpan<byte> start)
    {
        var boxLength = (int)Math.Min((uint)start.Length, BinaryPrimitives.ReadUInt32BigEndian(start));
        // The major brand decides; where it says nothing ("mif1"), the first compatible brand that does (they begin at 16).
        for (var at = 8; at + 4 <= boxLength; at += at == 8 ? 8 : 4)
        {
            var brand = start.Slice(at, 4);
            if (brand.SequenceEqual("avif"u8) || brand.SequenceEqual("avis"u8))
            {
                return Avif;
            }

            if (brand.StartsWith("iso"u8) || brand.StartsWith("mp4"u8) || brand.StartsWith("avc"u8) || brand.StartsWith("M4V"u8)
                || brand.SequenceEqual("dash"u8) || brand.SequenceEqual("MSNV"u8))
            {
                return Mp4;
            }

            if (brand.StartsWith("hei"u8) || brand.StartsWith("hev"u8) || brand.StartsWith("M4A"u8) || brand.StartsWith("qt"u8))
            {
                return null; // HEIC, audio and QuickTime list compatible brands that would let them pass for something else
            }
        }

        return null;
    }

    private static bool StartsWithIgnoringCase(ReadOnlySpan<byte> text, string prefix) =>
        text.Length >= prefix.Length && System.Text.Ascii.EqualsIgnoreCase(text[..prefix.Length], prefix);

    private static string Printable(ReadOnlySpan<byte> bytes) =>
        string.Create(bytes.Length, bytes, static (chars, source) =>
        {
            for (var i = 0; i < chars.Length; i++)
            {
                chars[i] = source[i] is >= 0x20 and < 0x7F ? (char)source[i] : '?';
            }
        });
}
