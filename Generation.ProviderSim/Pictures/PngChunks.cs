using System.Buffers.Binary;
using System.Text;

namespace Generation.ProviderSim.Pictures;

/// <summary>What can be added to a PNG file without drawing it anew: text, and bytes that no reader looks at.</summary>
public static class PngChunks
{
    /// <summary>Signature and IHDR, after which other chunks may stand.</summary>
    private const int HeaderBytes = 33;

    /// <summary>Length, type and checksum.</summary>
    private const int ChunkOverhead = 12;

    private const int EndBytes = ChunkOverhead;

    private static readonly byte[] Padding = Chunk("paDd", new byte[65_536 - ChunkOverhead]);

    /// <summary>
    /// The file with a text, where image programs look for it: <c>tEXt</c>, or <c>iTXt</c> for a text that Latin-1 cannot hold.
    /// </summary>
    /// <param name="png">A whole file.</param>
    /// <param name="keyword">Latin-1, at most 79 characters.</param>
    /// <param name="text">Any.</param>
    public static byte[] WithText(byte[] png, string keyword, string text)
    {
        ArgumentNullException.ThrowIfNull(png);
        ArgumentNullException.ThrowIfNull(text);
        byte[] key = [.. Encoding.Latin1.GetBytes(keyword), 0];
        var chunk = text.All(letter => letter <= '\xFF')
            ? Chunk("tEXt", [.. key, .. Encoding.Latin1.GetBytes(text)])
            : Chunk("iTXt", [.. key, 0, 0, 0, 0, .. Encoding.UTF8.GetBytes(text)]); // not compressed, no language, no translated keyword
        return [.. png.AsSpan(0, HeaderBytes), .. chunk, .. png.AsSpan(HeaderBytes)];
    }

    /// <summary>The file in pieces that add up to so many bytes, if it has fewer: what is missing stands before its end in chunks of zeros.</summary>
    public static IEnumerable<ReadOnlyMemory<byte>> Padded(byte[] png, long bytes)
    {
        ArgumentNullException.ThrowIfNull(png);
        yield return png.AsMemory(0, png.Length - EndBytes);
        var missing = bytes - png.Length;
        for (; missing >= Padding.Length + ChunkOverhead; missing -= Padding.Length) yield return Padding;
        if (missing >= ChunkOverhead) yield return Chunk("paDd", new byte[missing - ChunkOverhead]);
        yield return png.AsMemory(png.Length - EndBytes);
    }

    /// <summary>A picture of one grey, which costs no drawing.</summary>
    public static byte[] Grey(int width, int height)
    {
        using var png = new PngEncoder(width, height);
        var row = new float[png.PaddedWidth];
        row.AsSpan().Fill(128);
        for (var y = 0; y < height; y++) png.AddRow(row, row, row);
        return png.Finish();
    }

    private static byte[] Chunk(string type, byte[] data)
    {
        var chunk = new byte[data.Length + ChunkOverhead];
        BinaryPrimitives.WriteInt32BigEndian(chunk, data.Length);
        Encoding.ASCII.GetBytes(type, chunk.AsSpan(4));
        data.CopyTo(chunk, 8);
        BinaryPrimitives.WriteUInt32BigEndian(chunk.AsSpan(8 + data.Length), PngEncoder.Checksum(chunk.AsSpan(4, 4 + data.Length)));
        return chunk;
    }
}
