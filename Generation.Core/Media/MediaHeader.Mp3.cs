using System.Buffers.Binary;

namespace Generation.Core.Media;

/// <summary>An MP3 has no header: what is known of it is in its frames (ISO/IEC 11172-3 §2.4.1), or in a frame that encoders put first.</summary>
public readonly partial record struct MediaHeader
{
    private const int Mp3HeaderBytes = 4;

    // kbit/s of layer III by index; index 0 leaves it open and 15 is none.
    private static ReadOnlySpan<short> Mpeg1Rates => [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0];

    private static ReadOnlySpan<short> Mpeg2Rates => [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0];

    /// <summary>Of an MP3 of a constant bit rate that does not say how long it is.</summary>
    private double? BytesPerSecond { get; init; }

    /// <summary>Bytes before the first frame.</summary>
    private long LeadBytes { get; init; }

    /// <summary>The duration of a file with this header and of this length: what the header says, or what follows from its bit rate.</summary>
    public double? DurationOf(long bytes) => DurationSeconds ?? (BytesPerSecond is { } rate && bytes > LeadBytes ? (bytes - LeadBytes) / rate : null);

    private static MediaHeader ReadMp3(ReadOnlySpan<byte> start)
    {
        var at = 0L;
        if (start.StartsWith("ID3"u8))
        {
            if (start.Length < 10)
            {
                return Unfinished;
            }

            if (((start[6] | start[7] | start[8] | start[9]) & 0x80) != 0)
            {
                return Silent;
            }

            var hasFooter = (start[5] & 0x10) != 0;
            at = 10 + ((start[6] << 21) | (start[7] << 14) | (start[8] << 7) | start[9]) + (hasFooter ? 10 : 0);
        }

        if (at + Mp3HeaderBytes > start.Length)
        {
            return Unfinished;
        }

        var file = start[(int)at..];
        if (Mp3Frame.Read(file) is not { } frame)
        {
            return Silent;
        }

        if (file.Length < frame.Bytes + Mp3HeaderBytes)
        {
            return Unfinished;
        }

        if (FrameCount(file[..frame.Bytes], frame) is { } count)
        {
            return Silent with { DurationSeconds = count > 0 ? (double)count * frame.Samples / frame.SampleRate : null };
        }

        // Two frames of one rate are taken for a file of one rate; encoders of variable rates say the count in front.
        var isConstant = Mp3Frame.Read(file[frame.Bytes..]) is { } second && second.BitRate == frame.BitRate && second.SampleRate == frame.SampleRate;
        return isConstant ? Silent with { BytesPerSecond = frame.BitRate / 8.0, LeadBytes = at } : Silent;
    }

    /// <summary>The frames that the first one says will follow (tags of Xing, LAME and Fraunhofer); null when it says nothing.</summary>
    private static uint? FrameCount(ReadOnlySpan<byte> first, Mp3Frame frame)
    {
        var tag = first[Math.Min(first.Length, Mp3HeaderBytes + frame.SideBytes)..];
        if (tag.Length >= 12 && (tag.StartsWith("Xing"u8) || tag.StartsWith("Info"u8)) && (tag[7] & 1) != 0)
        {
            return BinaryPrimitives.ReadUInt32BigEndian(tag[8..]);
        }

        return first.Length >= 54 && first[36..].StartsWith("VBRI"u8) ? BinaryPrimitives.ReadUInt32BigEndian(first[50..]) : null;
    }

    /// <param name="Bytes">Its length with its header.</param>
    /// <param name="SideBytes">Between its header and its data, where the tags stand.</param>
    private readonly record struct Mp3Frame(int BitRate, int SampleRate, int Samples, int Bytes, int SideBytes)
    {
        public static Mp3Frame? Read(ReadOnlySpan<byte> bytes)
        {
            if (bytes.Length < Mp3HeaderBytes || bytes[0] != 0xFF || (bytes[1] & 0xE6) != 0xE2) // synchronisation, layer III
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
            return new Mp3Frame(bitRate, sampleRate, samples, (samples / 8 * bitRate / sampleRate) + ((bytes[2] >> 1) & 1), (isFirst, isMono) switch
            {
                (true, false) => 32,
                (false, true) => 9,
                _ => 17,
            });
        }
    }
}
