namespace Generation.Core.Media;

/// <summary>
/// A FLAC (RFC 9639). Its head says how many samples there are; frames do not say how long they are, but each has a number and a checksum
/// in its header, so that the last frame that is there shows how far the file reaches.
/// </summary>
internal sealed class FlacStructure : MediaStructure
{
    private readonly byte[] frame = new byte[16];
    private int frameBytes;
    private long samplesPerSecond;
    private long announced;
    private long blockSamples;
    private long reached;

    private protected override double? DurationSeconds =>
        samplesPerSecond > 0 ? (double)(announced > 0 ? announced : reached) / samplesPerSecond : null;

    private protected override IEnumerable<Step> Walk()
    {
        yield return Read(4);
        for (var isLast = false; !isLast;)
        {
            yield return Read(4);
            isLast = (U8(0) & 0x80) != 0;
            var (type, length) = (U8(0) & 0x7F, (int)(U32(0) & 0xFF_FFFF));
            if (type == 0 && length >= 34)
            {
                yield return Read(34);
                blockSamples = U16(2);
                samplesPerSecond = U32(10) >> 12;
                announced = ((long)(U8(13) & 0xF) << 32) | U32(14);
                length -= 34;
            }

            yield return Skip(length);
        }

        // A block more or less: the header of the last may stand where another seemed to begin.
        while (reached == 0 || reached < announced - blockSamples || announced == 0)
        {
            Completeness = announced == 0 && reached > 0 ? MediaCompleteness.Unknown : MediaCompleteness.Cut;
            yield return Find(0xFF);
            yield return Read(1);
            do
            {
                yield return Read(1);
            }
            while (U8(0) == 0xFF);

            if ((U8(0) & 0xFE) != 0xF8)
            {
                continue;
            }

            (frame[0], frame[1]) = (0xFF, U8(0));
            yield return Read(3);
            Bytes.CopyTo(frame.AsSpan(2));
            frameBytes = 5;
            for (var more = MoreBytes(); more > 0 && frameBytes + more <= frame.Length; more = 0)
            {
                yield return Read(more);
                Bytes.CopyTo(frame.AsSpan(frameBytes));
                frameBytes += more;
            }

            TakeFrame();
        }

        Completeness = MediaCompleteness.Whole;
    }

    /// <summary>Of the header, behind its fifth byte: the rest of the number, what the codes leave open, the checksum.</summary>
    private int MoreBytes() => NumberBytes() - 1 + (frame[2] >> 4) switch { 6 => 1, 7 => 2, _ => 0 } + (frame[2] & 0xF) switch
    {
        12 => 1,
        13 or 14 => 2,
        _ => 0,
    } + 1;

    /// <summary>Numbers are written as UTF-8 writes characters, up to 36 bits.</summary>
    private int NumberBytes() => frame[4] switch
    {
        < 0x80 => 1,
        < 0xE0 => 2,
        < 0xF0 => 3,
        < 0xF8 => 4,
        < 0xFC => 5,
        < 0xFE => 6,
        _ => 7,
    };

    private void TakeFrame()
    {
        if ((frame[3] & 1) != 0 || (frame[2] >> 4) == 0 || Crc8(frame.AsSpan(0, frameBytes - 1)) != frame[frameBytes - 1])
        {
            return; // no frame: these bits come in the data, too
        }

        var bytes = NumberBytes();
        long number = bytes == 1 ? frame[4] : frame[4] & (0x7F >> bytes);
        for (var i = 1; i < bytes; i++)
        {
            number = (number << 6) | (uint)(frame[4 + i] & 0x3F);
        }

        var samples = (frame[2] >> 4) switch
        {
            1 => 192,
            6 => frame[4 + bytes] + 1,
            7 => (frame[4 + bytes] << 8) + frame[5 + bytes] + 1,
            < 6 and var code => 144L << code,
            var code => 1L << code,
        };
        var isVariable = (frame[1] & 1) != 0;
        var end = (isVariable ? number : number * blockSamples) + samples;
        if (announced == 0 || end <= announced + blockSamples)
        {
            reached = Math.Max(reached, end);
        }
    }

    private static byte Crc8(ReadOnlySpan<byte> bytes)
    {
        var crc = 0;
        foreach (var next in bytes)
        {
            crc ^= next;
            for (var bit = 0; bit < 8; bit++)
            {
                crc = (crc & 0x80) != 0 ? ((crc << 1) ^ 0x07) & 0xFF : crc << 1;
            }
        }

        return (byte)crc;
    }
}
