namespace Generation.Core.Media;

/// <summary>A RIFF file: a WebP, or a WAV (also RF64, whose lengths have 64 bits).</summary>
internal sealed class RiffStructure : MediaStructure
{
    /// <summary>A writer that streams leaves a length at its maximum, or near it.</summary>
    private const uint UnknownFrom = 0x7FFF_F000;

    private long bytesPerSecond;
    private long dataFrom = -1;
    private long? dataBytes;

    private protected override double? DurationSeconds =>
        bytesPerSecond > 0 && dataFrom >= 0 ? (double)(dataBytes ?? Position - dataFrom) / bytesPerSecond : null;

    private protected override IEnumerable<Step> Walk()
    {
        yield return Read(12);
        var end = 8L + LittleU32(4);
        foreach (var step in Is(8, "WEBP"u8) ? Picture(end) : Sound())
        {
            yield return step;
        }
    }

    private IEnumerable<Step> Picture(long end)
    {
        yield return Read(18); // the first chunk's name and length, and what it begins with
        if (Is(0, "VP8X"u8))
        {
            (Width, Height) = (1 + U24(12), 1 + U24(15));
        }
        else if (Is(0, "VP8L"u8) && U8(8) == 0x2F)
        {
            var bits = LittleU32(9);
            (Width, Height) = (1 + (bits & 0x3FFF), 1 + ((bits >> 14) & 0x3FFF));
        }
        else if (Is(0, "VP8 "u8) && Is(11, [0x9D, 0x01, 0x2A]))
        {
            (Width, Height) = (LittleU16(14) & 0x3FFF, LittleU16(16) & 0x3FFF);
        }

        yield return Skip(end - Position);
        Completeness = Position == end ? MediaCompleteness.Whole : MediaCompleteness.Unknown;
    }

    private IEnumerable<Step> Sound()
    {
        ulong? longData = null;
        while (true)
        {
            yield return Read(8);
            var (name, length) = (Name(0), (long)LittleU32(4));
            switch (name)
            {
                case "ds64" when length >= 24:
                    yield return Read(24);
                    longData = LittleU64(8);
                    yield return Skip(length - 24);
                    break;
                case "fmt " when length >= 16:
                    yield return Read(16);
                    bytesPerSecond = LittleU32(8);
                    yield return Skip(length - 16 + (length & 1));
                    break;
                case "data":
                    dataFrom = Position;
                    if (longData is > 0 and < long.MaxValue && length == uint.MaxValue)
                    {
                        length = (long)longData.Value;
                    }
                    else if (length is 0 or >= UnknownFrom)
                    {
                        Completeness = MediaCompleteness.Unknown;
                        yield return Skip(long.MaxValue); // counted: how long it is follows from how much comes
                        yield break;
                    }

                    dataBytes = length;
                    yield return Skip(length);
                    Completeness = MediaCompleteness.Whole;
                    yield break;
                default:
                    if (!IsName(0))
                    {
                        Completeness = MediaCompleteness.Unknown;
                        yield break;
                    }

                    yield return Skip(length + (length & 1));
                    break;
            }
        }
    }

    private long U24(int at) => LittleU16(at) | (U8(at + 2) << 16);
}
