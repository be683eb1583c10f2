using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using SkiaSharp;

namespace Generation.ProviderSim.Pictures;

/// <summary>Takes a picture's rows of colour, from the top down, and makes a file of them.</summary>
public interface IPictureEncoder
{
    /// <summary>Adds the next row. Samples are about 0…255; the spans are at least as long as the picture is wide.</summary>
    void AddRow(ReadOnlySpan<float> red, ReadOnlySpan<float> green, ReadOnlySpan<float> blue);

    /// <summary>The file, once every row has been added.</summary>
    byte[] Finish();

    /// <summary>The picture's width rounded up to whole blocks of 16, which is what rows are painted to.</summary>
    int PaddedWidth { get; }
}

/// <summary>
/// JPEG, PNG and WebP by Skia, which wants all the pixels at once. They lie outside the garbage collector's heap, four bytes each, and go
/// back to the system with <see cref="Dispose"/> instead of waiting for a collection of the large object heap.
/// </summary>
public sealed class PictureEncoder : IPictureEncoder, IDisposable
{
    private const int Quality = 88;

    private readonly PictureFormat format;
    private readonly int width;
    private readonly SKBitmap bitmap;
    private int rowsAdded;

    /// <param name="format">Of the file.</param>
    /// <param name="width">Pixels.</param>
    /// <param name="height">Pixels.</param>
    public PictureEncoder(PictureFormat format, int width, int height)
    {
        (this.format, this.width) = (format, width);
        bitmap = new SKBitmap(new SKImageInfo(width, height, SKColorType.Rgba8888, SKAlphaType.Opaque));
    }

    public int PaddedWidth => (width + 15) / 16 * 16;

    public void AddRow(ReadOnlySpan<float> red, ReadOnlySpan<float> green, ReadOnlySpan<float> blue)
    {
        var row = MemoryMarshal.Cast<byte, int>(bitmap.GetPixelSpan().Slice(rowsAdded++ * bitmap.RowBytes, width * 4));
        var x = 0;
        for (; x <= width - 8; x += 8)
        {
            Pixels8(red[x..], green[x..], blue[x..]).CopyTo(row[x..]);
        }

        if (x == width)
        {
            return;
        }
        // The rest of a width that is no multiple of eight: rows need not be longer than the picture.
        Span<float> last = stackalloc float[24];
        red[x..width].CopyTo(last);
        green[x..width].CopyTo(last[8..]);
        blue[x..width].CopyTo(last[16..]);
        Span<int> pixels = stackalloc int[8];
        Pixels8(last, last[8..], last[16..]).CopyTo(pixels);
        pixels[..(width - x)].CopyTo(row[x..]);
    }

    public byte[] Finish() => rowsAdded == bitmap.Height ? Encode(bitmap, format)
        : throw new InvalidOperationException($"The picture has {bitmap.Height} rows, {rowsAdded} were added.");

    public void Dispose() => bitmap.Dispose();

    /// <summary>The pixels as a file.</summary>
    internal static byte[] Encode(SKBitmap bitmap, PictureFormat format)
    {
        using var pixels = bitmap.PeekPixels();
        using var file = format switch
        {
            PictureFormat.Jpeg => pixels.Encode(new SKJpegEncoderOptions(Quality)),
            PictureFormat.WebP => pixels.Encode(new SKWebpEncoderOptions(SKWebpEncoderCompression.Lossy, Quality)),
            // The Up filter suits pictures made of gradients. Trying all of them, and packing well, takes many times as long.
            _ => pixels.Encode(new SKPngEncoderOptions(SKPngEncoderFilterFlags.Up, 1)),
        };
        return file?.ToArray() ?? throw new InvalidOperationException($"Skia makes no {format} of {bitmap.Width}×{bitmap.Height} pixels.");
    }

    /// <summary>Eight pixels, each opaque and with red in its first byte.</summary>
    private static Vector256<int> Pixels8(ReadOnlySpan<float> red, ReadOnlySpan<float> green, ReadOnlySpan<float> blue)
    {
        return Samples(red) | Samples(green) << 8 | Samples(blue) << 16 | Vector256.Create(0xFF << 24);

        static Vector256<int> Samples(ReadOnlySpan<float> samples) => Vector256.ConvertToInt32(
            Vector256.Min(Vector256.Max(Vector256.Create(samples) + Vector256.Create(0.5f), Vector256<float>.Zero), Vector256.Create(255f)));
    }
}
