namespace Generation.ProviderSim.Pictures;

/// <summary>
/// A grey JPEG of any length, made of fixed buffers: header, comments as padding, and a scan in which every block says "as before".
/// It decodes. For memory benchmarks (half a gigabyte) and load tests (no drawing).
/// </summary>
public static class GreyPicture
{
    /// <summary>One macroblock of a grey picture: four luma blocks of 6 bits and two chroma blocks of 4, which happen to be 4 bytes.</summary>
    private static readonly byte[] Macroblock = [0x28, 0xA2, 0x8A, 0x00];

    private static readonly byte[] Scan = [.. Enumerable.Repeat(Macroblock, 4096).SelectMany(bytes => bytes)];

    /// <summary>The longest comment segment: marker, length 65535, zeros.</summary>
    private static readonly byte[] Comment = [0xFF, 0xFE, 0xFF, 0xFF, .. new byte[65_533]];

    /// <summary>The file in pieces. Short of a whole picture's bytes it breaks off, but never inside the header.</summary>
    public static IEnumerable<ReadOnlyMemory<byte>> Pieces(int width, int height, long bytes)
    {
        var header = Header(width, height);
        var scanBytes = ScanBytes(width, height);
        yield return header;
        var padding = bytes - header.Length - JpegTables.ScanHeader.Length - scanBytes - 2;
        var left = Math.Max(0, bytes - header.Length);
        while (padding > 0)
        {
            var piece = Math.Min(padding, Comment.Length);
            // Up to three bytes are too few for a segment; fill bytes may stand before any marker.
            if (piece < 4) yield return new byte[] { 0xFF, 0xFF, 0xFF }.AsMemory(0, (int)piece);
            else if (piece == Comment.Length) yield return Comment;
            else
            {
                yield return new byte[] { 0xFF, 0xFE, (byte)(piece - 2 >> 8), (byte)(piece - 2) };
                yield return Comment.AsMemory(4, (int)piece - 4);
            }

            padding -= piece;
            left -= piece;
        }

        foreach (var piece in Tail(scanBytes))
        {
            if (left <= 0) yield break;
            yield return piece.Length <= left ? piece : piece[..(int)left];
            left -= piece.Length;
        }
    }

    /// <summary>What <see cref="Pieces"/> add up to: the bytes asked for, or the header where they were fewer.</summary>
    public static long Length(int width, int height, long bytes) => Math.Max(bytes, Header(width, height).Length);

    /// <summary>A header, then comments for ever.</summary>
    public static IEnumerable<ReadOnlyMemory<byte>> Endless(int width, int height)
    {
        yield return Header(width, height);
        while (true) yield return Comment;
    }

    private static byte[] Header(int width, int height) =>
        JpegTables.Header(width, height, JpegTables.Quants(JpegTables.Luma, 50), JpegTables.Quants(JpegTables.Chroma, 50));

    private static long ScanBytes(int width, int height) => (long)((width + 15) / 16) * ((height + 15) / 16) * Macroblock.Length;

    private static IEnumerable<ReadOnlyMemory<byte>> Tail(long scanBytes)
    {
        yield return JpegTables.ScanHeader;
        for (; scanBytes > 0; scanBytes -= Scan.Length) yield return Scan.AsMemory(0, (int)Math.Min(scanBytes, Scan.Length));
        yield return new byte[] { 0xFF, 0xD9 };
    }
}
