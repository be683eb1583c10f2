using System.Buffers.Binary;
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

/// <summary>Files in the formats that are stored: headers as their specifications write them, then filling.</summary>
internal static class SampleFiles
{
    public static byte[] Png(int width, int height, int bytes = 200) => Fill(
        bytes, [0x89, .. "PNG\r\n\x1A\n"u8, 0, 0, 0, 13, .. "IHDR"u8, .. BigEndian32(width), .. BigEndian32(height), 8, 6, 0, 0, 0]);

    public static byte[] Gif(int width, int height) =>
        Fill(200, [.. "GIF89a"u8, .. LittleEndian16(width), .. LittleEndian16(height), 0x80, 0, 0]);

    /// <summary>A baseline JPEG whose frame comes after application segments of this many bytes.</summary>
    public static byte[] Jpeg(int width, int height, int segmentBytes = 18, byte frame = 0xC0)
    {
        var file = new List<byte> { 0xFF, 0xD8 };
        for (var left = segmentBytes; left > 0; left -= 65_535)
        {
            var length = Math.Min(left, 65_535);
            file.AddRange([0xFF, 0xE2, .. BigEndian16(length), .. new byte[Math.Max(0, length - 2)]]);
        }

        file.AddRange([0xFF, 0xDB, 0, 67, .. new byte[65]]);
        file.AddRange([0xFF, frame, 0, 17, 8, .. BigEndian16(height), .. BigEndian16(width), 3, 1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1]);
        file.AddRange([0xFF, 0xDA, 0, 12, 3, 1, 0, 2, 0x11, 3, 0x11, 0, 0x3F, 0, .. new byte[300], 0xFF, 0xD9]);
        return [.. file];
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
    public static byte[] Mp4(int width, int height, double seconds, bool isIndexFirst = true, int dataBytes = 400)
    {
        byte[] Track(int w, int h) => Box("trak", Box("tkhd", [.. new byte[76], .. BigEndian32(w << 16), .. BigEndian32(h << 16)]));
        var movieHeader = Box("mvhd", [.. new byte[12], .. BigEndian32(1000), .. BigEndian32((int)(seconds * 1000)), .. new byte[80]]);
        var index = Box("moov", [.. movieHeader, .. Track(width, height), .. Track(0, 0)]);
        var type = Box("ftyp", [.. "isom"u8, 0, 0, 2, 0, .. "isomiso2avc1mp41"u8]);
        var data = Box("mdat", new byte[dataBytes]);
        return isIndexFirst ? [.. type, .. index, .. data] : [.. type, .. Box("free", []), .. data, .. index];
    }

    public static byte[] Wav(double seconds)
    {
        var dataBytes = (int)(seconds * 16_000);
        byte[] format = [1, 0, 1, 0, .. LittleEndian32(8_000), .. LittleEndian32(16_000), 2, 0, 16, 0];
        byte[] data = [.. "data"u8, .. LittleEndian32(dataBytes), .. new byte[dataBytes]];
        return [.. "RIFF"u8, .. LittleEndian32(36 + dataBytes), .. "WAVEfmt "u8, .. LittleEndian32(16), .. format, .. data];
    }

    public static byte[] WebM() => Fill(300, [0x1A, 0x45, 0xDF, 0xA3, 0x9F, 0x42, 0x86, 0x81, 1, 0x42, 0xF7, 0x81, 1, 0x42, 0x82, 0x84, .. "webm"u8]);

    public static byte[] Ogg() => Fill(300, [.. "OggS"u8, .. new byte[24], .. "OpusHead"u8]);

    /// <summary>Frames of 128 kbit/s at 44.1 kHz after a tag with a picture in it; the first frame says how many there are, or none does.</summary>
    public static byte[] Mp3(int frames, int tagBytes = 0, bool saysLength = true)
    {
        byte[] tag = tagBytes == 0 ? [] : [.. "ID3"u8, 4, 0, 0, (byte)(tagBytes >> 21), (byte)(tagBytes >> 14 & 127), (byte)(tagBytes >> 7 & 127),
            (byte)(tagBytes & 127), .. new byte[tagBytes]];
        byte[] info = saysLength ? Fill(417, [0xFF, 0xFB, 0x90, 0xC4, .. new byte[17], .. "Info"u8, 0, 0, 0, 1, .. BigEndian32(frames)]) : [];
        return [.. tag, .. info, .. Enumerable.Repeat(Fill(417, [0xFF, 0xFB, 0x90, 0xC4]), frames).SelectMany(frame => frame)];
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

    private static byte[] Box(string name, byte[] body) => [.. BigEndian32(8 + body.Length), .. Encoding.ASCII.GetBytes(name), .. body];

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
