using System.Numerics;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Generation.ProviderSim.Pictures;

/// <summary>Turns rows of colour into a file, from the top down, so that no encoder ever holds a whole picture uncompressed.</summary>
public interface IPictureEncoder
{
    /// <summary>Adds the next row. Samples are 0…255; the spans are <see cref="PaddedWidth"/> long.</summary>
    void AddRow(ReadOnlySpan<float> red, ReadOnlySpan<float> green, ReadOnlySpan<float> blue);

    /// <summary>The file, once every row has been added.</summary>
    byte[] Finish();

    /// <summary>The length rows must have: the picture's width rounded up to whole blocks of 16.</summary>
    int PaddedWidth { get; }
}

/// <summary>
/// Baseline JPEG (JFIF), 4:2:0, standard Huffman tables. Eight samples at a time: two passes of the AAN transform over vectors with a
/// transposition between them, and a bit mask of the coefficients that survived quantisation, because in a smooth picture few do.
/// </summary>
public sealed class JpegEncoder : IPictureEncoder
{
    private const int BlocksRow = 16;

    private readonly int width;
    private readonly int height;
    private readonly float[] luma;
    private readonly float[] blueChroma;
    private readonly float[] redChroma;
    private readonly float[] blueRow;
    private readonly float[] redRow;
    private readonly float[] lumaScale;
    private readonly float[] chromaScale;
    private readonly JpegBits bits;
    private readonly int[] coefficients = new int[64];
    private readonly int[] zigzag = new int[64];
    private int lumaBefore, blueBefore, redBefore;
    private int rowsAdded;

    /// <param name="width">Pixels, 1…65535.</param>
    /// <param name="height">Pixels, 1…65535.</param>
    /// <param name="quality">1…100 on the scale of libjpeg.</param>
    public JpegEncoder(int width, int height, int quality = 88)
    {
        this.width = width;
        this.height = height;
        PaddedWidth = (width + 15) / 16 * 16;
        luma = new float[PaddedWidth * BlocksRow];
        blueChroma = new float[PaddedWidth / 2 * 8];
        redChroma = new float[PaddedWidth / 2 * 8];
        blueRow = new float[PaddedWidth];
        redRow = new float[PaddedWidth];
        var lumaQuants = JpegTables.Quants(JpegTables.Luma, quality);
        var chromaQuants = JpegTables.Quants(JpegTables.Chroma, quality);
        lumaScale = JpegTables.Scales(lumaQuants);
        chromaScale = JpegTables.Scales(chromaQuants);
        bits = new JpegBits(width * height / 8 + 4096);
        bits.Raw(JpegTables.Header(width, height, lumaQuants, chromaQuants));
        bits.Raw(JpegTables.ScanHeader);
    }

    public int PaddedWidth { get; }

    public void AddRow(ReadOnlySpan<float> red, ReadOnlySpan<float> green, ReadOnlySpan<float> blue)
    {
        var row = rowsAdded % BlocksRow;
        var y = luma.AsSpan(row * PaddedWidth, PaddedWidth);
        var odd = (row & 1) == 1;
        for (var x = 0; x < PaddedWidth; x += 8)
        {
            var r = Vector256.LoadUnsafe(in red[x]);
            var g = Vector256.LoadUnsafe(in green[x]);
            var b = Vector256.LoadUnsafe(in blue[x]);
            (r * 0.299f + g * 0.587f + b * 0.114f - Vector256.Create(128f)).StoreUnsafe(ref y[x]);
            var cb = b * 0.5f - r * 0.168735892f - g * 0.331264108f;
            var cr = r * 0.5f - g * 0.418687589f - b * 0.081312411f;
            (odd ? cb + Vector256.LoadUnsafe(in blueRow[x]) : cb).StoreUnsafe(ref blueRow[x]);
            (odd ? cr + Vector256.LoadUnsafe(in redRow[x]) : cr).StoreUnsafe(ref redRow[x]);
        }

        if (odd)
        {
            Halve(blueRow, blueChroma.AsSpan(row / 2 * (PaddedWidth / 2), PaddedWidth / 2));
            Halve(redRow, redChroma.AsSpan(row / 2 * (PaddedWidth / 2), PaddedWidth / 2));
        }

        if (++rowsAdded % BlocksRow == 0) EncodeBlocks();
    }

    public byte[] Finish()
    {
        if (rowsAdded < height) throw new InvalidOperationException($"The picture has {height} rows, {rowsAdded} were added.");
        // The last blocks reach below the picture: repeat the last row, which costs the fewest bits.
        while (rowsAdded % BlocksRow != 0)
        {
            var row = rowsAdded % BlocksRow;
            luma.AsSpan((row - 1) * PaddedWidth, PaddedWidth).CopyTo(luma.AsSpan(row * PaddedWidth));
            var half = PaddedWidth / 2;
            if ((row & 1) == 1)
            {
                foreach (var (line, plane) in new[] { (blueRow, blueChroma), (redRow, redChroma) })
                {
                    // An even row left its chroma unpaired; a pair of rows below the picture repeats the pair above it.
                    if (row == height % BlocksRow) for (var x = 0; x < half; x++) plane[row / 2 * half + x] = (line[2 * x] + line[2 * x + 1]) * 0.5f;
                    else plane.AsSpan((row / 2 - 1) * half, half).CopyTo(plane.AsSpan(row / 2 * half));
                }
            }

            if (++rowsAdded % BlocksRow == 0) EncodeBlocks();
        }

        return bits.Finish();
    }

    private static void Halve(float[] sums, Span<float> half)
    {
        var pairs = MemoryMarshal.Cast<float, Vector2>(sums);
        for (var x = 0; x < half.Length; x++) half[x] = (pairs[x].X + pairs[x].Y) * 0.25f;
    }

    private void EncodeBlocks()
    {
        var half = PaddedWidth / 2;
        var columns = (width + 15) / 16;
        for (var column = 0; column < columns; column++)
        {
            for (var block = 0; block < 4; block++)
            {
                var start = (block >> 1) * 8 * PaddedWidth + column * 16 + (block & 1) * 8;
                EncodeBlock(luma, start, PaddedWidth, lumaScale, ref lumaBefore, JpegTables.LumaDc, JpegTables.LumaAc);
            }

            EncodeBlock(blueChroma, column * 8, half, chromaScale, ref blueBefore, JpegTables.ChromaDc, JpegTables.ChromaAc);
            EncodeBlock(redChroma, column * 8, half, chromaScale, ref redBefore, JpegTables.ChromaDc, JpegTables.ChromaAc);
        }
    }

    private void EncodeBlock(float[] plane, int start, int stride, float[] scale, ref int before, uint[] dcCodes, uint[] acCodes)
    {
        ref var source = ref plane[start];
        var v0 = Vector256.LoadUnsafe(in source);
        var v1 = Vector256.LoadUnsafe(in source, (nuint)stride);
        var v2 = Vector256.LoadUnsafe(in source, (nuint)(2 * stride));
        var v3 = Vector256.LoadUnsafe(in source, (nuint)(3 * stride));
        var v4 = Vector256.LoadUnsafe(in source, (nuint)(4 * stride));
        var v5 = Vector256.LoadUnsafe(in source, (nuint)(5 * stride));
        var v6 = Vector256.LoadUnsafe(in source, (nuint)(6 * stride));
        var v7 = Vector256.LoadUnsafe(in source, (nuint)(7 * stride));
        Transform(ref v0, ref v1, ref v2, ref v3, ref v4, ref v5, ref v6, ref v7);
        Transpose(ref v0, ref v1, ref v2, ref v3, ref v4, ref v5, ref v6, ref v7);
        Transform(ref v0, ref v1, ref v2, ref v3, ref v4, ref v5, ref v6, ref v7);

        var survivors = Quantise(v0, scale, 0) | Quantise(v1, scale, 8) | Quantise(v2, scale, 16) | Quantise(v3, scale, 24)
            | Quantise(v4, scale, 32) | Quantise(v5, scale, 40) | Quantise(v6, scale, 48) | Quantise(v7, scale, 56);

        bits.Reserve();
        var dc = coefficients[0];
        var difference = dc - before;
        before = dc;
        var size = 32 - BitOperations.LeadingZeroCount((uint)Math.Abs(difference));
        bits.Put(dcCodes[size]);
        if (size > 0) bits.Put((uint)(difference < 0 ? difference - 1 : difference) & ((1u << size) - 1), size);

        var order = 0ul;
        for (survivors &= ~1ul; survivors != 0; survivors &= survivors - 1)
        {
            var index = BitOperations.TrailingZeroCount(survivors);
            var position = JpegTables.ZigzagOfTransposed[index];
            zigzag[position] = coefficients[index];
            order |= 1ul << position;
        }

        var last = 0;
        for (; order != 0; order &= order - 1)
        {
            var position = BitOperations.TrailingZeroCount(order);
            var run = position - last - 1;
            last = position;
            for (; run > 15; run -= 16) bits.Put(acCodes[0xF0]);
            var value = zigzag[position];
            size = 32 - BitOperations.LeadingZeroCount((uint)Math.Abs(value));
            bits.Put(acCodes[run << 4 | size]);
            bits.Put((uint)(value < 0 ? value - 1 : value) & ((1u << size) - 1), size);
        }

        if (last < 63) bits.Put(acCodes[0]);
    }

    private ulong Quantise(Vector256<float> row, float[] scale, int offset)
    {
        var rounded = Vector256.ConvertToInt32(Vector256.Round(row * Vector256.LoadUnsafe(in scale[offset])));
        rounded.StoreUnsafe(ref coefficients[offset]);
        return (ulong)(~Vector256.Equals(rounded, Vector256<int>.Zero).ExtractMostSignificantBits() & 0xFF) << offset;
    }

    /// <summary>One-dimensional AAN transform over the vector index, for eight columns at once; its scale factors are in the quantisers.</summary>
    private static void Transform(
        ref Vector256<float> v0, ref Vector256<float> v1, ref Vector256<float> v2, ref Vector256<float> v3,
        ref Vector256<float> v4, ref Vector256<float> v5, ref Vector256<float> v6, ref Vector256<float> v7)
    {
        var t0 = v0 + v7; var t7 = v0 - v7;
        var t1 = v1 + v6; var t6 = v1 - v6;
        var t2 = v2 + v5; var t5 = v2 - v5;
        var t3 = v3 + v4; var t4 = v3 - v4;

        var e0 = t0 + t3; var e3 = t0 - t3;
        var e1 = t1 + t2; var e2 = t1 - t2;
        var turned = (e2 + e3) * 0.707106781f;
        v0 = e0 + e1; v4 = e0 - e1;
        v2 = e3 + turned; v6 = e3 - turned;

        var o0 = t4 + t5; var o1 = t5 + t6; var o2 = t6 + t7;
        var z5 = (o0 - o2) * 0.382683433f;
        var z2 = o0 * 0.541196100f + z5;
        var z4 = o2 * 1.306562965f + z5;
        var z3 = o1 * 0.707106781f;
        var z11 = t7 + z3; var z13 = t7 - z3;
        v5 = z13 + z2; v3 = z13 - z2;
        v1 = z11 + z4; v7 = z11 - z4;
    }

    private static void Transpose(
        ref Vector256<float> v0, ref Vector256<float> v1, ref Vector256<float> v2, ref Vector256<float> v3,
        ref Vector256<float> v4, ref Vector256<float> v5, ref Vector256<float> v6, ref Vector256<float> v7)
    {
        if (Avx.IsSupported)
        {
            var a0 = Avx.UnpackLow(v0, v1); var a1 = Avx.UnpackHigh(v0, v1);
            var a2 = Avx.UnpackLow(v2, v3); var a3 = Avx.UnpackHigh(v2, v3);
            var a4 = Avx.UnpackLow(v4, v5); var a5 = Avx.UnpackHigh(v4, v5);
            var a6 = Avx.UnpackLow(v6, v7); var a7 = Avx.UnpackHigh(v6, v7);
            var b0 = Avx.Shuffle(a0, a2, 0x44); var b1 = Avx.Shuffle(a0, a2, 0xEE);
            var b2 = Avx.Shuffle(a1, a3, 0x44); var b3 = Avx.Shuffle(a1, a3, 0xEE);
            var b4 = Avx.Shuffle(a4, a6, 0x44); var b5 = Avx.Shuffle(a4, a6, 0xEE);
            var b6 = Avx.Shuffle(a5, a7, 0x44); var b7 = Avx.Shuffle(a5, a7, 0xEE);
            v0 = Avx.Permute2x128(b0, b4, 0x20); v1 = Avx.Permute2x128(b1, b5, 0x20);
            v2 = Avx.Permute2x128(b2, b6, 0x20); v3 = Avx.Permute2x128(b3, b7, 0x20);
            v4 = Avx.Permute2x128(b0, b4, 0x31); v5 = Avx.Permute2x128(b1, b5, 0x31);
            v6 = Avx.Permute2x128(b2, b6, 0x31); v7 = Avx.Permute2x128(b3, b7, 0x31);
            return;
        }

        Span<float> square = stackalloc float[64];
        v0.CopyTo(square); v1.CopyTo(square[8..]); v2.CopyTo(square[16..]); v3.CopyTo(square[24..]);
        v4.CopyTo(square[32..]); v5.CopyTo(square[40..]); v6.CopyTo(square[48..]); v7.CopyTo(square[56..]);
        for (var row = 0; row < 8; row++)
        {
            for (var column = row + 1; column < 8; column++)
                (square[row * 8 + column], square[column * 8 + row]) = (square[column * 8 + row], square[row * 8 + column]);
        }

        v0 = Vector256.Create<float>(square); v1 = Vector256.Create<float>(square[8..]);
        v2 = Vector256.Create<float>(square[16..]); v3 = Vector256.Create<float>(square[24..]);
        v4 = Vector256.Create<float>(square[32..]); v5 = Vector256.Create<float>(square[40..]);
        v6 = Vector256.Create<float>(square[48..]); v7 = Vector256.Create<float>(square[56..]);
    }
}
