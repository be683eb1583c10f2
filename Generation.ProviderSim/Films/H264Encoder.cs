namespace Generation.ProviderSim.Films;

/// <summary>
/// As much of H.264 (ITU-T H.264, constrained baseline) as a moving camera needs: blocks of raw samples (I_PCM), blocks that are where
/// they were, and blocks that are a little beside where they were. No transform, no filter, so a frame is exactly what it says.
/// </summary>
/// <param name="width">Pixels, a multiple of 16.</param>
/// <param name="height">Pixels, a multiple of 16.</param>
internal sealed class H264Encoder(int width, int height)
{
    private const int IPcmInIntraSlice = 25;
    private const int IPcmInPredictedSlice = 30;
    private const int FrameNumberBits = 8;

    private readonly int columns = width / 16;
    private readonly int rows = height / 16;
    private int frameNumber;

    public int Width => width;

    public int Height => height;

    /// <summary>Sequence parameters, without start code or length.</summary>
    public byte[] SequenceParameters()
    {
        var bits = new BitWriter();
        bits.Bits(0x67, 8);
        bits.Bits(66, 8); // baseline
        bits.Bits(0xC0, 8); // and constrained
        bits.Bits(30, 8); // level 3
        bits.Unsigned(0);
        bits.Unsigned(FrameNumberBits - 4);
        bits.Unsigned(2); // frames are shown in the order in which they come
        bits.Unsigned(1); // one reference frame
        bits.Bits(0, 1);
        bits.Unsigned(columns - 1);
        bits.Unsigned(rows - 1);
        bits.Bits(0b1100, 4); // frames, not fields; 8x8 inference; no cropping; no usability information
        return bits.Unit();
    }

    /// <summary>Picture parameters, without start code or length.</summary>
    public static byte[] PictureParameters()
    {
        var bits = new BitWriter();
        bits.Bits(0x68, 8);
        bits.Unsigned(0);
        bits.Unsigned(0);
        bits.Bits(0, 2); // CAVLC; no field order
        bits.Unsigned(0);
        bits.Unsigned(0);
        bits.Unsigned(0);
        bits.Bits(0, 3); // no weighted prediction
        bits.Signed(0);
        bits.Signed(0);
        bits.Signed(0);
        bits.Bits(0b100, 3); // each slice says how it is filtered
        return bits.Unit();
    }

    /// <summary>A frame of raw samples, with which a film can begin; as a sample of an MP4, as all frames.</summary>
    public byte[] Still(PlanarPicture picture, int left)
    {
        frameNumber = 0;
        var bits = Slice(isStill: true);
        for (var block = 0; block < columns * rows; block++)
        {
            bits.Unsigned(IPcmInIntraSlice);
            Raw(bits, picture, left + block % columns * 16, block / columns * 16);
        }

        return bits.Sample();
    }

    /// <summary>The frame before, once more.</summary>
    public byte[] Same()
    {
        var bits = Slice(isStill: false);
        bits.Unsigned(columns * rows); // every block is skipped
        return bits.Sample();
    }

    /// <summary>The frame before, moved to the left by a few pixels; the last column of blocks comes from the picture.</summary>
    public byte[] Moved(PlanarPicture picture, int left, int byPixels)
    {
        var bits = Slice(isStill: false);
        for (var row = 0; row < rows; row++)
        {
            var skipped = 0;
            for (var column = 0; column < columns; column++)
            {
                if (column == columns - 1)
                {
                    bits.Unsigned(skipped);
                    bits.Unsigned(IPcmInPredictedSlice);
                    Raw(bits, picture, left + column * 16, row * 16);
                }
                else if (column > 0 && row > 0)
                {
                    skipped++; // moves as its neighbours do, which is what a skipped block does
                }
                else
                {
                    // At the upper and left edges a skipped block would stand still, so these say how they move: the first by itself,
                    // the others as predicted from their neighbour.
                    bits.Unsigned(0);
                    bits.Unsigned(0); // one vector for the block
                    bits.Signed(column == 0 && row == 0 ? byPixels * 4 : 0);
                    bits.Signed(0);
                    bits.Unsigned(0); // nothing is added to the prediction
                }
            }
        }

        return bits.Sample();
    }

    private BitWriter Slice(bool isStill)
    {
        var bits = new BitWriter();
        bits.Bits(isStill ? 0x65 : 0x41, 8);
        bits.Unsigned(0);
        bits.Unsigned(isStill ? 7 : 5); // all slices of the frame are of this type
        bits.Unsigned(0);
        bits.Bits(frameNumber, FrameNumberBits);
        frameNumber = (frameNumber + 1) % (1 << FrameNumberBits);
        if (isStill)
        {
            bits.Unsigned(0);
            bits.Bits(0, 2); // an ordinary reference
        }
        else
        {
            bits.Bits(0, 3); // one reference, in its usual place, and the oldest makes room
        }

        bits.Signed(0);
        bits.Unsigned(1); // no filter: what was copied stays what it was
        return bits;
    }

    private static void Raw(BitWriter bits, PlanarPicture picture, int left, int top)
    {
        bits.Align();
        Plane(picture.Luma, picture.PaddedWidth, left, top, 16);
        Plane(picture.Blue, picture.PaddedWidth / 2, left / 2, top / 2, 8);
        Plane(picture.Red, picture.PaddedWidth / 2, left / 2, top / 2, 8);

        void Plane(byte[] samples, int stride, int x, int y, int side)
        {
            for (var row = 0; row < side; row++)
            {
                bits.Bytes(samples.AsSpan((y + row) * stride + x, side));
            }
        }
    }

    /// <summary>Bits, most significant first, with the codes of clause 9.1.</summary>
    private sealed class BitWriter
    {
        private readonly List<byte> bytes = [];
        private int current, used;

        public void Bits(int value, int count)
        {
            for (var bit = count - 1; bit >= 0; bit--)
            {
                current = current << 1 | (value >> bit & 1);
                if (++used < 8)
                {
                    continue;
                }

                bytes.Add((byte)current);
                (current, used) = (0, 0);
            }
        }

        public void Unsigned(int value)
        {
            var length = 32 - int.LeadingZeroCount(value + 1);
            Bits(0, length - 1);
            Bits(value + 1, length);
        }

        public void Signed(int value) => Unsigned(value > 0 ? 2 * value - 1 : -2 * value);

        public void Align()
        {
            while (used > 0)
            {
                Bits(0, 1);
            }
        }

        /// <summary>Whole bytes; the writer must be aligned.</summary>
        public void Bytes(ReadOnlySpan<byte> more) => bytes.AddRange(more);

        /// <summary>The unit with its end, and with a 3 in it wherever it would look like the start of another.</summary>
        public byte[] Unit()
        {
            Bits(1, 1);
            Align();
            var unit = new List<byte>(bytes.Count + 16);
            var zeros = 0;
            foreach (var next in bytes)
            {
                if (zeros >= 2 && next <= 3)
                {
                    unit.Add(3);
                    zeros = 0;
                }

                unit.Add(next);
                zeros = next == 0 ? zeros + 1 : 0;
            }

            return [.. unit];
        }

        /// <summary>The unit with its length before it, as an MP4 has it.</summary>
        public byte[] Sample()
        {
            var unit = Unit();
            return [(byte)(unit.Length >> 24), (byte)(unit.Length >> 16), (byte)(unit.Length >> 8), (byte)unit.Length, .. unit];
        }
    }
}
