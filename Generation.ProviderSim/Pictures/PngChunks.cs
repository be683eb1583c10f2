using System.Buffers.Binary;
using System.Text;

namespace Generation.ProviderSim.Pictures;

/// <summary>What can be added to a PNG file without drawing it anew: text, and bytes that no reader looks at.</summary>
public static class PngChunks
{
    /// <summary>Signature and IHDR, after which other chunks may stand.</summary>
    public const int HeaderBytes = 33;

    /// <summary>Length, type and checksum, which are all of the chunk at a file's end.</summary>
    public const int Overhead = 12;

    private const int LongestChunk = 64 << 10;

    private static readonly uint[] CrcTable = MakeCrcTable();
    private static readonly byte[] LongestPadding = Chunk("paDd", new byte[LongestChunk - Overhead]);

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
        yield return png.AsMemory(0, png.Length - Overhead);
        foreach (var chunk in Padding(bytes - png.Length))
        {
            yield return chunk;
        }

        yield return png.AsMemory(png.Length - Overhead);
    }

    /// <summary>Chunks of zeros that together have so many bytes; nothing where they are too few for a chunk.</summary>
    internal static IEnumerable<ReadOnlyMemory<byte>> Padding(long bytes)
    {
        while (bytes >= Overhead)
        {
            var length = (int)Math.Min(bytes, LongestChunk);
            if (bytes - length is > 0 and < Overhead)
            {
                length -= Overhead; // too few would be left for a chunk: they are taken from this one
            }

            yield return length == LongestChunk ? LongestPadding : Chunk("paDd", new byte[length - Overhead]);
            bytes -= length;
        }
    }

    private static byte[] Chunk(string type, byte[] data)
    {
        var chunk = new byte[data.Length + Overhead];
        BinaryPrimitives.WriteInt32BigEndian(chunk, data.Length);
        Encoding.ASCII.GetBytes(type, chunk.AsSpan(4));
        data.CopyTo(chunk, 8);
        BinaryPrimitives.WriteUInt32BigEndian(chunk.AsSpan(8 + data.Length), Checksum(chunk.AsSpan(4, 4 + data.Length)));
        return chunk;
    }

    /// <summary>A chunk's checksum: CRC-32 of its type and its data.</summary>
    private static uint Checksum(ReadOnlySpan<byte> typeAndData)
    {
        var crc = uint.MaxValue;
        foreach (var value in typeAndData)
        {
            crc = CrcTable[(byte)(crc ^ value)] ^ crc >> 8;
        }

        return ~crc;
    }

    private static uint[] MakeCrcTable()
    {
        var table = new uint[256];
        for (var n = 0u; n < 256; n++)
        {
            var value = n;
            for (var bit = 0; bit < 8; bit++)
            {
                value = (value & 1) != 0 ? 0xEDB88320 ^ value >> 1 : value >> 1;
            }

            table[n] = value;
        }

        return table;
    }
}
