using System.Buffers.Binary;

namespace Generation.Core.Media;

/// <summary>
/// What the first bytes of a file say about it. Numbers are null where the format does not carry them at its start
/// (an MP4 whose index comes last) or they are nonsense.
/// </summary>
/// <param name="Width">In pixels, as coded: an Exif orientation is not applied.</param>
/// <param name="Height">In pixels.</param>
/// <param name="DurationSeconds">Of an MP4, WAV or MP3; an OGG carries it at its end.</param>
/// <param name="IsComplete">False while more bytes could still tell something; then read on and ask again.</param>
public readonly partial record struct MediaHeader(int? Width, int? Height, double? DurationSeconds, bool IsComplete)
{
    private static readonly MediaHeader Unfinished = new(null, null, null, IsComplete: false);
    private static readonly MediaHeader Silent = new(null, null, null, IsComplete: true);

    /// <summary>Reads the header of a file of the given type. Never throws: hostile bytes give a header that says nothing.</summary>
    /// <param name="start">The file's first bytes, as many as there are yet.</param>
    public static MediaHeader Read(MediaType type, ReadOnlySpan<byte> start) => type.Extension switch
    {
        "jpg" => ReadJpeg(start),
        "png" when start.Length >= 24 =>
            Size(BinaryPrimitives.ReadUInt32BigEndian(start[16..]), BinaryPrimitives.ReadUInt32BigEndian(start[20..])),
        "gif" when start.Length >= 10 =>
            Size(BinaryPrimitives.ReadUInt16LittleEndian(start[6..]), BinaryPrimitives.ReadUInt16LittleEndian(start[8..])),
        "png" or "gif" => Unfinished,
        "webp" => ReadWebP(start),
        "avif" => ReadAvif(start),
        "mp4" => ReadMp4(start),
        "wav" => ReadWav(start),
        "mp3" => ReadMp3(start),
        _ => Silent,
    };

    private static MediaHeader Size(long width, long height) =>
        width is > 0 and <= int.MaxValue && height is > 0 and <= int.MaxValue
            ? new((int)width, (int)height, null, IsComplete: true)
            : Silent;

    /// <summary>Walks the segments (Exif, ICC profiles and previews may take hundreds of KiB) to the first frame header.</summary>
    private static MediaHeader ReadJpeg(ReadOnlySpan<byte> start)
    {
        var at = 2;
        while (at + 4 <= start.Length)
        {
            if (start[at] != 0xFF)
            {
                return Silent;
            }

            var marker = start[at + 1];
            if (marker is 0xFF) // padding
            {
                at++;
                continue;
            }

            if (marker is 0x01 or (>= 0xD0 and <= 0xD8)) // stands alone, without a length
            {
                at += 2;
                continue;
            }

            var isFrame = marker is >= 0xC0 and <= 0xCF and not (0xC4 or 0xC8 or 0xCC);
            if (isFrame)
            {
                return at + 9 > start.Length
                    ? Unfinished
                    : Size(BinaryPrimitives.ReadUInt16BigEndian(start[(at + 7)..]), BinaryPrimitives.ReadUInt16BigEndian(start[(at + 5)..]));
            }

            var length = BinaryPrimitives.ReadUInt16BigEndian(start[(at + 2)..]);
            if (marker is 0xD9 or 0xDA || length < 2) // end or scan before any frame
            {
                return Silent;
            }

            at += 2 + length;
        }

        return Unfinished;
    }

    private static MediaHeader ReadWebP(ReadOnlySpan<byte> start)
    {
        if (start.Length < 30)
        {
            return Unfinished;
        }

        var chunk = start[12..16];
        if (chunk.SequenceEqual("VP8X"u8))
        {
            return Size(1 + ReadUInt24LittleEndian(start[24..]), 1 + ReadUInt24LittleEndian(start[27..]));
        }

        if (chunk.SequenceEqual("VP8L"u8) && start[20] == 0x2F)
        {
            var bits = BinaryPrimitives.ReadUInt32LittleEndian(start[21..]);
            return Size(1 + (bits & 0x3FFF), 1 + ((bits >> 14) & 0x3FFF));
        }

        return chunk.SequenceEqual("VP8 "u8) && start[23..26].SequenceEqual<byte>([0x9D, 0x01, 0x2A])
            ? Size(BinaryPrimitives.ReadUInt16LittleEndian(start[26..]) & 0x3FFF, BinaryPrimitives.ReadUInt16LittleEndian(start[28..]) & 0x3FFF)
            : Silent;
    }

    /// <summary>The largest <c>ispe</c> property: a grid's tiles, thumbnails and alpha planes are never larger than the picture.</summary>
    private static MediaHeader ReadAvif(ReadOnlySpan<byte> start)
    {
        var meta = FindBox(start, "meta"u8, out var wantsMore);
        if (meta.Length < 4)
        {
            return wantsMore ? Unfinished : Silent;
        }

        var box = new Boxes(FindBox(FindBox(meta[4..], "iprp"u8, out _), "ipco"u8, out _));
        long width = 0, height = 0;
        while (box.MoveNext())
        {
            if (box.Name.SequenceEqual("ispe"u8) && box.Body.Length >= 12)
            {
                var (w, h) = (BinaryPrimitives.ReadUInt32BigEndian(box.Body[4..]), BinaryPrimitives.ReadUInt32BigEndian(box.Body[8..]));
                if ((long)w * h > width * height)
                {
                    (width, height) = (w, h);
                }
            }
        }

        return Size(width, height);
    }

    private static MediaHeader ReadMp4(ReadOnlySpan<byte> start)
    {
        var movie = FindBox(start, "moov"u8, out var wantsMore);
        if (movie.IsEmpty)
        {
            return wantsMore ? Unfinished : Silent;
        }

        double? duration = null;
        long width = 0, height = 0;
        var box = new Boxes(movie);
        while (box.MoveNext())
        {
            if (box.Name.SequenceEqual("mvhd"u8))
            {
                duration = ReadDuration(box.Body);
            }
            else if (box.Name.SequenceEqual("trak"u8))
            {
                var track = FindBox(box.Body, "tkhd"u8, out _);
                if (track.Length >= 84) // both versions end in width and height, 16.16 fixed point; sound tracks say 0
                {
                    var (w, h) = (BinaryPrimitives.ReadUInt32BigEndian(track[^8..]) >> 16, BinaryPrimitives.ReadUInt32BigEndian(track[^4..]) >> 16);
                    if ((long)w * h > width * height)
                    {
                        (width, height) = (w, h);
                    }
                }
            }
        }

        return Size(width, height) with { DurationSeconds = duration };
    }

    private static double? ReadDuration(ReadOnlySpan<byte> movieHeader)
    {
        if (movieHeader.Length < 32)
        {
            return null;
        }

        var is64Bit = movieHeader[0] == 1;
        var ticksPerSecond = BinaryPrimitives.ReadUInt32BigEndian(movieHeader[(is64Bit ? 20 : 12)..]);
        ulong ticks = is64Bit ? BinaryPrimitives.ReadUInt64BigEndian(movieHeader[24..]) : BinaryPrimitives.ReadUInt32BigEndian(movieHeader[16..]);
        var isUnknown = ticks == (is64Bit ? ulong.MaxValue : uint.MaxValue);
        return ticksPerSecond == 0 || ticks == 0 || isUnknown ? null : (double)ticks / ticksPerSecond;
    }

    private static MediaHeader ReadWav(ReadOnlySpan<byte> start)
    {
        var at = 12;
        uint bytesPerSecond = 0;
        while (at + 8 <= start.Length)
        {
            var name = start.Slice(at, 4);
            var length = BinaryPrimitives.ReadUInt32LittleEndian(start[(at + 4)..]);
            if (name.SequenceEqual("data"u8))
            {
                // A writer that streams leaves the length at its maximum, or 0.
                var isKnown = bytesPerSecond > 0 && length is not (0 or uint.MaxValue);
                return Silent with { DurationSeconds = isKnown ? (double)length / bytesPerSecond : null };
            }

            if (name.SequenceEqual("fmt "u8) && at + 20 <= start.Length)
            {
                bytesPerSecond = BinaryPrimitives.ReadUInt32LittleEndian(start[(at + 16)..]);
            }

            var next = at + 8L + length + (length & 1);
            if (next > start.Length)
            {
                return Unfinished;
            }

            at = (int)next;
        }

        return Unfinished;
    }

    /// <summary>The body of the first box with this name; empty when there is none or it is not all there.</summary>
    /// <param name="wantsMore">Whether it may come with more bytes.</param>
    private static ReadOnlySpan<byte> FindBox(ReadOnlySpan<byte> boxes, ReadOnlySpan<byte> name, out bool wantsMore)
    {
        var box = new Boxes(boxes);
        while (box.MoveNext())
        {
            if (box.Name.SequenceEqual(name))
            {
                wantsMore = false;
                return box.Body;
            }
        }

        // Whether the walk ended in the middle of the box that was looked for, or of another one. The media data itself
        // is too long to wait for: what follows it stays unknown.
        wantsMore = !box.RestName.SequenceEqual("mdat"u8);
        return default;
    }

    private static long ReadUInt24LittleEndian(ReadOnlySpan<byte> bytes) => bytes[0] | (bytes[1] << 8) | (bytes[2] << 16);

    /// <summary>The complete boxes of an ISO base media file (ISO/IEC 14496-12), in order, as far as the bytes go.</summary>
    private ref struct Boxes(ReadOnlySpan<byte> bytes)
    {
        private ReadOnlySpan<byte> rest = bytes;

        public ReadOnlySpan<byte> Name { get; private set; }

        public ReadOnlySpan<byte> Body { get; private set; }

        /// <summary>The name of the box that the bytes end in.</summary>
        public readonly ReadOnlySpan<byte> RestName => rest.Length >= 8 ? rest[4..8] : default;

        public bool MoveNext()
        {
            if (rest.Length < 8)
            {
                return false;
            }

            long length = BinaryPrimitives.ReadUInt32BigEndian(rest);
            var headerLength = 8;
            if (length == 1 && rest.Length >= 16) // a 64-bit length follows the name
            {
                (length, headerLength) = (BinaryPrimitives.ReadInt64BigEndian(rest[8..]), 16);
            }

            if (length < headerLength || length > rest.Length) // 0 means "to the end of the file"
            {
                return false;
            }

            Name = rest[4..8];
            Body = rest[headerLength..(int)length];
            rest = rest[(int)length..];
            return true;
        }
    }
}
