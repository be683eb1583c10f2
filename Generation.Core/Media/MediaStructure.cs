using System.Buffers.Binary;
using System.Text;

namespace Generation.Core.Media;

/// <summary>Whether a file is all there, by its own structure.</summary>
public enum MediaCompleteness
{
    /// <summary>It ends in the middle of something that it announced.</summary>
    Cut,

    /// <summary>It ends where its format ends.</summary>
    Whole,

    /// <summary>The format does not say (a recording of unknown length), or the bytes are nothing that is known here.</summary>
    Unknown,
}

/// <summary>What a file says about itself. Numbers are null where it does not say, or they are nonsense.</summary>
/// <param name="Completeness">Whether it is all there.</param>
/// <param name="Width">In pixels, as coded: an Exif orientation is not applied.</param>
/// <param name="Height">In pixels.</param>
/// <param name="DurationSeconds">Of a video or a sound.</param>
public readonly record struct MediaFacts(MediaCompleteness Completeness, int? Width, int? Height, double? DurationSeconds);

/// <summary>
/// Reads the structure of a file while it passes, in pieces of any size and with memory that does not depend on the file's: headers are
/// collected, media data is counted and let go. Never throws: hostile bytes give facts that say nothing.
/// </summary>
/// <remarks>
/// A format is a sequence of steps (<see cref="Walk"/>): "read 8 bytes", "skip the 90,000 of this box", "go on to the next 0xFF". A walk
/// that ends before the file has seen enough; the rest passes unread. A walk says <see cref="MediaCompleteness.Cut"/> only of a file that
/// breaks off inside something that it announced itself: what players play although it is odd must not be lost.
/// </remarks>
public abstract class MediaStructure : IDisposable
{
    /// <summary>More of one header is never collected.</summary>
    private protected const int MaxHeaderBytes = 64 << 10;

    private const double MaxDurationSeconds = 1e7; // a third of a year

    private byte[] header = new byte[64];
    private IEnumerator<Step>? walk;
    private Step step;
    private long done;
    private bool isOver;
    private bool mustBeWhole;

    private protected enum StepKind
    {
        Read,
        Skip,
        Pass,
        Find,
    }

    /// <summary>The bytes that the walk has behind it.</summary>
    private protected long Position { get; private set; }

    /// <summary>What it would be if the file ended now.</summary>
    private protected MediaCompleteness Completeness { get; set; } = MediaCompleteness.Cut;

    private protected long Width { get; set; }

    private protected long Height { get; set; }

    private protected virtual double? DurationSeconds => null;

    /// <summary>The reader for a file of this type.</summary>
    /// <param name="type">As <see cref="MediaType.Sniff(ReadOnlySpan{byte})"/> found it.</param>
    /// <param name="isStrict">
    /// For files that nobody has paid for: what is not certainly whole counts as cut, and a picture must hold the pixels that it claims, within
    /// <see cref="PngStructure.MaxInflatedPixels"/>.
    /// </param>
    public static MediaStructure Of(MediaType type, bool isStrict = false)
    {
        ArgumentNullException.ThrowIfNull(type);
        MediaStructure structure = type.Extension switch
        {
            "png" => new PngStructure(isStrict),
            "jpg" => new JpegStructure(isStrict),
            "gif" => new GifStructure(),
            "webp" or "wav" => new RiffStructure(),
            "avif" or "mp4" or "mov" or "m4a" => new IsoStructure(),
            "webm" or "weba" => new EbmlStructure(),
            "ogg" => new OggStructure(),
            "mp3" => new Mp3Structure(),
            "aac" => new AdtsStructure(),
            "flac" => new FlacStructure(),
            _ => new NoStructure(),
        };
        structure.mustBeWhole = isStrict;
        return structure;
    }

    /// <summary>The facts of a file that is all here.</summary>
    public static MediaFacts Read(MediaType type, ReadOnlySpan<byte> file)
    {
        using var structure = Of(type);
        structure.Feed(file);
        return structure.Facts();
    }

    /// <summary>The next bytes of the file.</summary>
    public void Feed(ReadOnlySpan<byte> bytes)
    {
        if (walk is null)
        {
            walk = Walk().GetEnumerator();
            Advance();
        }

        while (!isOver)
        {
            var count = (int)Math.Min(step.Count - done, bytes.Length);
            var isFound = false;
            switch (step.Kind)
            {
                case StepKind.Read:
                    bytes[..count].CopyTo(header.AsSpan((int)done));
                    break;
                case StepKind.Pass:
                    OnPassing(bytes[..count]);
                    break;
                case StepKind.Find:
                    var at = bytes.IndexOf((byte)step.Count);
                    (count, isFound) = (at < 0 ? bytes.Length : at, at >= 0);
                    break;
            }

            bytes = bytes[count..];
            (done, Position) = (done + count, Position + count);
            if (step.Kind == StepKind.Find ? !isFound : done < step.Count)
            {
                return;
            }

            Advance();
        }
    }

    /// <summary>What is known by now; final when the file has ended.</summary>
    public MediaFacts Facts()
    {
        var hasSize = Width is > 0 and <= int.MaxValue && Height is > 0 and <= int.MaxValue;
        return new(
            mustBeWhole && Completeness == MediaCompleteness.Unknown ? MediaCompleteness.Cut : Completeness,
            hasSize ? (int)Width : null, hasSize ? (int)Height : null,
            DurationSeconds is { } seconds and > 0 and < MaxDurationSeconds ? seconds : null);
    }

    public void Dispose()
    {
        Dispose(disposing: true);
        GC.SuppressFinalize(this);
    }

    protected virtual void Dispose(bool disposing) => walk?.Dispose();

    /// <summary>The steps through the file.</summary>
    private protected abstract IEnumerable<Step> Walk();

    /// <summary>Gets the bytes of a <see cref="Pass"/>.</summary>
    private protected virtual void OnPassing(ReadOnlySpan<byte> bytes)
    {
    }

    /// <summary>Collects the next bytes; <see cref="Bytes"/> has them when the walk goes on.</summary>
    private protected static Step Read(long count) => new(StepKind.Read, Math.Clamp(count, 0, MaxHeaderBytes));

    private protected static Step Skip(long count) => new(StepKind.Skip, Math.Max(count, 0));

    /// <summary>Hands the next bytes to <see cref="OnPassing"/>.</summary>
    private protected static Step Pass(long count) => new(StepKind.Pass, Math.Max(count, 0));

    /// <summary>Goes on to the next such byte, which is then the first to be read.</summary>
    private protected static Step Find(byte wanted) => new(StepKind.Find, wanted);

    /// <summary>The bytes that were read last.</summary>
    private protected ReadOnlySpan<byte> Bytes => header.AsSpan(0, (int)Math.Min(done, header.Length));

    private protected byte U8(int at) => header[at];

    private protected int U16(int at) => BinaryPrimitives.ReadUInt16BigEndian(header.AsSpan(at));

    private protected uint U32(int at) => BinaryPrimitives.ReadUInt32BigEndian(header.AsSpan(at));

    private protected ulong U64(int at) => BinaryPrimitives.ReadUInt64BigEndian(header.AsSpan(at));

    private protected int LittleU16(int at) => BinaryPrimitives.ReadUInt16LittleEndian(header.AsSpan(at));

    private protected uint LittleU32(int at) => BinaryPrimitives.ReadUInt32LittleEndian(header.AsSpan(at));

    private protected ulong LittleU64(int at) => BinaryPrimitives.ReadUInt64LittleEndian(header.AsSpan(at));

    private protected bool Is(int at, ReadOnlySpan<byte> text) => header.AsSpan(at, text.Length).SequenceEqual(text);

    /// <summary>Four letters that name a box or a chunk.</summary>
    private protected string Name(int at) => Encoding.Latin1.GetString(header, at, 4);

    /// <summary>Whether <see cref="Name"/> is one that a writer would give.</summary>
    private protected bool IsName(int at) => !header.AsSpan(at, 4).ContainsAnyExceptInRange((byte)0x20, (byte)0x7E) || header[at] == 0xA9;

    private void Advance()
    {
        isOver = !walk!.MoveNext();
        step = walk.Current;
        done = 0;
        if (!isOver && step.Kind == StepKind.Read && step.Count > header.Length)
        {
            header = new byte[step.Count];
        }
    }

    /// <summary>What a walk does next.</summary>
    /// <param name="Count">Of bytes; of a <see cref="StepKind.Find"/> the byte itself.</param>
    private protected readonly record struct Step(StepKind Kind, long Count);

    /// <summary>Of bytes that are nothing known here.</summary>
    private sealed class NoStructure : MediaStructure
    {
        private protected override IEnumerable<Step> Walk()
        {
            Completeness = MediaCompleteness.Unknown;
            yield break;
        }
    }
}
