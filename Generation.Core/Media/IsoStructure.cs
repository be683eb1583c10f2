using System.Buffers.Binary;

namespace Generation.Core.Media;

/// <summary>
/// An ISO base media file (ISO/IEC 14496-12): MP4, QuickTime, M4A, AVIF. Boxes may have 64-bit lengths and come in any order: an index at
/// the end is read when it comes, and a file in fragments is as long as its fragments say.
/// </summary>
internal sealed class IsoStructure : MediaStructure
{
    private const int MaxDepth = 12;
    private const int MaxTracks = 64;
    private const int MaxLeafBytes = 16 << 10;

    private readonly Stack<(string Name, long End)> open = new();
    private readonly Dictionary<uint, Track> tracks = [];
    private Track track = new();
    private (long Width, long Height) size; // of the largest so far
    private double? duration;
    private double ticksPerSecond;
    private bool hasIndex;
    private bool hasData;
    private bool isOpenEnded; // the last box does not say how long it is

    private protected override double? DurationSeconds => duration ?? tracks.Values
        .Where(t => t.TicksPerSecond > 0 && t.End > 0).Select(t => (double?)(t.End / t.TicksPerSecond)).Max();

    private protected override IEnumerable<Step> Walk()
    {
        while (true)
        {
            (Width, Height) = isOpenEnded ? size : (Width, Height);
            while (open.TryPeek(out var inside) && Position >= inside.End)
            {
                open.Pop();
                if (inside.Name is "moov" or "meta")
                {
                    (hasIndex, Width, Height) = (true, size.Width, size.Height);
                }
            }

            var isTop = open.Count == 0;
            if (isTop)
            {
                Completeness = hasIndex && hasData ? MediaCompleteness.Whole : MediaCompleteness.Cut;
            }

            yield return Read(8);
            var (name, length, headerBytes) = (Name(4), (long)U32(0), 8);
            var isNamed = IsName(4);
            if (length == 1)
            {
                yield return Read(8);
                (length, headerBytes) = ((long)Math.Min(U64(0), long.MaxValue / 2), 16);
            }

            var left = length - headerBytes;
            var room = isTop ? long.MaxValue / 2 : open.Peek().End - Position;
            if (isTop && length == 0 && isNamed) // to the end of the file
            {
                Completeness = hasIndex ? MediaCompleteness.Whole : MediaCompleteness.Unknown;
                hasData |= name == "mdat";
                (isOpenEnded, left) = (true, long.MaxValue / 2);
            }
            else if (left < 0 || !isNamed)
            {
                if (!isTop)
                {
                    yield return Skip(room);
                    continue;
                }

                // Something else behind the file, or nothing that is known here.
                Completeness = hasIndex && hasData ? MediaCompleteness.Whole : MediaCompleteness.Unknown;
                yield break;
            }
            else if (isTop)
            {
                Completeness = MediaCompleteness.Cut;
                hasData |= name is "mdat" or "moof";
            }

            left = Math.Min(left, Math.Max(room, 0));
            if (IsContainer(name, isTop) && open.Count < MaxDepth)
            {
                open.Push((name, Position + left));
                track = name is "trak" or "traf" ? new Track() : track;
                yield return Skip(name == "meta" ? Math.Min(left, 4) : 0); // version and flags
            }
            else if (name is "mvhd" or "tkhd" or "mdhd" or "mehd" or "trex" or "tfhd" or "tfdt" or "trun" or "ispe")
            {
                yield return Read(Math.Min(left, MaxLeafBytes));
                TakeLeaf(name, Bytes);
                yield return Skip(left - Math.Min(left, MaxLeafBytes));
            }
            else
            {
                hasData |= name == "idat"; // a small picture may be in its index
                yield return Skip(left);
            }
        }
    }

    private static bool IsContainer(string name, bool isTop) =>
        name is "moov" or "trak" or "mdia" or "mvex" or "moof" or "traf" or "iprp" or "ipco" || (name == "meta" && isTop);

    private void TakeLeaf(string name, ReadOnlySpan<byte> box)
    {
        if (box.Length < 8)
        {
            return;
        }

        var is64Bit = box[0] == 1;
        switch (name)
        {
            case "ispe" when box.Length >= 12: // the largest: tiles, thumbnails and alpha planes are never larger than the picture
                Grow(U32(box, 4), U32(box, 8));
                break;
            case "mvhd" when box.Length >= 32:
                ticksPerSecond = U32(box, is64Bit ? 20 : 12);
                duration = SecondsOf(box, is64Bit ? 24 : 16, is64Bit);
                break;
            case "mehd" when box.Length >= (is64Bit ? 12 : 8):
                duration ??= SecondsOf(box, 4, is64Bit);
                break;
            case "tkhd" when box.Length >= 84: // ends in width and height, 16.16 fixed point; sound tracks say 0
                Grow(U32(box, box.Length - 8) >> 16, U32(box, box.Length - 4) >> 16);
                Choose(U32(box, is64Bit ? 20 : 12));
                break;
            case "mdhd" when box.Length >= 24:
                track.TicksPerSecond = U32(box, is64Bit ? 20 : 12);
                break;
            case "trex" when box.Length >= 16:
                Choose(U32(box, 4));
                track.DefaultTicks = U32(box, 12);
                break;
            case "tfhd":
                TakeFragment(box);
                break;
            case "tfdt" when box.Length >= (is64Bit ? 12 : 8):
                track.At = is64Bit ? BinaryPrimitives.ReadUInt64BigEndian(box[4..]) : U32(box, 4);
                break;
            case "trun":
                TakeSamples(box);
                break;
        }
    }

    private void TakeFragment(ReadOnlySpan<byte> box)
    {
        Choose(U32(box, 4));
        var flags = U32(box, 0);
        var at = 8 + ((flags & 1) != 0 ? 8 : 0) + ((flags & 2) != 0 ? 4 : 0);
        track.FragmentTicks = (flags & 8) != 0 && box.Length >= at + 4 ? U32(box, at) : track.DefaultTicks;
        track.At = track.End;
    }

    /// <summary>Of a run that is longer than what is read of it, the rest counts like its beginning.</summary>
    private void TakeSamples(ReadOnlySpan<byte> box)
    {
        var (flags, samples) = (U32(box, 0), U32(box, 4));
        var at = 8 + ((flags & 1) != 0 ? 4 : 0) + ((flags & 4) != 0 ? 4 : 0);
        var sampleBytes = 4 * ((flags >> 8 & 1) + (flags >> 9 & 1) + (flags >> 10 & 1) + (flags >> 11 & 1));
        double ticks = (double)samples * track.FragmentTicks;
        if ((flags & 0x100) != 0 && at < box.Length && samples > 0)
        {
            var seen = (int)Math.Min(samples, (box.Length - at) / sampleBytes);
            double sum = 0;
            for (var i = 0; i < seen; i++)
            {
                sum += U32(box, at + (i * (int)sampleBytes));
            }

            ticks = seen == 0 ? 0 : sum * samples / seen;
        }

        track.At += ticks;
        track.End = Math.Max(track.End, track.At);
    }

    /// <summary>The box is of this track; what was read of it before, in its own boxes, is kept.</summary>
    private void Choose(uint id)
    {
        if (tracks.TryGetValue(id, out var known))
        {
            track = known;
        }
        else if (tracks.Count < MaxTracks)
        {
            tracks[id] = track = new Track();
        }
    }

    private double? SecondsOf(ReadOnlySpan<byte> box, int at, bool is64Bit)
    {
        ulong ticks = is64Bit ? BinaryPrimitives.ReadUInt64BigEndian(box[at..]) : U32(box, at);
        var isUnknown = ticks == 0 || ticks == (is64Bit ? ulong.MaxValue : uint.MaxValue);
        return isUnknown || ticksPerSecond <= 0 ? null : ticks / ticksPerSecond;
    }

    private void Grow(long width, long height)
    {
        if (width * height > size.Width * size.Height)
        {
            size = (width, height);
        }
    }

    private static uint U32(ReadOnlySpan<byte> box, int at) => BinaryPrimitives.ReadUInt32BigEndian(box[at..]);

    /// <summary>How far the fragments of a track reach, in its own ticks.</summary>
    private sealed class Track
    {
        public double TicksPerSecond { get; set; }

        public double DefaultTicks { get; set; }

        public double FragmentTicks { get; set; }

        public double At { get; set; }

        public double End { get; set; }
    }
}
