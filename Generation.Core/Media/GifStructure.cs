namespace Generation.Core.Media;

/// <summary>A GIF: a screen, then blocks of sub-blocks, then a trailer.</summary>
internal sealed class GifStructure : MediaStructure
{
    private protected override IEnumerable<Step> Walk()
    {
        yield return Read(13);
        (Width, Height) = (LittleU16(6), LittleU16(8));
        yield return Skip(TableBytes(U8(10)));
        while (true)
        {
            yield return Read(1);
            Completeness = MediaCompleteness.Cut;
            switch (U8(0))
            {
                case 0x21: // an extension: a label
                    yield return Skip(1);
                    break;
                case 0x2C: // a picture: its place, and where its data begins
                    yield return Read(9);
                    yield return Skip(TableBytes(U8(8)) + 1);
                    break;
                case 0x3B:
                    Completeness = MediaCompleteness.Whole;
                    yield break;
                default:
                    Completeness = MediaCompleteness.Unknown;
                    yield break;
            }

            do
            {
                yield return Read(1);
                yield return Skip(U8(0));
            }
            while (U8(0) > 0);
            Completeness = MediaCompleteness.Unknown; // players show a file without a trailer
        }
    }

    private static int TableBytes(byte flags) => (flags & 0x80) == 0 ? 0 : 3 << ((flags & 7) + 1);
}
