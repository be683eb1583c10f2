namespace Generation.Core.Media;

/// <summary>AAC in an ADTS stream (ISO/IEC 13818-7): frames that say how long they are.</summary>
internal sealed class AdtsStructure : MediaStructure
{
    private const int HeaderBytes = 7;
    private const int SamplesPerBlock = 1024;

    private double counted;

    private static ReadOnlySpan<int> SampleRates =>
        [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

    private protected override double? DurationSeconds => counted;

    private protected override IEnumerable<Step> Walk()
    {
        while (true)
        {
            yield return Read(HeaderBytes);
            var (rate, length) = ((U8(2) >> 2) & 0xF, ((U8(3) & 3) << 11) | (U8(4) << 3) | (U8(5) >> 5));
            if (U8(0) != 0xFF || (U8(1) & 0xF6) != 0xF0 || rate >= SampleRates.Length || length < HeaderBytes)
            {
                Completeness = MediaCompleteness.Unknown; // a tag at the end, or something else
                yield break;
            }

            var seconds = SamplesPerBlock * ((U8(6) & 3) + 1) / (double)SampleRates[rate];
            Completeness = MediaCompleteness.Cut;
            yield return Skip(length - HeaderBytes);
            counted += seconds;
            Completeness = MediaCompleteness.Unknown; // nothing says how many frames there are
        }
    }
}
