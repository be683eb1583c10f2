namespace Generation.Core.Media;

/// <summary>An OGG (RFC 3533): pages, of which the last of a stream says how many samples there are.</summary>
internal sealed class OggStructure : MediaStructure
{
    private const int MaxIdentificationBytes = 64;

    private uint? serial;
    private long samplesPerSecond;
    private long leadSamples;
    private long samples;

    private protected override double? DurationSeconds =>
        samplesPerSecond > 0 ? (double)(samples - leadSamples) / samplesPerSecond : null;

    private protected override IEnumerable<Step> Walk()
    {
        while (true)
        {
            yield return Read(27);
            if (!Is(0, "OggS"u8))
            {
                Completeness = Position > 27 ? MediaCompleteness.Whole : MediaCompleteness.Unknown; // something else behind it
                yield break;
            }

            Completeness = MediaCompleteness.Cut;
            var (isFirst, isLast, position, stream, segments) = ((U8(5) & 2) != 0, (U8(5) & 4) != 0, (long)LittleU64(6), LittleU32(14), U8(26));
            yield return Read(segments);
            var left = SumOf(Bytes);
            if (isFirst && serial is null)
            {
                var count = Math.Min(left, MaxIdentificationBytes);
                yield return Read(count);
                if (TryIdentify(count))
                {
                    serial = stream;
                }

                left -= count;
            }

            yield return Skip(left);
            if (stream == serial && position >= 0) // -1: no packet ends on this page
            {
                samples = Math.Max(samples, position);
            }

            Completeness = isLast ? MediaCompleteness.Whole : MediaCompleteness.Unknown; // not every writer marks the last page
        }
    }

    private static int SumOf(ReadOnlySpan<byte> lengths)
    {
        var sum = 0;
        foreach (var length in lengths)
        {
            sum += length;
        }

        return sum;
    }

    private bool TryIdentify(int bytes)
    {
        if (bytes >= 19 && Is(0, "OpusHead"u8))
        {
            (samplesPerSecond, leadSamples) = (48_000, LittleU16(10)); // whatever the rate of the input was
        }
        else if (bytes >= 16 && Is(0, "\u0001vorbis"u8))
        {
            samplesPerSecond = LittleU32(12);
        }
        else if (bytes >= 40 && Is(0, "Speex   "u8))
        {
            samplesPerSecond = LittleU32(36);
        }
        else if (bytes >= 31 && Is(0, "\u007FFLAC"u8))
        {
            samplesPerSecond = U32(27) >> 12; // behind 13 bytes of mapping, 4 of the block's header and 10 of its sizes
        }

        return samplesPerSecond > 0;
    }
}
