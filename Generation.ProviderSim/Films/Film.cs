using Generation.ProviderSim.Pictures;

namespace Generation.ProviderSim.Films;

/// <summary>
/// A film as an MP4 of H.264 without sound: the camera moves to the right through one wide picture. It is coded small and said to be shown
/// large, because its first picture is uncompressed; browsers play it, and it is the same to the byte for the same recipe.
/// </summary>
public sealed class Film
{
    public const int FramesPerSecond = 24;

    /// <summary>Pixels that the camera moves at a time. Even, so that colour, which has half the pixels, moves by whole ones.</summary>
    private const int StepPixels = 2;

    private const int CodedPixels = 36_864;
    private const int FramesPerStep = 2;

    private static readonly byte[] Padding = new byte[64 << 10];

    private readonly byte[] head;
    private readonly byte[] samples;
    private readonly Mp4File file;

    private Film(Mp4File file, IReadOnlyList<byte[]> frames)
    {
        this.file = file;
        samples = [.. frames.SelectMany(frame => frame)];
        head = file.Head(samples.Length);
    }

    /// <summary>How many frames Ark counts for a length: one more than fit.</summary>
    public static int Frames(int seconds) => FramesPerSecond * seconds + 1;

    /// <param name="recipe">The scene, and the size in which the film says it is to be shown.</param>
    /// <param name="seconds">Its length.</param>
    /// <param name="codedPixels">About how many pixels are coded; the first frame has one and a half times as many bytes.</param>
    /// <param name="framesPerStep">The camera moves in every such frame, which costs a column of blocks.</param>
    public static Film Of(Recipe recipe, int seconds, int codedPixels = CodedPixels, int framesPerStep = FramesPerStep)
    {
        var (width, height) = CodedSize(recipe.Width, recipe.Height, codedPixels);
        var frames = Frames(seconds);
        var wide = new PlanarPicture(width + (frames - 1) / framesPerStep * StepPixels, height);
        Studio.Paint(recipe with { Width = wide.Width, Height = height }, wide, grain: 0);
        var encoder = new H264Encoder(width, height);
        var coded = new List<byte[]> { encoder.Still(wide, 0) };
        for (var n = 1; n < frames; n++)
        {
            coded.Add(n % framesPerStep == 0 ? encoder.Moved(wide, n / framesPerStep * StepPixels, StepPixels)
            : encoder.Same());
        }

        return Assemble(recipe.Width, recipe.Height, encoder, coded);
    }

    /// <summary>What the camera of such a film sees at its end, drawn in the size in which the film is shown: a PNG.</summary>
    public static byte[] LastFrame(Recipe recipe, int seconds)
    {
        var coded = CodedSize(recipe.Width, recipe.Height, CodedPixels);
        var way = (Frames(seconds) - 1) / FramesPerStep * StepPixels * recipe.Width / coded.Width;
        using var png = new PictureEncoder(PictureFormat.Png, recipe.Width, recipe.Height);
        return Studio.Paint(recipe with { Width = recipe.Width + way, Watermark = false }, new RightPart(png, recipe.Width + way, way), grain: 0);
    }

    /// <summary>A grey film of a few kilobytes that costs no drawing.</summary>
    public static Film Grey(int shownWidth, int shownHeight, int seconds)
    {
        var (width, height) = CodedSize(shownWidth, shownHeight, 1_536);
        var encoder = new H264Encoder(width, height);
        var coded = new List<byte[]> { encoder.Still(new PlanarPicture(width, height), 0) };
        while (coded.Count < Frames(seconds))
        {
            coded.Add(encoder.Same());
        }

        return Assemble(shownWidth, shownHeight, encoder, coded);
    }

    /// <summary>
    /// The file in pieces, padded to so many bytes. Short of the film's own length it breaks off, but not inside the header; 0: as it is.
    /// </summary>
    public IEnumerable<ReadOnlyMemory<byte>> Pieces(long bytes)
    {
        if (bytes <= 0)
        {
            // In two halves, so that a download gate has a middle to wait in.
            var half = (head.Length + samples.Length) / 2 - head.Length;
            yield return head;
            yield return samples.AsMemory(0, Math.Max(half, 0));
            yield return samples.AsMemory(Math.Max(half, 0));
            yield break;
        }

        var left = Length(bytes) - head.Length;
        yield return left > samples.Length ? file.Head(left) : head;
        yield return samples.AsMemory(0, (int)Math.Min(left, samples.Length));
        for (left -= samples.Length; left > 0; left -= Padding.Length)
        {
            yield return Padding.AsMemory(0, (int)Math.Min(left, Padding.Length));
        }
    }

    public long Length(long bytes) => bytes <= 0 ? head.Length + samples.Length : Math.Max(bytes, head.Length);

    /// <summary>The film, then zeros for ever.</summary>
    public IEnumerable<ReadOnlyMemory<byte>> Endless()
    {
        yield return file.Head(1L << 60);
        yield return samples;
        while (true)
        {
            yield return Padding;
        }
    }

    private static Film Assemble(int shownWidth, int shownHeight, H264Encoder encoder, List<byte[]> coded) =>
        new(new Mp4File(shownWidth, shownHeight, encoder, [.. coded.Select(frame => frame.Length)]), coded);

    /// <summary>Whole blocks of 16 in about the shape asked for; the file says how its pixels are to be stretched.</summary>
    private static (int Width, int Height) CodedSize(int width, int height, int pixels)
    {
        var scale = Math.Sqrt((double)pixels / ((double)width * height));
        return (Blocks(width * scale) * 16, Blocks(height * scale) * 16);

        static int Blocks(double side) => Math.Max(1, (int)Math.Round(side / 16, MidpointRounding.AwayFromZero));
    }
}

/// <summary>A picture as video has it: brightness for each pixel, colour for each four.</summary>
internal sealed class PlanarPicture : IPictureEncoder
{
    private readonly float[] evenRow;
    private int rows;

    public PlanarPicture(int width, int height)
    {
        (Width, Height) = (width, height);
        PaddedWidth = (width + 15) / 16 * 16;
        (Luma, Blue, Red) = (new byte[PaddedWidth * height], new byte[PaddedWidth * height / 4], new byte[PaddedWidth * height / 4]);
        Array.Fill(Luma, (byte)128);
        Array.Fill(Blue, (byte)128);
        Array.Fill(Red, (byte)128);
        evenRow = new float[PaddedWidth * 3];
    }

    public int Width { get; }

    public int Height { get; }

    public int PaddedWidth { get; }

    public byte[] Luma { get; }

    public byte[] Blue { get; }

    public byte[] Red { get; }

    /// <summary>ITU-R BT.601 with its usual range.</summary>
    public void AddRow(ReadOnlySpan<float> red, ReadOnlySpan<float> green, ReadOnlySpan<float> blue)
    {
        for (var x = 0; x < PaddedWidth; x++)
        {
            Luma[rows * PaddedWidth + x] = Sample(16 + (65.481f * red[x] + 128.553f * green[x] + 24.966f * blue[x]) / 255);
        }

        if (rows % 2 == 0)
        {
            red[..PaddedWidth].CopyTo(evenRow);
            green[..PaddedWidth].CopyTo(evenRow.AsSpan(PaddedWidth));
            blue[..PaddedWidth].CopyTo(evenRow.AsSpan(PaddedWidth * 2));
        }
        else
        {
            for (var x = 0; x < PaddedWidth / 2; x++)
            {
                var (r, g, b) = (Mean(red, 0, x), Mean(green, PaddedWidth, x), Mean(blue, PaddedWidth * 2, x));
                Blue[rows / 2 * PaddedWidth / 2 + x] = Sample(128 + (-37.797f * r - 74.203f * g + 112 * b) / 255);
                Red[rows / 2 * PaddedWidth / 2 + x] = Sample(128 + (112 * r - 93.786f * g - 18.214f * b) / 255);
            }
        }

        rows++;

        float Mean(ReadOnlySpan<float> odd, int even, int x) => (odd[2 * x] + odd[2 * x + 1] + evenRow[even + 2 * x] + evenRow[even + 2 * x + 1]) / 4;

        static byte Sample(float value) => (byte)Math.Clamp(MathF.Round(value), 16, 240);
    }

    public byte[] Finish() => Luma;
}

/// <summary>Of a wide picture only what is right of a column.</summary>
internal sealed class RightPart(IPictureEncoder inner, int width, int left) : IPictureEncoder
{
    public int PaddedWidth => (width + 15) / 16 * 16;

    public void AddRow(ReadOnlySpan<float> red, ReadOnlySpan<float> green, ReadOnlySpan<float> blue) =>
        inner.AddRow(red[left..], green[left..], blue[left..]);

    public byte[] Finish() => inner.Finish();
}
