using System.Buffers.Binary;
using System.IO.Compression;

namespace Generation.ProviderSim.Pictures;

/// <summary>A grey PNG of any length: what <see cref="GreyPicture"/> is for JPEG. The padding is in chunks that every reader passes over.</summary>
public static class GreyPng
{
    private const int ChunkOverhead = 12;
    private const int LongestChunk = 64 << 10;

    private static readonly byte[] End = Chunk("IEND"u8, []);
    private static readonly byte[] Padding = Chunk("paDd"u8, new byte[LongestChunk - ChunkOverhead]);

    /// <summary>The file in pieces. Short of a whole picture's bytes it breaks off, but never inside the header.</summary>
    public static IEnumerable<ReadOnlyMemory<byte>> Pieces(int width, int height, long bytes)
    {
        var (header, data) = (Header(width, height), Data(width, height));
        yield return header;
        var left = Math.Max(0, bytes - header.Length);
        var padding = left - data.Length - End.Length;
        while (padding >= ChunkOverhead)
        {
            var length = (int)Math.Min(padding, LongestChunk);
            if (padding - length is > 0 and < ChunkOverhead) length -= ChunkOverhead; // too few are left for a chunk: they are taken from this one
            yield return length == LongestChunk ? Padding : Chunk("paDd"u8, new byte[length - ChunkOverhead]);
            (padding, left) = (padding - length, left - length);
        }

        // Up to eleven bytes are too few for any chunk, and stand behind the end.
        foreach (var piece in new ReadOnlyMemory<byte>[] { data, End, new byte[Math.Max(0, padding)] })
        {
            yield return piece.Length <= left ? piece : piece[..(int)left];
            left -= Math.Min(left, piece.Length);
        }
    }

    /// <summary>What <see cref="Pieces"/> add up to.</summary>
    public static long Length(int width, int height, long bytes) => Math.Max(bytes, Header(width, height).Length);

    /// <summary>A header, then padding for ever.</summary>
    public static IEnumerable<ReadOnlyMemory<byte>> Endless(int width, int height)
    {
        yield return Header(width, height);
        while (true) yield return Padding;
    }

    private static byte[] Header(int width, int height)
    {
        Span<byte> fields = stackalloc byte[13];
        BinaryPrimitives.WriteInt32BigEndian(fields, width);
        BinaryPrimitives.WriteInt32BigEndian(fields[4..], height);
        fields[8] = 8; // bits a sample, of one grey channel
        return [0x89, (byte)'P', (byte)'N', (byte)'G', 0x0D, 0x0A, 0x1A, 0x0A, .. Chunk("IHDR"u8, fields)];
    }

    private static byte[] Data(int width, int height)
    {
        using var packed = new MemoryStream();
        using (var compressor = new ZLibStream(packed, CompressionLevel.Fastest, leaveOpen: true))
        {
            var row = new byte[width + 1]; // no filter
            row.AsSpan(1).Fill(128);
            for (var y = 0; y < height; y++) compressor.Write(row);
        }

        return Chunk("IDAT"u8, packed.ToArray());
    }

    private static byte[] Chunk(ReadOnlySpan<byte> type, ReadOnlySpan<byte> data)
    {
        var chunk = new byte[data.Length + ChunkOverhead];
        BinaryPrimitives.WriteInt32BigEndian(chunk, data.Length);
        type.CopyTo(chunk.AsSpan(4));
        data.CopyTo(chunk.AsSpan(8));
        BinaryPrimitives.WriteUInt32BigEndian(chunk.AsSpan(chunk.Length - 4), PngEncoder.Checksum(chunk.AsSpan(4, data.Length + 4)));
        return chunk;
    }
}
