namespace Generation.Core.Media;

/// <summary>
/// A JPEG: segments (Exif, C2PA and colour profiles may take hundreds of KiB), frame, scans, up to the end marker. Thumbnails are inside of
/// segments and are skipped with them. Strict, its scans must be long enough for the pixels that it claims.
/// </summary>
internal sealed class JpegStructure(bool isStrict) : MediaStructure
{
    private protected override IEnumerable<Step> Walk()
    {
        var (scansFrom, isHuffman) = (0L, false);
        yield return Read(2);
        while (true)
        {
            yield return Find(0xFF);
            yield return Read(1);
            do
            {
                yield return Read(1); // behind any number of 0xFF
            }
            while (U8(0) == 0xFF);

            var marker = U8(0);
            if (marker is 0x00 or 0x01 or (>= 0xD0 and <= 0xD8)) // inside of a scan, or without a length
            {
                continue;
            }

            if (marker == 0xD9)
            {
                // No picture has less than a bit for a block of 8x8 pixels.
                var blocks = ((Width + 7) / 8) * ((Height + 7) / 8);
                var isEmpty = isStrict && (scansFrom == 0 || (isHuffman && (Position - scansFrom) * 8 < blocks));
                Completeness = isEmpty ? MediaCompleteness.Cut : scansFrom > 0 ? MediaCompleteness.Whole : MediaCompleteness.Unknown;
                yield break;
            }

            yield return Read(2);
            var length = U16(0) - 2;
            if (length < 0)
            {
                Completeness = MediaCompleteness.Unknown;
                yield break;
            }

            if (marker is >= 0xC0 and <= 0xCF and not (0xC4 or 0xC8 or 0xCC) && length >= 5)
            {
                yield return Read(5);
                (Width, Height) = (U16(3), U16(1));
                isHuffman = marker is 0xC0 or 0xC1 or 0xC2;
                length -= 5;
            }

            yield return Skip(length);
            if (marker == 0xDA && scansFrom == 0)
            {
                scansFrom = Position;
            }
        }
    }
}
