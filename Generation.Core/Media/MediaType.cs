using System.Buffers.Binary;

namespace Generation.Core.Media;

/// <summary>What a result is for its user.</summary>
public enum MediaKind
{
    Image,
    Video,
    Audio,
}

/// <summary>A format that is stored. The list is closed; what a source declares plays no part.</summary>
/// <param name="Kind">Image, video or audio; null for <see cref="Unrecognized"/>, which may be any.</param>
/// <param name="ContentType">As it is served.</param>
/// <param name="Extension">As it ends the object's name, without a dot.</param>
public sealed record MediaType(MediaKind? Kind, string ContentType, string Extension)
{
    public static readonly MediaType Jpeg = new(MediaKind.Image, "image/jpeg", "jpg");
    public static readonly MediaType Png = new(MediaKind.Image, "image/png", "png");
    public static readonly MediaType WebP = new(MediaKind.Image, "image/webp", "webp");
    public static readonly MediaType Gif = new(MediaKind.Image, "image/gif", "gif");
    public static readonly MediaType Avif = new(MediaKind.Image, "image/avif", "avif");
    public static readonly MediaType Mp4 = new(MediaKind.Video, "video/mp4", "mp4");
    public static readonly MediaType QuickTime = new(MediaKind.Video, "video/quicktime", "mov");
    public static readonly MediaType WebM = new(MediaKind.Video, "video/webm", "webm");
    public static readonly MediaType Mp3 = new(MediaKind.Audio, "audio/mpeg", "mp3");
    public static readonly MediaType Wav = new(MediaKind.Audio, "audio/wav", "wav");
    public static readonly MediaType Ogg = new(MediaKind.Audio, "audio/ogg", "ogg");
    public static readonly MediaType Flac = new(MediaKind.Audio, "audio/flac", "flac");
    public static readonly MediaType Aac = new(MediaKind.Audio, "audio/aac", "aac");
    public static readonly MediaType M4A = new(MediaKind.Audio, "audio/mp4", "m4a");
    public static readonly MediaType WebA = new(MediaKind.Audio, "audio/webm", "weba");

    /// <summary>Bytes that are no format known here, and no text: a paid output is stored as it came rather than thrown away.</summary>
    public static readonly MediaType Unrecognized = new(null, "application/octet-stream", "bin");

    /// <summary>Every format that is stored.</summary>
    public static readonly IReadOnlyList<MediaType> All =
        [Jpeg, Png, WebP, Gif, Avif, Mp4, QuickTime, WebM, Mp3, Wav, Ogg, Flac, Aac, M4A, WebA, Unrecognized];

    /// <summary>How many first bytes <see cref="Sniff(ReadOnlySpan{byte})"/> wants to see, unless the body is shorter.</summary>
    public const int SniffBytes = 4 << 10;

    /// <summary>A body of fewer bytes is no media of a format unknown here.</summary>
    private const int MinUnrecognizedBytes = 64;

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

        if (start.Length >= 12 && (start.StartsWith("RIFF"u8) || start.StartsWith("RF64"u8) || start.StartsWith("BW64"u8)))
        {
            return start[8..].StartsWith("WAVE"u8) ? Wav : start.StartsWith("RIFF"u8) && start[8..].StartsWith("WEBP"u8) ? WebP : null;
        }

        if (start.StartsWith<byte>([0x1A, 0x45, 0xDF, 0xA3]))
        {
            return start.IndexOf("webm"u8) > 0 ? WebM : null; // other Matroska files do not play in a browser
        }

        if (start.StartsWith("OggS"u8))
        {
            return start.IndexOf("theora"u8) > 0 ? null : Ogg; // as a video it does not play in a browser
        }

        if (start.StartsWith("fLaC"u8))
        {
            return Flac;
        }

        // A frame header: eleven set bits of synchronisation and layer III; or twelve and layer 0, which is AAC's.
        var isMp3Frame = start.Length >= 4 && start[0] == 0xFF && (start[1] & 0xE0) == 0xE0 && (start[1] & 0x06) == 0x02;
        return isMp3Frame || start.StartsWith("ID3"u8) ? Mp3
            : start.Length >= 7 && start[0] == 0xFF && (start[1] & 0xF6) == 0xF0 ? Aac
            : ByBoxes(start);
    }

    /// <summary>
    /// The format of a body of which this kind was asked for, or null. A container that may hold a video may hold a sound alone.
    /// </summary>
    /// <param name="start">The first bytes.</param>
    /// <param name="kind">What was asked for.</param>
    /// <param name="takesUnrecognized">
    /// Whether bytes that are no format known here may be <see cref="Unrecognized"/>: for what has been paid. Text is never media.
    /// </param>
    public static MediaType? Sniff(ReadOnlySpan<byte> start, MediaKind kind, bool takesUnrecognized)
    {
        var type = Sniff(start);
        type = kind != MediaKind.Audio ? type : type == Mp4 || type == QuickTime ? M4A : type == WebM ? WebA : type;
        return type is not null ? type.Kind == kind ? type : null
            : takesUnrecognized && start.Length >= MinUnrecognizedBytes && !IsOtherwiseKnown(start) ? Unrecognized
            : null;
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

    /// <summary>Boxes of an ISO media file up to the one that names its brands, which may come behind others and have a 64-bit length.</summary>
    private static MediaType? ByBoxes(ReadOnlySpan<byte> start)
    {
        while (start.Length >= 12)
        {
            var (length, headerBytes) = ((long)BinaryPrimitives.ReadUInt32BigEndian(start), 8);
            var name = start[4..8];
            if (length == 1 && start.Length >= 20)
            {
                (length, headerBytes) = (BinaryPrimitives.ReadInt64BigEndian(start[8..]), 16);
            }

            if (name.SequenceEqual("ftyp"u8))
            {
                var end = (int)Math.Clamp(length, headerBytes, start.Length);
                return ByBrands(start[headerBytes..end]);
            }

            // QuickTime's files of old name no brand.
            var isQuickTime = name.SequenceEqual("moov"u8) || name.SequenceEqual("mdat"u8) || name.SequenceEqual("wide"u8);
            var isSkipped = name.SequenceEqual("free"u8) || name.SequenceEqual("skip"u8) || name.SequenceEqual("wide"u8);
            if (!isSkipped || length < headerBytes || length > start.Length)
            {
                return isQuickTime ? QuickTime : isSkipped && length >= headerBytes ? Mp4 : null;
            }

            start = start[(int)length..];
        }

        return null;
    }

    /// <summary>The major brand decides; where it says nothing ("mif1"), the first compatible brand that does (they begin at 8).</summary>
    private static MediaType? ByBrands(ReadOnlySpan<byte> brands)
    {
        for (var at = 0; at + 4 <= brands.Length; at += at == 0 ? 8 : 4)
        {
            var brand = brands.Slice(at, 4);
            if (brand.SequenceEqual("avif"u8) || brand.SequenceEqual("avis"u8))
            {
                return Avif;
            }

            if (brand.StartsWith("iso"u8) || brand.StartsWith("mp4"u8) || brand.StartsWith("avc"u8) || brand.StartsWith("M4V"u8)
                || brand.StartsWith("cmf"u8) || brand.StartsWith("3g"u8) || brand.StartsWith("f4v"u8) || brand.SequenceEqual("hvc1"u8)
                || brand.SequenceEqual("av01"u8) || brand.SequenceEqual("dash"u8) || brand.SequenceEqual("msdh"u8)
                || brand.SequenceEqual("MSNV"u8))
            {
                return Mp4;
            }

            if (brand.StartsWith("M4A"u8) || brand.StartsWith("M4B"u8))
            {
                return M4A;
            }

            if (brand.StartsWith("qt"u8))
            {
                return QuickTime;
            }

            if (brand.StartsWith("hei"u8) || brand.StartsWith("hev"u8))
            {
                return null; // HEIC lists compatible brands that would let it pass for something else
            }
        }

        return null;
    }

    /// <summary>Text of any kind (an error in HTML or JSON), an archive, a document; or a picture's or a sound's container that is broken.</summary>
    private static bool IsOtherwiseKnown(ReadOnlySpan<byte> start) =>
        start.StartsWith("PK"u8) || start.StartsWith<byte>([0x1F, 0x8B]) || start.StartsWith("%PDF"u8)
        || start.StartsWith<byte>([0x89, 0x50, 0x4E, 0x47]) || IsText(start);

    /// <summary>Whether nothing in the bytes is out of place in a text.</summary>
    private static bool IsText(ReadOnlySpan<byte> start)
    {
        if (start.StartsWith<byte>([0xFF, 0xFE]) || start.StartsWith<byte>([0xFE, 0xFF]))
        {
            return true; // in UTF-16
        }

        foreach (var next in start)
        {
            if (next is < 0x20 and not ((byte)'\t' or (byte)'\n' or (byte)'\r' or 0x0C or 0x1B) or 0x7F)
            {
                return false;
            }
        }

        return true;
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
