using System.Buffers.Binary;
using System.IO.Compression;

namespace Generation.ProviderSim.Pictures;

/// <summary>PNG, 8-bit RGB, one IDAT chunk that grows in place. The Up filter suits pictures made of gradients and costs one subtraction.</summary>
public sealed class PngEncoder : IPictureEncoder, IDisposable
{
    private static readonly uint[] CrcTable = MakeCrcTable();

    private readonly int width;
    private readonly MemoryStream file;
    private readonly ZLibStream compressor;
    private readonly int dataStart;
    private byte[] above;
    private byte[] current;
    private readonly byte[] filtered;

    /// <param name="width">Pixels.</param>
    /// <param name="height">Pixels.</param>
    public PngEncoder(int width, int height)
    {
        this.width = width;
        PaddedWidth = (width + 15) / 16 * 16;
        above = new byte[width * 3];
        current = new byte[width * 3];
        filtered = new byte[width * 3 + 1];
        file = new MemoryStream(width * height / 2);
        file.Write([0x89, (byte)'P', (byte)'N', (byte)'G', 0x0D, 0x0A, 0x1A, 0x0A]);
        Span<byte> header = stackalloc byte[13];
        BinaryPrimitives.WriteInt32BigEndian(header, width);
        BinaryPrimitives.WriteInt32BigEndian(header[4..], height);
        header[8] = 8; // bits a sample
        header[9] = 2; // RGB
        var headerStart = BeginChunk("IHDR"u8);
        file.Write(header);
        EndChunk(headerStart);
        dataStart = BeginChunk("IDAT"u8);
        compressor = new ZLibStream(file, CompressionLevel.Fastest, leaveOpen: true);
    }

    public int PaddedWidth { get; }

    public void AddRow(ReadOnlySpan<float> red, ReadOnlySpan<float> green, ReadOnlySpan<float> blue)
    {
        for (int x = 0, at = 0; x < width; x++)
        {
            current[at++] = Sample(red[x]);
            current[at++] = Sample(green[x]);
            current[at++] = Sample(blue[x]);
        }

        filtered[0] = 2; // Up
        for (var i = 0; i < current.Length; i++) filtered[i + 1] = (byte)(current[i] - above[i]);
        compressor.Write(filtered);
        (above, current) = (current, above);
    }

    public byte[] Finish()
    {
        compressor.Dispose();
        EndChunk(dataStart);
        EndChunk(BeginChunk("IEND"u8));
        return file.ToArray();
    }

    public void Dispose()
    {
        compressor.Dispose();
        file.Dispose();
    }

    private static byte Sample(float value) => (byte)Math.Clamp(value + 0.5f, 0, 255);

    private int BeginChunk(ReadOnlySpan<byte> type)
    {
        file.Write([0, 0, 0, 0]);
        var start = (int)file.Position;
        file.Write(type);
        return start;
    }

    private void EndChunk(int start)
    {
        var chunk = file.GetBuffer().AsSpan(start, (int)file.Position - start);
        BinaryPrimitives.WriteInt32BigEndian(file.GetBuffer().AsSpan(start - 4), chunk.Length - 4);
        Span<byte> trailer = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32BigEndian(trailer, Checksum(chunk));
        file.Write(trailer);
    }

    /// <summary>A chunk's checksum: CRC-32 of its type and its data.</summary>
    internal static uint Checksum(ReadOnlySpan<byte> typeAndData)
    {
        var crc = uint.MaxValue;
        foreach (var value in typeAndData) crc = CrcTable[(byte)(crc ^ value)] ^ crc >> 8;
        return ~crc;
    }

    private static uint[] MakeCrcTable()
    {
        var table = new uint[256];
        for (var n = 0u; n < 256; n++)
        {
            var value = n;
            for (var bit = 0; bit < 8; bit++) value = (value & 1) != 0 ? 0xEDB88320 ^ value >> 1 : value >> 1;
            table[n] = value;
        }

        return table;
    }
}
