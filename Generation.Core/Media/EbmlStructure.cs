using System.Buffers.Binary;
using System.Numerics;

namespace Generation.Core.Media;

/// <summary>
/// A WebM (EBML, RFC 8794; Matroska, RFC 9559). A recording that was streamed has segments and clusters of unknown length, and no duration:
/// then it is as long as the last block says.
/// </summary>
internal sealed class EbmlStructure : MediaStructure
{
    private const uint Segment = 0x18538067, Info = 0x1549A966, Tracks = 0x1654AE6B, TrackEntry = 0xAE, Video = 0xE0, Cluster = 0x1F43B675,
        BlockGroup = 0xA0;

    private const uint TimestampScale = 0x2AD7B1, Duration = 0x4489, PixelWidth = 0xB0, PixelHeight = 0xBA, Timestamp = 0xE7, SimpleBlock = 0xA3,
        Block = 0xA1;

    private const long Unknown = long.MaxValue;
    private const int MaxDepth = 8;
    private const double NanosecondsPerSecond = 1e9;

    private readonly Stack<(uint Id, long End)> open = new();
    private double scale = 1_000_000;
    private double duration;
    private double clusterAt;
    private double lastAt;

    private protected override double? DurationSeconds => (duration > 0 ? duration : lastAt) * scale / NanosecondsPerSecond;

    private protected override IEnumerable<Step> Walk()
    {
        var hasCluster = false;
        while (true)
        {
            while (open.TryPeek(out var inside) && Position >= inside.End)
            {
                open.Pop();
            }

            // Where nothing says how long it is, the end of an element may be the end.
            Completeness = !hasCluster || open.Any(element => element.End != Unknown) ? MediaCompleteness.Cut
                : open.Count == 0 ? MediaCompleteness.Whole : MediaCompleteness.Unknown;
            yield return Read(1);
            Completeness = open.Count == 0 && hasCluster ? MediaCompleteness.Whole : MediaCompleteness.Cut;
            var idBytes = BitOperations.LeadingZeroCount((uint)U8(0)) - 23;
            uint id = U8(0);
            if (idBytes > 4)
            {
                Completeness = MediaCompleteness.Unknown;
                yield break;
            }

            yield return Read(idBytes - 1);
            id = Append(id, Bytes);
            yield return Read(1);
            var sizeBytes = BitOperations.LeadingZeroCount((uint)U8(0)) - 23;
            if (sizeBytes > 8)
            {
                Completeness = MediaCompleteness.Unknown;
                yield break;
            }

            var first = U8(0) & (0xFF >> sizeBytes);
            yield return Read(sizeBytes - 1);
            var size = SizeOf(first, Bytes);
            if (size == Unknown && id is not (Segment or Cluster))
            {
                Completeness = MediaCompleteness.Unknown;
                yield break;
            }

            if (id is Cluster or Info or Tracks or (> 0x10000000 and not Segment)) // of the segment: what was open in it has ended
            {
                while (open.TryPeek(out var inside) && inside.Id != Segment && inside.End == Unknown)
                {
                    open.Pop();
                }
            }

            hasCluster |= id == Cluster;
            if (id is Segment or Info or Tracks or TrackEntry or Video or Cluster or BlockGroup && open.Count < MaxDepth)
            {
                open.Push((id, size == Unknown ? Unknown : Position + size));
                continue;
            }

            var wanted = id is TimestampScale or Duration or PixelWidth or PixelHeight or Timestamp && size <= 8 ? size
                : id is SimpleBlock or Block ? Math.Min(size, 12) : 0;
            if (wanted > 0)
            {
                yield return Read(wanted);
                Take(id, Bytes);
            }

            yield return Skip(size - wanted);
        }
    }

    private static uint Append(uint id, ReadOnlySpan<byte> bytes)
    {
        foreach (var next in bytes)
        {
            id = (id << 8) | next;
        }

        return id;
    }

    private static long SizeOf(int first, ReadOnlySpan<byte> bytes)
    {
        var size = (ulong)first;
        var isUnknown = first == 0x7F >> bytes.Length;
        foreach (var next in bytes)
        {
            size = (size << 8) | next;
            isUnknown &= next == 0xFF;
        }

        return isUnknown ? Unknown : (long)size;
    }

    private void Take(uint id, ReadOnlySpan<byte> value)
    {
        switch (id)
        {
            case TimestampScale:
                scale = Number(value) is > 0 and var known ? known : scale;
                break;
            case Duration:
                duration = value.Length == 8 ? BinaryPrimitives.ReadDoubleBigEndian(value)
                    : value.Length == 4 ? BinaryPrimitives.ReadSingleBigEndian(value) : 0;
                break;
            case PixelWidth when Width == 0:
                Width = (long)Math.Min(Number(value), int.MaxValue);
                break;
            case PixelHeight when Height == 0:
                Height = (long)Math.Min(Number(value), int.MaxValue);
                break;
            case Timestamp:
                clusterAt = Number(value);
                lastAt = Math.Max(lastAt, clusterAt);
                break;
            case SimpleBlock or Block:
                var track = BitOperations.LeadingZeroCount((uint)value[0]) - 23;
                if (value.Length >= track + 2 && track <= 8)
                {
                    lastAt = Math.Max(lastAt, clusterAt + BinaryPrimitives.ReadInt16BigEndian(value[track..]));
                }

                break;
        }
    }

    private static double Number(ReadOnlySpan<byte> bytes)
    {
        double number = 0;
        foreach (var next in bytes)
        {
            number = (number * 256) + next;
        }

        return number;
    }
}
