using System.Buffers.Binary;

namespace Generation.ProviderSim.Sounds;

/// <summary>
/// Writes MPEG-1 Layer III, 44.1 kHz, mono, 128 kbit/s, without an analysis of any sound: each granule (576 samples, 13 ms) is given as the
/// few of its 576 spectral lines that are not silent. That is all a melody needs, and every player plays it. The first frame is an "Info"
/// header, from which a reader knows the length.
/// </summary>
internal sealed class Mp3Writer
{
    public const int SampleRate = 44_100;
    public const int GranuleSamples = 576;

    private const int BitRate = 128_000;
    private const int SideInfoBytes = 17;
    private const int HeaderBytes = 4;

    /// <summary>A value of a pair is -1, 0 or 1: Huffman table 1 has codes for that, by the absolute values of both.</summary>
    private static readonly (uint Code, int Bits)[] Table1 = [(1, 1), (1, 3), (1, 2), (0, 3)];

    private readonly MemoryStream frames = new();
    private readonly List<Granule> waiting = [];
    private long sizeError;

    /// <param name="Loudness">0…255 in steps of 1.5 dB; about 205 is loud, 150 is not to be heard.</param>
    /// <param name="Lines">Which lines sound, ascending, and whether with a negative sign. Line n is (n + ½) × 38.28 Hz.</param>
    internal sealed record Granule(int Loudness, IReadOnlyList<(int Line, bool IsNegative)> Lines);

    public int Frames { get; private set; }

    public void Add(Granule granule)
    {
        waiting.Add(granule);
        if (waiting.Count < 2)
        {
            return;
        }

        WriteFrame(waiting[0], waiting[1]);
        waiting.Clear();
    }

    /// <summary>The whole file; an odd granule at the end gets a silent one beside it.</summary>
    public byte[] Finish()
    {
        if (waiting.Count == 1)
        {
            Add(new Granule(0, []));
        }

        var bytes = frames.ToArray();
        return [.. Info(bytes.Length), .. bytes];
    }

    private void WriteFrame(Granule first, Granule second)
    {
        var (firstData, firstBits, firstPairs) = Code(first);
        var (secondData, secondBits, secondPairs) = Code(second);
        var (size, isPadded) = NextSize();
        var bits = new BitWriter(size);
        bits.Write(0xFFFB_90C4 | (isPadded ? 1u << 9 : 0), 32);
        bits.Write(0, 9 + 5 + 4); // the data begin in this frame; private bits; scale factors are not shared
        WriteSide(bits, first, firstBits, firstPairs);
        WriteSide(bits, second, secondBits, secondPairs);
        foreach (var (code, length) in firstData.Concat(secondData))
        {
            bits.Write(code, length);
        }

        frames.Write(bits.Bytes); // what is left of the frame says nothing
        Frames++;
    }

    private static void WriteSide(BitWriter bits, Granule granule, int dataBits, int pairs)
    {
        bits.Write((uint)dataBits, 12);
        bits.Write((uint)pairs, 9);
        bits.Write((uint)granule.Loudness, 8);
        bits.Write(0, 4 + 1); // no scale factors, a long window
        for (var region = 0; region < 3; region++)
        {
            bits.Write(1, 5); // table 1
        }

        bits.Write(7, 4);
        bits.Write(7, 3);
        bits.Write(0, 3);
    }

    private static (List<(uint Code, int Bits)> Data, int Bits, int Pairs) Code(Granule granule)
    {
        var data = new List<(uint, int)>();
        var pairs = granule.Lines.Count == 0 ? 0 : granule.Lines[^1].Line / 2 + 1;
        for (var pair = 0; pair < pairs; pair++)
        {
            var low = granule.Lines.Where(line => line.Line == pair * 2).ToList();
            var high = granule.Lines.Where(line => line.Line == pair * 2 + 1).ToList();
            data.Add(Table1[low.Count * 2 + high.Count]);
            data.AddRange(low.Concat(high).Select(line => (line.IsNegative ? 1u : 0u, 1)));
        }

        return (data, data.Sum(entry => entry.Item2), pairs);
    }

    /// <summary>417 bytes, or 418 so that the mean is 417.96.</summary>
    private (int Bytes, bool IsPadded) NextSize()
    {
        const int Whole = 144 * BitRate / SampleRate;
        sizeError += 144L * BitRate % SampleRate;
        if (sizeError < SampleRate)
        {
            return (Whole, false);
        }

        sizeError -= SampleRate;
        return (Whole + 1, true);
    }

    private byte[] Info(int bytes)
    {
        var info = new byte[144 * BitRate / SampleRate];
        BinaryPrimitives.WriteUInt32BigEndian(info, 0xFFFB_90C4);
        var tag = info.AsSpan(HeaderBytes + SideInfoBytes);
        "Info"u8.CopyTo(tag);
        BinaryPrimitives.WriteInt32BigEndian(tag[4..], 3); // frames and bytes follow
        BinaryPrimitives.WriteInt32BigEndian(tag[8..], Frames);
        BinaryPrimitives.WriteInt32BigEndian(tag[12..], bytes + info.Length);
        return info;
    }

    private sealed class BitWriter(int size)
    {
        private int at;

        public byte[] Bytes { get; } = new byte[size];

        public void Write(uint value, int bits)
        {
            for (var bit = bits - 1; bit >= 0; bit--, at++)
            {
                if ((value >> bit & 1) == 1)
                {
                    Bytes[at >> 3] |= (byte)(0x80 >> (at & 7));
                }
            }
        }
    }
}
