using System.IO.Compression;

namespace Generation.Core.Media;

/// <summary>A PNG (also an animated one): chunks up to IEND. Strict, its image data must inflate to the pixels that it claims.</summary>
internal sealed class PngStructure(bool isStrict) : MediaStructure
{
    /// <summary>Larger pictures are not inflated: an upload of that size is refused for it.</summary>
    public const long MaxInflatedPixels = 36_000_000;

    private readonly byte[] scratch = isStrict ? new byte[32 << 10] : [];
    private readonly Passing compressed = new();
    private ZLibStream? pixels;
    private long missing;
    private bool isBroken;

    private protected override IEnumerable<Step> Walk()
    {
        yield return Read(8); // the signature
        while (true)
        {
            yield return Read(8);
            var (length, name) = ((long)U32(0), Name(4));
            if (length > int.MaxValue || !IsName(4))
            {
                Completeness = MediaCompleteness.Unknown;
                yield break;
            }

            switch (name)
            {
                case "IHDR" when length == 13:
                    yield return Read(13);
                    (Width, Height) = (U32(0), U32(4));
                    missing = isStrict && Width * Height <= MaxInflatedPixels ? BytesOf(Width, Height, U8(8), U8(9), isInterlaced: U8(12) == 1) : 0;
                    yield return Skip(4);
                    break;
                case "IDAT" when missing > 0:
                    yield return Pass(length);
                    yield return Skip(4);
                    break;
                case "IEND":
                    yield return Skip(length + 4);
                    Completeness = missing > 0 || isBroken ? MediaCompleteness.Cut : MediaCompleteness.Whole;
                    yield break;
                default:
                    yield return Skip(length + 4);
                    break;
            }
        }
    }

    private protected override void OnPassing(ReadOnlySpan<byte> bytes)
    {
        while (!bytes.IsEmpty && missing > 0 && !isBroken)
        {
            bytes = bytes[compressed.Take(bytes)..];
            pixels ??= new ZLibStream(compressed, CompressionMode.Decompress);
            try
            {
                // The stream comes to an end with the bytes that are here, and goes on with those that come later.
                for (var read = 1; read > 0 && missing > 0; missing -= read)
                {
                    read = pixels.Read(scratch);
                }
            }
            catch (InvalidDataException)
            {
                isBroken = true;
            }
        }
    }

    protected override void Dispose(bool disposing)
    {
        pixels?.Dispose();
        compressed.Dispose();
        base.Dispose(disposing);
    }

    /// <summary>The bytes of all rows with their filter bytes; Adam7 has seven smaller pictures.</summary>
    private static long BytesOf(long width, long height, int depth, int colour, bool isInterlaced)
    {
        var bits = depth * colour switch { 2 => 3, 4 => 2, 6 => 4, _ => 1 };
        if (!isInterlaced)
        {
            return Rows(width, height);
        }

        var sum = 0L;
        foreach (var (left, top, right, down) in new[] { (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
            (0, 1, 1, 2) })
        {
            sum += Rows((width - left + right - 1) / right, (height - top + down - 1) / down);
        }

        return sum;

        long Rows(long columns, long rows) => columns <= 0 || rows <= 0 ? 0 : rows * (1 + (((columns * bits) + 7) / 8));
    }

    /// <summary>A stream of the piece that is passing.</summary>
    private sealed class Passing : ForwardStream
    {
        private readonly byte[] piece = new byte[8 << 10];
        private int start;
        private int end;

        /// <summary>Takes as many bytes as there is room for.</summary>
        public int Take(ReadOnlySpan<byte> bytes)
        {
            piece.AsSpan(start, end - start).CopyTo(piece);
            (start, end) = (0, end - start);
            var count = Math.Min(bytes.Length, piece.Length - end);
            bytes[..count].CopyTo(piece.AsSpan(end));
            end += count;
            return count;
        }

        public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

        public override int Read(Span<byte> buffer)
        {
            var count = Math.Min(buffer.Length, end - start);
            piece.AsSpan(start, count).CopyTo(buffer);
            start += count;
            return count;
        }
    }
}
