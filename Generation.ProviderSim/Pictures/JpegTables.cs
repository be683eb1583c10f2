using System.Buffers.Binary;

namespace Generation.ProviderSim.Pictures;

/// <summary>The tables of ITU T.81 Annex K and the segments made from them.</summary>
internal static class JpegTables
{
    /// <summary>Natural index of the n-th coefficient on the zigzag path.</summary>
    private static readonly byte[] Natural =
    [
        0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28,
        35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
    ];

    /// <summary>Zigzag position of a coefficient in the transposed order in which the encoder's transform leaves them.</summary>
    public static readonly byte[] ZigzagOfTransposed = Transposed();

    public static readonly byte[] Luma =
    [
        16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
        18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
    ];

    public static readonly byte[] Chroma =
    [
        17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99,
        99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
    ];

    private static readonly byte[] LumaDcLengths = [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0];
    private static readonly byte[] ChromaDcLengths = [0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0];
    private static readonly byte[] DcSymbols = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
    private static readonly byte[] LumaAcLengths = [0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 0x7D];
    private static readonly byte[] ChromaAcLengths = [0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 0x77];

    private static readonly byte[] LumaAcSymbols = Convert.FromHexString(
        "01020300041105122131410613516107227114328191A1082342B1C11552D1F02433627282090A161718191A25262728292A3435363738393A" +
        "434445464748494A535455565758595A636465666768696A737475767778797A838485868788898A92939495969798999AA2A3A4A5A6A7A8A9AA" +
        "B2B3B4B5B6B7B8B9BAC2C3C4C5C6C7C8C9CAD2D3D4D5D6D7D8D9DAE1E2E3E4E5E6E7E8E9EAF1F2F3F4F5F6F7F8F9FA");

    private static readonly byte[] ChromaAcSymbols = Convert.FromHexString(
        "0001020311040521310612415107617113223281081442" + "91A1B1C109233352F0156272D10A162434E125F11718191A262728292A35363738393A" +
        "434445464748494A535455565758595A636465666768696A737475767778797A82838485868788898A92939495969798999AA2A3A4A5A6A7A8A9AA" +
        "B2B3B4B5B6B7B8B9BAC2C3C4C5C6C7C8C9CAD2D3D4D5D6D7D8D9DAE2E3E4E5E6E7E8E9EAF2F3F4F5F6F7F8F9FA");

    /// <summary>By symbol: the code in the low 24 bits, its length in bits above them.</summary>
    public static readonly uint[] LumaDc = Codes(LumaDcLengths, DcSymbols);
    public static readonly uint[] ChromaDc = Codes(ChromaDcLengths, DcSymbols);
    public static readonly uint[] LumaAc = Codes(LumaAcLengths, LumaAcSymbols);
    public static readonly uint[] ChromaAc = Codes(ChromaAcLengths, ChromaAcSymbols);

    /// <summary>SOS: three components, the whole spectrum in one scan.</summary>
    public static readonly byte[] ScanHeader = Convert.FromHexString("FFDA000C03010002110311003F00");

    public static byte[] Quants(byte[] standard, int quality)
    {
        var percent = quality < 50 ? 5000 / quality : 200 - quality * 2;
        return Array.ConvertAll(standard, quant => (byte)Math.Clamp((quant * percent + 50) / 100, 1, 255));
    }

    /// <summary>What to multiply a transformed coefficient with: 1 / (quantiser × the AAN scale factors × 8), in transposed order.</summary>
    public static float[] Scales(byte[] quants)
    {
        double[] aan = [1, 1.387039845, 1.306562965, 1.175875602, 1, 0.785694958, 0.541196100, 0.275899379];
        var scales = new float[64];
        for (var row = 0; row < 8; row++)
        {
            for (var column = 0; column < 8; column++)
                scales[column * 8 + row] = (float)(1 / (quants[row * 8 + column] * aan[row] * aan[column] * 8));
        }

        return scales;
    }

    /// <summary>Everything from SOI to the Huffman tables. SOF0 stands early, so that a size probe finds it in the first kilobyte.</summary>
    public static byte[] Header(int width, int height, byte[] lumaQuants, byte[] chromaQuants)
    {
        using var stream = new MemoryStream(640);
        stream.Write(Convert.FromHexString("FFD8FFE000104A46494600010100000100010000"));
        Quantisers(0, lumaQuants);
        Quantisers(1, chromaQuants);
        Span<byte> frame = stackalloc byte[19];
        Convert.FromHexString("FFC0001108" + "00000000" + "03" + "012200" + "021101" + "031101").CopyTo(frame);
        BinaryPrimitives.WriteUInt16BigEndian(frame[5..], (ushort)height);
        BinaryPrimitives.WriteUInt16BigEndian(frame[7..], (ushort)width);
        stream.Write(frame);
        Huffman(0x00, LumaDcLengths, DcSymbols);
        Huffman(0x10, LumaAcLengths, LumaAcSymbols);
        Huffman(0x01, ChromaDcLengths, DcSymbols);
        Huffman(0x11, ChromaAcLengths, ChromaAcSymbols);
        return stream.ToArray();

        void Quantisers(byte id, byte[] quants)
        {
            stream.Write([0xFF, 0xDB, 0, 67, id]);
            foreach (var natural in Natural) stream.WriteByte(quants[natural]);
        }

        void Huffman(byte id, byte[] lengths, byte[] symbols)
        {
            var size = 3 + lengths.Length + symbols.Length;
            stream.Write([0xFF, 0xC4, (byte)(size >> 8), (byte)size, id]);
            stream.Write(lengths);
            stream.Write(symbols);
        }
    }

    private static byte[] Transposed()
    {
        var positions = new byte[64];
        for (byte position = 0; position < 64; position++) positions[Natural[position] % 8 * 8 + Natural[position] / 8] = position;
        return positions;
    }

    private static uint[] Codes(byte[] lengths, byte[] symbols)
    {
        var codes = new uint[256];
        var code = 0u;
        var next = 0;
        for (var length = 1; length <= 16; length++, code <<= 1)
        {
            for (var n = 0; n < lengths[length - 1]; n++) codes[symbols[next++]] = (uint)length << 24 | code++;
        }

        return codes;
    }
}

/// <summary>The entropy-coded bytes: bits in, bytes out, a zero stuffed after every 0xFF.</summary>
internal sealed class JpegBits(int capacity)
{
    /// <summary>More than one block can produce: 64 coefficients of at most 27 bits, every byte stuffed.</summary>
    private const int MostBytesABlock = 512;

    private byte[] buffer = new byte[capacity];
    private int length;
    private ulong pending;
    private int pendingBits;

    public void Raw(ReadOnlySpan<byte> bytes)
    {
        if (length + bytes.Length > buffer.Length) Array.Resize(ref buffer, length + bytes.Length + 4096);
        bytes.CopyTo(buffer.AsSpan(length));
        length += bytes.Length;
    }

    public void Reserve()
    {
        if (length + MostBytesABlock > buffer.Length) Array.Resize(ref buffer, buffer.Length * 3 / 2 + MostBytesABlock);
    }

    public void Put(uint code) => Put(code & 0xFFFFFF, (int)(code >> 24));

    public void Put(uint value, int bitCount)
    {
        pending = pending << bitCount | value;
        pendingBits += bitCount;
        if (pendingBits < 32) return;
        pendingBits -= 32;
        var word = (uint)(pending >> pendingBits);
        // A byte of the word is 0xFF only where its complement has a zero byte: the usual word has none and goes out in one store.
        var complement = ~word;
        if (((complement - 0x01010101) & ~complement & 0x80808080) == 0)
        {
            BinaryPrimitives.WriteUInt32BigEndian(buffer.AsSpan(length), word);
            length += 4;
            return;
        }

        for (var shift = 24; shift >= 0; shift -= 8) Stuffed((byte)(word >> shift));
    }

    public byte[] Finish()
    {
        Reserve();
        for (; pendingBits >= 8; pendingBits -= 8) Stuffed((byte)(pending >> (pendingBits - 8)));
        if (pendingBits > 0) Stuffed((byte)(pending << (8 - pendingBits) | (0xFFu >> pendingBits)));
        pendingBits = 0;
        Raw([0xFF, 0xD9]);
        return buffer.AsSpan(0, length).ToArray();
    }

    private void Stuffed(byte value)
    {
        buffer[length++] = value;
        if (value == 0xFF) buffer[length++] = 0;
    }
}
