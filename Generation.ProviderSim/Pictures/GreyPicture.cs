using System.Buffers.Binary;
using System.Collections.Concurrent;
using SkiaSharp;

namespace Generation.ProviderSim.Pictures;

/// <summary>
/// A grey picture of any length: the smallest file that shows so many pixels, with padding in it that every reader passes over. The padding
/// is made of fixed buffers. For memory benchmarks (half a gigabyte) and load tests (no drawing).
/// </summary>
public static class GreyPicture
{
    /// <summary>RIFF header and the VP8 frame's header, which has the size.</summary>
    private const int WebPHeaderBytes = 30;

    /// <summary>More sizes than a benchmark or a test asks for. A file has a few kilobytes.</summary>
    private const int MostKept = 256;

    /// <summary>The longest comment segment: marker, length 65535, zeros.</summary>
    private static readonly byte[] Comment = [0xFF, 0xFE, 0xFF, 0xFF, .. new byte[65_533]];

    private static readonly byte[] Zeros = new byte[64 << 10];

    private static readonly ConcurrentDictionary<(PictureFormat Format, int Width, int Height), Lazy<byte[]>> Kept = new();

    /// <summary>A grey picture without padding.</summary>
    public static byte[] File(PictureFormat format, int width, int height)
    {
        if (Kept.Count >= MostKept)
        {
            Kept.Clear();
        }

        return Kept.GetOrAdd((format, width, height), key => new Lazy<byte[]>(() => Encode(key.Format, key.Width, key.Height))).Value;
    }

    /// <summary>The file in pieces. Short of a whole picture's bytes it breaks off, but never inside the header.</summary>
    public static IEnumerable<ReadOnlyMemory<byte>> Pieces(PictureFormat format, int width, int height, long bytes)
    {
        var file = File(format, width, height);
        var missing = bytes - file.Length;
        if (missing <= 0)
        {
            return [file.AsMemory(0, (int)Math.Max(bytes, HeaderBytes(format, file)))];
        }

        return format == PictureFormat.WebP ? PaddedWebP(file, width, height, missing)
            : [file.AsMemory(0, HeaderBytes(format, file)), .. Padding(), file.AsMemory(HeaderBytes(format, file)), .. Behind()];

        IEnumerable<ReadOnlyMemory<byte>> Padding() => format == PictureFormat.Png ? PngChunks.Padding(missing) : Comments(missing);

        // A few bytes are too few for a chunk, and stand behind the end.
        IEnumerable<ReadOnlyMemory<byte>> Behind() => format == PictureFormat.Png && missing < PngChunks.Overhead ? ZeroBytes(missing) : [];
    }

    /// <summary>What <see cref="Pieces"/> add up to: the bytes asked for, or the header where they were fewer.</summary>
    public static long Length(PictureFormat format, int width, int height, long bytes) =>
        Math.Max(bytes, HeaderBytes(format, File(format, width, height)));

    /// <summary>A header, then padding for ever.</summary>
    public static IEnumerable<ReadOnlyMemory<byte>> Endless(PictureFormat format, int width, int height)
    {
        var file = File(format, width, height);
        if (format == PictureFormat.WebP)
        {
            return PaddedWebP(file, width, height, long.MaxValue);
        }

        return Enumerable.Concat([file.AsMemory(0, HeaderBytes(format, file))],
            format == PictureFormat.Png ? PngChunks.Padding(long.MaxValue) : Comments(long.MaxValue));
    }

    private static byte[] Encode(PictureFormat format, int width, int height)
    {
        using var bitmap = new SKBitmap(width, height, format == PictureFormat.WebP ? SKColorType.Rgba8888 : SKColorType.Gray8, SKAlphaType.Opaque);
        bitmap.Erase(new SKColor(128, 128, 128));
        return PictureEncoder.Encode(bitmap, format);
    }

    /// <summary>Everything that tells the size, after which padding may stand: of a JPEG all before the scan.</summary>
    private static int HeaderBytes(PictureFormat format, byte[] file)
    {
        if (format != PictureFormat.Jpeg)
        {
            return format == PictureFormat.Png ? PngChunks.HeaderBytes : WebPHeaderBytes;
        }

        var at = 2;
        while (file[at + 1] != 0xDA)
        {
            at += 2 + BinaryPrimitives.ReadUInt16BigEndian(file.AsSpan(at + 2));
        }

        return at;
    }

    private static IEnumerable<ReadOnlyMemory<byte>> Comments(long padding)
    {
        while (padding > 0)
        {
            var piece = Math.Min(padding, Comment.Length);
            // Up to three bytes are too few for a segment; fill bytes may stand before any marker.
            if (piece < 4)
            {
                yield return new byte[] { 0xFF, 0xFF, 0xFF }.AsMemory(0, (int)piece);
            }
            else if (piece == Comment.Length)
            {
                yield return Comment;
            }
            else
            {
                yield return new byte[] { 0xFF, 0xFE, (byte)(piece - 2 >> 8), (byte)(piece - 2) };
                yield return Comment.AsMemory(4, (int)piece - 4);
            }

            padding -= piece;
        }
    }

    /// <summary>
    /// Unknown chunks are allowed in the extended format only, which begins with the size. One holds all the padding; what does not
    /// fill it, because a chunk's length is even, stands behind the end.
    /// </summary>
    private static IEnumerable<ReadOnlyMemory<byte>> PaddedWebP(byte[] file, int width, int height, long missing)
    {
        const int RiffBytes = 12, ExtendedBytes = 18, ChunkOverhead = 8;
        var chunk = Math.Min(missing - ExtendedBytes - ChunkOverhead, uint.MaxValue - 1L - file.Length - ExtendedBytes) & ~1L;
        if (chunk < 0)
        {
            yield return file;
            foreach (var piece in ZeroBytes(missing))
            {
                yield return piece;
            }

            yield break;
        }

        var head = new byte[RiffBytes + ExtendedBytes + ChunkOverhead];
        file.AsSpan(0, RiffBytes).CopyTo(head);
        BinaryPrimitives.WriteUInt32LittleEndian(head.AsSpan(4), (uint)(file.Length - 8 + ExtendedBytes + ChunkOverhead + chunk));
        "VP8X"u8.CopyTo(head.AsSpan(12));
        BinaryPrimitives.WriteInt32LittleEndian(head.AsSpan(16), ExtendedBytes - ChunkOverhead);
        BinaryPrimitives.WriteInt32LittleEndian(head.AsSpan(24), width - 1); // 24 bits each, after four bytes of flags: none
        BinaryPrimitives.WriteInt32LittleEndian(head.AsSpan(27), (height - 1) & 0xFFFFFF);
        "paDd"u8.CopyTo(head.AsSpan(30));
        BinaryPrimitives.WriteUInt32LittleEndian(head.AsSpan(34), (uint)chunk);
        yield return head;
        foreach (var piece in ZeroBytes(chunk))
        {
            yield return piece;
        }

        yield return file.AsMemory(RiffBytes);
        foreach (var piece in ZeroBytes(missing - ExtendedBytes - ChunkOverhead - chunk))
        {
            yield return piece;
        }
    }

    private static IEnumerable<ReadOnlyMemory<byte>> ZeroBytes(long count)
    {
        for (; count > 0; count -= Zeros.Length)
        {
            yield return Zeros.AsMemory(0, (int)Math.Min(count, Zeros.Length));
        }
    }
}
