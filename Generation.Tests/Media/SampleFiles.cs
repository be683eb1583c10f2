using System.Buffers.Binary;
using System.IO.Compression;
using System.Text;
using Generation.Core.Media;

namespace Generation.Tests.Media;

/// <summary>A body of any length that takes no memory: bytes that depend on their position, after a given start.</summary>
internal sealed class EndlessBody(long length, byte[] start, long? failAt = null, Action<long>? onRead = null) : Stream
{
    private long position;

    public override bool CanRead => true;

    public override bool CanSeek => false;

    public override bool CanWrite => false;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => position;
        set => throw new NotSupportedException();
    }

    public static byte ByteAt(long position, byte[] start) => position < start.Length ? start[position] : (byte)((position * 31) >> 3);

    public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        onRead?.Invoke(position);
        if (position >= failAt)
        {
            throw new InvalidDataException("The test's body breaks here.");
        }

        var count = (int)Math.Min(Math.Min(buffer.Length, 64 << 10), length - position);
        var span = buffer.Span[..count];
        for (var i = 0; i < count; i++)
        {
            span[i] = ByteAt(position + i, start);
        }

        position += count;
        return ValueTask.FromResult(count);
    }

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override void Flush()
    {
    }

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
}

/// <summary>
/// Files in the formats that are stored: whole by their structure as their specifications write it, with filling for media data. Only the
/// pixels of <see cref="PngOfPixels"/> can be seen.
/// </summary>
internal static class SampleFiles
{
    /// <summary>The shortest PNG that <see cref="Png"/> makes whole; a shorter one is cut.</summary>
    private const int PngBytes = 57;

    private const int ChunkBytes = 12;

    public static byte[] Png(int width, int height, int bytes = 200)
    {
        byte[] start = [0x89, .. "PNG\r\n\x1A\n"u8, .. Chunk("IHDR", [.. BigEndian32(width), .. BigEndian32(height), 8, 6, 0, 0, 0])];
        var padding = bytes - PngBytes - ChunkBytes;
        byte[] file = [.. start, .. padding >= 0 ? Chunk("paDd", Fill(padding, [])) : [], .. Chunk("IDAT", []), .. Chunk("IEND", [])];
        return padding >= 0 ? file : Fill(bytes, file)[..bytes];
    }

    /// <summary>A PNG of real pixels, all black.</summary>
    /// <param name="rows">That are there; fewer than its height make it a file that claims more than it has.</param>
    public static byte[] PngOfPixels(int width, int height, int bitDepth = 8, bool isInterlaced = false, int? rows = null)
    {
        var rowBytes = 1 + (width * bitDepth * 3 / 8);
        using var packed = new MemoryStream();
        using (var zlib = new ZLibStream(packed, CompressionLevel.Fastest, leaveOpen: true))
        {
            zlib.Write(new byte[isInterlaced ? InterlacedBytes(width, height, bitDepth * 3) : rowBytes * (rows ?? height)]);
        }

        var data = packed.ToArray();
        byte[] header = [.. BigEndian32(width), .. BigEndian32(height), (byte)bitDepth, 2, 0, 0, (byte)(isInterlaced ? 1 : 0)];
        return [0x89, .. "PNG\r\n\x1A\n"u8, .. Chunk("IHDR", header), .. Chunk("tEXt", Fill(40, [])), .. Chunk("IDAT", data[..(data.Length / 2)]),
            .. Chunk("IDAT", data[(data.Length / 2)..]), .. Chunk("IEND", [])];
    }

    /// <summary>An animated PNG: two frames.</summary>
    public static byte[] PngAnimated(int width, int height) =>
        [0x89, .. "PNG\r\n\x1A\n"u8, .. Chunk("IHDR", [.. BigEndian32(width), .. BigEndian32(height), 8, 6, 0, 0, 0]),
            .. Chunk("acTL", [0, 0, 0, 2, 0, 0, 0, 0]), .. Chunk("fcTL", new byte[26]), .. Chunk("IDAT", Fill(90, [])),
            .. Chunk("fcTL", new byte[26]), .. Chunk("fdAT", Fill(94, [])), .. Chunk("IEND", [])];

    /// <summary>Frames of a few sub-blocks.</summary>
    public static byte[] Gif(int width, int height, int frames = 1)
    {
        byte[] frame = [0x21, 0xF9, 4, 0, 10, 0, 0, 0, 0x2C, 0, 0, 0, 0, .. LittleEndian16(width), .. LittleEndian16(height), 0x81, .. new byte[12],
            8, 255, .. new byte[255], 20, .. new byte[20], 0];
        return [.. "GIF89a"u8, .. LittleEndian16(width), .. LittleEndian16(height), 0x80, 0, 0, .. new byte[6],
            .. Enumerable.Repeat(frame, frames).SelectMany(bytes => bytes), 0x3B];
    }

    /// <summary>
    /// A JPEG whose frame comes after application segments of this many bytes (Exif, C2PA), the first with a thumbnail in it; progressive ones have
    /// several scans.
    /// </summary>
    public static byte[] Jpeg(int width, int height, int segmentBytes = 18, byte frame = 0xC0, int components = 3, int scanBytes = 300)
    {
        var file = new List<byte> { 0xFF, 0xD8 };
        for (var left = segmentBytes; left > 0; left -= 65_535)
        {
            var length = Math.Max(2, Math.Min(left, 65_535));
            byte[] thumbnail = length > 100 ? [0xFF, 0xD8, 0xFF, 0xC0, 0, 17, 8, 0, 9, 0, 9, 0xFF, 0xD9] : [];
            file.AddRange([0xFF, 0xE2, .. BigEndian16(length), .. thumbnail, .. new byte[length - 2 - thumbnail.Length]]);
        }

        file.AddRange([0xFF, 0xDB, 0, 67, .. new byte[65], 0xFF]);
        file.AddRange([0xFF, frame, .. BigEndian16(8 + (3 * components)), 8, .. BigEndian16(height), .. BigEndian16(width), (byte)components,
            .. new byte[3 * components]]);
        for (var scan = frame == 0xC2 ? 3 : 1; scan > 0; scan--)
        {
            byte[] data = Fill(scanBytes, [0x12, 0xFF, 0x00, 0x34, 0xFF, 0xD0, 0x56]).Select((b, i) => i > 6 && b == 0xFF ? (byte)0xFE : b).ToArray();
            file.AddRange([0xFF, 0xDA, .. BigEndian16(6 + (2 * components)), (byte)components, .. new byte[(2 * components) + 3], .. data]);
        }

        return [.. file, 0xFF, 0xD9];
    }

    public static byte[] WebPLossy(int width, int height) =>
        WebP("VP8 ", [0x30, 1, 0, 0x9D, 1, 0x2A, .. LittleEndian16(width), .. LittleEndian16(height)]);

    public static byte[] WebPLossless(int width, int height) => WebP("VP8L", [0x2F, .. LittleEndian32((width - 1) | ((height - 1) << 14))]);

    public static byte[] WebPExtended(int width, int height) =>
        WebP("VP8X", [0x10, 0, 0, 0, .. LittleEndian32(width - 1).AsSpan(0, 3), .. LittleEndian32(height - 1).AsSpan(0, 3)]);

    public static byte[] Avif(int width, int height)
    {
        byte[] Extent(int w, int h) => Box("ispe", [0, 0, 0, 0, .. BigEndian32(w), .. BigEndian32(h)]);
        var properties = Box("iprp", Box("ipco", [.. Extent(160, 120), .. Extent(width, height)]));
        var meta = Box("meta", [0, 0, 0, 0, .. Box("hdlr", new byte[25]), .. properties]);
        return [.. Box("ftyp", [.. "avif"u8, 0, 0, 0, 0, .. "mif1miaf"u8]), .. meta, .. Box("mdat", new byte[300])];
    }

    /// <summary>An MP4 with a video and a sound track; its index comes first, as a streamable file has it, or last.</summary>
    /// <param name="brand">The major one.</param>
    /// <param name="before">Boxes in front of all.</param>
    /// <param name="isLong">Lengths have 64 bits.</param>
    public static byte[] Mp4(int width, int height, double seconds, bool isIndexFirst = true, int dataBytes = 400, string brand = "isom",
        byte[]? before = null, bool isLong = false)
    {
        byte[] Track(int w, int h) => Box("trak", Box("tkhd", [.. new byte[76], .. BigEndian32(w << 16), .. BigEndian32(h << 16)]));
        var movieHeader = Box("mvhd", [.. new byte[12], .. BigEndian32(1000), .. BigEndian32((int)(seconds * 1000)), .. new byte[80]]);
        var index = Box("moov", [.. movieHeader, .. width > 0 ? Track(width, height) : [], .. Track(0, 0)], isLong);
        var others = brand == "isom" ? "isomiso2avc1mp41" : brand;
        var type = Box("ftyp", [.. Encoding.ASCII.GetBytes(brand), 0, 0, 2, 0, .. Encoding.ASCII.GetBytes(others)], isLong);
        var data = Box("mdat", new byte[dataBytes], isLong);
        return isIndexFirst ? [.. before ?? [], .. type, .. index, .. data] : [.. before ?? [], .. type, .. Box("free", []), .. data, .. index];
    }

    /// <summary>An MP4 in fragments of 25 samples of 40 ms each, of which its index knows nothing.</summary>
    public static byte[] Mp4Fragmented(int width, int height, int fragments)
    {
        var track = Box("trak", [
            .. Box("tkhd", [.. new byte[12], .. BigEndian32(1), .. new byte[60], .. BigEndian32(width << 16), .. BigEndian32(height << 16)]),
            .. Box("mdia", Box("mdhd", [.. new byte[12], .. BigEndian32(12_800), .. new byte[8]]))]);
        var extends = Box("mvex", Box("trex", [0, 0, 0, 0, .. BigEndian32(1), .. BigEndian32(1), .. BigEndian32(512), .. new byte[8]]));
        var index = Box("moov", [.. Box("mvhd", [.. new byte[12], .. BigEndian32(1000), .. new byte[84]]), .. track, .. extends]);
        byte[] Fragment(int at) => [
            .. Box("moof", [.. Box("mfhd", new byte[8]), .. Box("traf", [
                .. Box("tfhd", [0, 2, 0, 0, .. BigEndian32(1)]), .. Box("tfdt", [0, 0, 0, 0, .. BigEndian32(at * 25 * 512)]),
                .. Box("trun", [0, 0, 2, 1, .. BigEndian32(25), .. BigEndian32(0), .. new byte[100]])])]),
            .. Box("mdat", new byte[250])];
        return [.. Box("ftyp", [.. "iso5"u8, 0, 0, 2, 0, .. "iso6mp41"u8]), .. index, .. Enumerable.Range(0, fragments).SelectMany(Fragment)];
    }

    public static byte[] Wav(double seconds, bool isStreamed = false)
    {
        var dataBytes = (int)(seconds * 16_000);
        byte[] format = [1, 0, 1, 0, .. LittleEndian32(8_000), .. LittleEndian32(16_000), 2, 0, 16, 0];
        byte[] data = [.. "data"u8, .. LittleEndian32(isStreamed ? -1 : dataBytes), .. new byte[dataBytes]];
        return [.. "RIFF"u8, .. LittleEndian32(isStreamed ? -1 : 36 + dataBytes), .. "WAVEfmt "u8, .. LittleEndian32(16), .. format, .. data];
    }

    /// <summary>A WAV whose lengths have 64 bits and stand in a chunk of their own.</summary>
    public static byte[] Rf64(double seconds)
    {
        var dataBytes = (int)(seconds * 16_000);
        byte[] format = [1, 0, 1, 0, .. LittleEndian32(8_000), .. LittleEndian32(16_000), 2, 0, 16, 0];
        byte[] sizes = [.. LittleEndian32(72 + dataBytes), 0, 0, 0, 0, .. LittleEndian32(dataBytes), .. new byte[16]];
        return [.. "RF64"u8, .. LittleEndian32(-1), .. "WAVEds64"u8, .. LittleEndian32(28), .. sizes, .. "fmt "u8, .. LittleEndian32(16), .. format,
            .. "data"u8, .. LittleEndian32(-1), .. new byte[dataBytes]];
    }

    /// <summary>A WebM of blocks every 40 ms; streamed, nothing says how long it is.</summary>
    public static byte[] WebM(int width = 640, int height = 360, int blocks = 50, bool isStreamed = false, string type = "webm")
    {
        byte[] Block(int i) => Element([0xA3], [0x81, .. BigEndian16(i * 40), 0x80, .. new byte[40]]);
        byte[] info = Element([0x15, 0x49, 0xA9, 0x66], [.. Element([0x2A, 0xD7, 0xB1], [0x0F, 0x42, 0x40]),
            .. isStreamed ? [] : Element([0x44, 0x89], BitConverter.GetBytes((double)blocks * 40).Reverse().ToArray())]);
        var tracks = Element([0x16, 0x54, 0xAE, 0x6B], Element([0xAE], [.. Element([0xD7], [1]),
            .. Element([0xE0], [.. Element([0xB0], BigEndian16(width)), .. Element([0xBA], BigEndian16(height))])]));
        byte[] cluster = [.. Element([0xE7], [0]), .. Enumerable.Range(0, blocks).SelectMany(Block)];
        byte[] Open(byte[] id, byte[] body) => isStreamed ? [.. id, 0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, .. body] : Element(id, body);
        return [.. Element([0x1A, 0x45, 0xDF, 0xA3], [.. Element([0x42, 0x86], [1]), .. Element([0x42, 0x82], Encoding.ASCII.GetBytes(type))]),
            .. Open([0x18, 0x53, 0x80, 0x67], [.. info, .. tracks, .. Open([0x1F, 0x43, 0xB6, 0x75], cluster)])];
    }

    /// <summary>An Opus sound in pages of a second.</summary>
    public static byte[] Ogg(int seconds = 3)
    {
        byte[] Page(byte flags, long samples, byte[] body) => [.. "OggS"u8, 0, flags, .. BitConverter.GetBytes(samples), 7, 0, 0, 0, .. new byte[8],
            (byte)((body.Length / 255) + 1), .. Enumerable.Repeat((byte)255, body.Length / 255), (byte)(body.Length % 255), .. body];
        var head = Page(2, 0, [.. "OpusHead"u8, 1, 1, 0x38, 1, .. LittleEndian32(16_000), 0, 0, 0]);
        var pages = Enumerable.Range(1, seconds).SelectMany(i => Page((byte)(i == seconds ? 4 : 0), (i * 48_000) + 312, new byte[300]));
        return [.. head, .. Page(0, 0, [.. "OpusTags"u8, .. new byte[20]]), .. pages];
    }

    /// <summary>Frames of 128 kbit/s at 44.1 kHz after a tag with a picture in it; the first frame says how many there are, or none does.</summary>
    public static byte[] Mp3(int frames, int tagBytes = 0, bool saysLength = true)
    {
        byte[] tag = tagBytes == 0 ? [] : [.. "ID3"u8, 4, 0, 0, (byte)(tagBytes >> 21), (byte)(tagBytes >> 14 & 127), (byte)(tagBytes >> 7 & 127),
            (byte)(tagBytes & 127), .. new byte[tagBytes]];
        byte[] info = saysLength ? Fill(417, [0xFF, 0xFB, 0x90, 0xC4, .. new byte[17], .. "Info"u8, 0, 0, 0, 1, .. BigEndian32(frames)]) : [];
        return [.. tag, .. info, .. Enumerable.Repeat(Fill(417, [0xFF, 0xFB, 0x90, 0xC4]), frames).SelectMany(frame => frame)];
    }

    /// <summary>AAC frames of 200 bytes at 44.1 kHz.</summary>
    public static byte[] Adts(int frames) =>
        [.. Enumerable.Repeat(Fill(200, [0xFF, 0xF1, 0x50, 0x80, 200 >> 3, ((200 & 7) << 5) | 0x1F, 0xFC]), frames).SelectMany(frame => frame)];

    /// <summary>A FLAC of blocks of 4,096 samples at 44.1 kHz, after a picture.</summary>
    public static byte[] Flac(int blocks, bool saysLength = true)
    {
        var samples = saysLength ? blocks * 4096 : 0;
        byte[] info = [.. BigEndian16(4096), .. BigEndian16(4096), .. new byte[6], 0x0A, 0xC4, 0x42, 0xF0, .. BigEndian32(samples), .. new byte[16]];
        byte[] Frame(int number)
        {
            byte[] header = number < 0x80 ? [0xFF, 0xF8, 0xC9, 0x18, (byte)number]
                : [0xFF, 0xF8, 0xC9, 0x18, (byte)(0xC0 | number >> 6), (byte)(0x80 | (number & 0x3F))];
            return [.. header, Crc8(header), .. Fill(150, [0xFF, 0xF8, 0x00, 0xFF])];
        }

        return [.. "fLaC"u8, 0, 0, 0, 34, .. info, 0x86, 0, 1, 0, .. new byte[256], .. Enumerable.Range(0, blocks).SelectMany(Frame)];
    }

    public static byte[] Text(string text) => Encoding.UTF8.GetBytes(text.PadRight(300));

    public static byte[] Fill(int bytes, byte[] start)
    {
        var file = new byte[Math.Max(bytes, start.Length)];
        for (var i = 0; i < file.Length; i++)
        {
            file[i] = EndlessBody.ByteAt(i, start);
        }

        return file;
    }

    private static byte[] WebP(string chunk, byte[] body) =>
        Fill(200, [.. "RIFF"u8, .. LittleEndian32(192), .. "WEBP"u8, .. Encoding.ASCII.GetBytes(chunk), .. LittleEndian32(body.Length), .. body]);

    private static byte[] Box(string name, byte[] body, bool isLong = false) => isLong
        ? [0, 0, 0, 1, .. Encoding.ASCII.GetBytes(name), 0, 0, 0, 0, .. BigEndian32(16 + body.Length), .. body]
        : [.. BigEndian32(8 + body.Length), .. Encoding.ASCII.GetBytes(name), .. body];

    private static byte[] Chunk(string name, byte[] body) =>
        [.. BigEndian32(body.Length), .. Encoding.ASCII.GetBytes(name), .. body, 0, 0, 0, 0];

    /// <summary>An EBML element with a length of four bytes.</summary>
    private static byte[] Element(byte[] id, byte[] body) =>
        [.. id, (byte)(0x10 | body.Length >> 24), (byte)(body.Length >> 16), (byte)(body.Length >> 8), (byte)body.Length, .. body];

    private static int InterlacedBytes(int width, int height, int bits)
    {
        (int Left, int Top, int Right, int Down)[] passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
            (0, 1, 1, 2)];
        return passes.Sum(p => ((height - p.Top + p.Down - 1) / p.Down) * (1 + (((((width - p.Left + p.Right - 1) / p.Right) * bits) + 7) / 8)));
    }

    private static byte Crc8(byte[] bytes) => bytes.Aggregate((byte)0, (crc, next) =>
    {
        crc ^= next;
        for (var bit = 0; bit < 8; bit++)
        {
            crc = (byte)((crc & 0x80) != 0 ? (crc << 1) ^ 7 : crc << 1);
        }

        return crc;
    });

    private static byte[] BigEndian16(int value) => [(byte)(value >> 8), (byte)value];

    private static byte[] LittleEndian16(int value) => [(byte)value, (byte)(value >> 8)];

    private static byte[] BigEndian32(int value)
    {
        var bytes = new byte[4];
        BinaryPrimitives.WriteInt32BigEndian(bytes, value);
        return bytes;
    }

    private static byte[] LittleEndian32(int value)
    {
        var bytes = new byte[4];
        BinaryPrimitives.WriteInt32LittleEndian(bytes, value);
        return bytes;
    }
}

/// <summary>Where a test's output goes; another session each time.</summary>
internal static class SampleOutput
{
    public static MediaDestination Of(MediaKind kind) =>
        new(Guid.CreateVersion7(), TimeProvider.System.GetUtcNow(), Guid.CreateVersion7(), 0, 1, kind);

    public static MediaKey Key(string extension = "png") =>
        MediaKey.Output(Guid.CreateVersion7(), TimeProvider.System.GetUtcNow(), Guid.CreateVersion7(), 0, 1, extension);
}
