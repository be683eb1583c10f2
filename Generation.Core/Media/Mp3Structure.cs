namespace Generation.Core.Media;

/// <summary>
/// An MP3 has no header: what is known of it is in its frames (ISO/IEC 11172-3 §2.4.1), which are counted, or in a frame that encoders put
/// first. Tags with pictures may stand in front.
/// </summary>
internal sealed class Mp3Structure : MediaStructure
{
    private const int HeaderBytes = 4;

    /// <summary>Between a tag and the first frame there may be padding, but not more.</summary>
    private const int MaxPaddingBytes = 256 << 10;

    private long frames;
    private long? announced;
    private double counted;
    private double perFrame;

    // kbit/s of layer III by index; index 0 leaves it open and 15 is none.
    private static ReadOnlySpan<short> Mpeg1Rates => [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0];

    private static ReadOnlySpan<short> Mpeg2Rates => [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0];

    private protected override double? DurationSeconds => announced is { } all ? all * perFrame : counted;

    private protected override IEnumerable<Step> Walk()
    {
        var soundFrom = 0L;
        while (true)
        {
            // Without an announcement the end of a frame may be the end.
            Completeness = frames == 0 ? MediaCompleteness.Cut
                : announced is not { } all ? MediaCompleteness.Unknown
                : frames >= all - 1 ? MediaCompleteness.Whole : MediaCompleteness.Cut;
            yield return Read(HeaderBytes);
            if (Frame.Read(Bytes) is not { } frame)
            {
                if (frames > 0) // a tag at the end, or something else: it goes on, and is not cut
                {
                    Completeness = Completeness == MediaCompleteness.Whole ? MediaCompleteness.Whole : MediaCompleteness.Unknown;
                    yield break;
                }

                if (Is(0, "ID3"u8))
                {
                    yield return Read(6);
                    var hasFooter = (U8(1) & 0x10) != 0;
                    yield return Skip((U8(2) << 21) + (U8(3) << 14) + (U8(4) << 7) + U8(5) + (hasFooter ? 10 : 0));
                    soundFrom = Position;
                    continue;
                }

                if (Position - soundFrom > MaxPaddingBytes)
                {
                    Completeness = MediaCompleteness.Unknown;
                    yield break;
                }

                yield return Find(0xFF);
                continue;
            }

            if (announced is null)
            {
                Completeness = MediaCompleteness.Cut;
            }

            perFrame = frame.Samples / (double)frame.SampleRate;
            if (frames == 0)
            {
                yield return Read(frame.Bytes - HeaderBytes);
                announced = AnnouncedIn(Bytes, frame);
            }
            else
            {
                yield return Skip(frame.Bytes - HeaderBytes);
            }

            frames++;
            counted += perFrame;
        }
    }

    /// <summary>The frames that the first one says will follow (tags of Xing, LAME and Fraunhofer); null when it says nothing.</summary>
    private static long? AnnouncedIn(ReadOnlySpan<byte> first, Frame frame)
    {
        var tag = first[Math.Min(first.Length, frame.SideBytes)..];
        var count = tag.Length >= 12 && (tag.StartsWith("Xing"u8) || tag.StartsWith("Info"u8)) && (tag[7] & 1) != 0 ? CountAt(tag, 8)
            : first.Length >= 50 && first[32..].StartsWith("VBRI"u8) ? CountAt(first, 46) : 0;
        return count > 0 ? count : null;

        static long CountAt(ReadOnlySpan<byte> bytes, int at) => System.Buffers.Binary.BinaryPrimitives.ReadUInt32BigEndian(bytes[at..]);
    }

    /// <param name="Bytes">Its length with its header.</param>
    /// <param name="SideBytes">Between its header and its data, where the tags stand.</param>
    private readonly record struct Frame(int SampleRate, int Samples, int Bytes, int SideBytes)
    {
        public static Frame? Read(ReadOnlySpan<byte> bytes)
        {
            if (bytes.Length < HeaderBytes || bytes[0] != 0xFF || (bytes[1] & 0xE6) != 0xE2) // synchronisation, layer III
            {
                return null;
            }

            var (version, rate, sampling) = ((bytes[1] >> 3) & 3, bytes[2] >> 4, (bytes[2] >> 2) & 3);
            var isFirst = version == 3;
            var bitRate = (isFirst ? Mpeg1Rates : Mpeg2Rates)[rate] * 1000;
            if (version == 1 || bitRate == 0 || sampling == 3)
            {
                return null;
            }

            var sampleRate = (sampling == 0 ? 44_100 : sampling == 1 ? 48_000 : 32_000) >> (isFirst ? 0 : version == 2 ? 1 : 2);
            var (samples, isMono) = (isFirst ? 1152 : 576, bytes[3] >> 6 == 3);
            return new Frame(sampleRate, samples, (samples / 8 * bitRate / sampleRate) + ((bytes[2] >> 1) & 1), (isFirst, isMono) switch
            {
                (true, false) => 32,
                (false, true) => 9,
                _ => 17,
            });
        }
    }
}
