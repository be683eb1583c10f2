using System.Buffers.Binary;
using System.Text;

namespace Generation.ProviderSim.Films;

/// <summary>The boxes of an MP4 with one video track (ISO/IEC 14496-12 and -15), the table of contents before the frames.</summary>
/// <param name="width">In which it is to be shown, pixels.</param>
/// <param name="height">In which it is to be shown, pixels.</param>
/// <param name="encoder">Made the frames, the first of them a still.</param>
/// <param name="sampleBytes">Length of each frame.</param>
internal sealed class Mp4File(int width, int height, H264Encoder encoder, IReadOnlyList<int> sampleBytes)
{
    private const int Timescale = Film.FramesPerSecond * 512;
    private const int FrameTicks = 512;

    private static readonly byte[] Matrix =
        [.. Numbers(0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)];

    /// <summary>Everything before the frames.</summary>
    /// <param name="dataBytes">The frames and the data behind them.</param>
    public byte[] Head(long dataBytes)
    {
        var type = Box("ftyp", "isom"u8.ToArray(), Numbers(0x200), "isomiso2avc1mp41"u8.ToArray());
        var size = type.Length + Movie(0).Length + 16;
        var data = new byte[16];
        BinaryPrimitives.WriteUInt32BigEndian(data, 1); // the length follows in 64 bits
        "mdat"u8.CopyTo(data.AsSpan(4));
        BinaryPrimitives.WriteInt64BigEndian(data.AsSpan(8), dataBytes + 16);
        return [.. type, .. Movie(size), .. data];
    }

    private byte[] Movie(int dataStart)
    {
        var ticks = sampleBytes.Count * FrameTicks;
        var (sequence, picture) = (encoder.SequenceParameters(), H264Encoder.PictureParameters());
        byte[] configuration =
        [
            1, sequence[1], sequence[2], sequence[3], 0xFF, 0xE1, (byte)(sequence.Length >> 8), (byte)sequence.Length, .. sequence,
            1, (byte)(picture.Length >> 8), (byte)picture.Length, .. picture,
        ];
        var entry = Box("avc1",
            new byte[6], Shorts(1), new byte[16], Shorts(encoder.Width, encoder.Height), Numbers(72 << 16, 72 << 16, 0), Shorts(1), new byte[32],
            Shorts(24, -1), Box("avcC", configuration), Box("pasp", Numbers(width * encoder.Height, height * encoder.Width)));
        var table = Box("stbl",
            Box("stsd", Numbers(0, 1), entry),
            Box("stts", Numbers(0, 1, sampleBytes.Count, FrameTicks)),
            Box("stss", Numbers(0, 1, 1)),
            Box("stsc", Numbers(0, 1, 1, sampleBytes.Count, 1)),
            Box("stsz", Numbers(0, 0, sampleBytes.Count), Numbers([.. sampleBytes])),
            Box("stco", Numbers(0, 1, dataStart)));
        var media = Box("mdia",
            Box("mdhd", Numbers(0, 0, 0, Timescale, ticks), Shorts(0x55C4, 0)), // language: undetermined
            Box("hdlr", Numbers(0, 0), "vide"u8.ToArray(), new byte[13]),
            Box("minf",
                Box("vmhd", Numbers(1, 0, 0)),
                Box("dinf", Box("dref", Numbers(0, 1), Box("url ", Numbers(1)))),
                table));
        var track = Box("trak",
            Box("tkhd", Numbers(3, 0, 0, 1, 0, ticks, 0, 0, 0, 0), Matrix, Numbers(width << 16, height << 16)),
            media);
        return Box("moov",
            Box("mvhd", Numbers(0, 0, 0, Timescale, ticks, 0x10000, 0x01000000, 0, 0), Matrix, new byte[24], Numbers(2)),
            track);
    }

    private static byte[] Box(string name, params byte[][] parts) =>
        [.. Numbers(8 + parts.Sum(part => part.Length)), .. Encoding.ASCII.GetBytes(name), .. parts.SelectMany(part => part)];

    private static byte[] Numbers(params int[] values) =>
        [.. values.SelectMany(value => new[] { (byte)(value >> 24), (byte)(value >> 16), (byte)(value >> 8), (byte)value })];

    private static byte[] Shorts(params int[] values) => [.. values.SelectMany(value => new[] { (byte)(value >> 8), (byte)value })];
}
