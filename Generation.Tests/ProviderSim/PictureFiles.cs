using SkiaSharp;

namespace Generation.Tests.ProviderSim;

/// <summary>Decodes pictures, every pixel of them.</summary>
internal static class PictureFiles
{
    public static (int Width, int Height) JpegSize(byte[] file) => Size(file, SKEncodedImageFormat.Jpeg);

    public static (int Width, int Height) PngSize(byte[] file) => Size(file, SKEncodedImageFormat.Png);

    public static (int Width, int Height) WebPSize(byte[] file) => Size(file, SKEncodedImageFormat.Webp);

    /// <summary>The pixels, red first, of a file that is whole and of that format.</summary>
    public static SKBitmap Decode(byte[] file, SKEncodedImageFormat format)
    {
        using var data = SKData.CreateCopy(file);
        using var codec = SKCodec.Create(data);
        Assert.NotNull(codec);
        Assert.Equal(format, codec.EncodedFormat);
        var bitmap = new SKBitmap(codec.Info.WithColorType(SKColorType.Rgba8888));
        Assert.Equal(SKCodecResult.Success, codec.GetPixels(bitmap.Info, bitmap.GetPixels()));
        return bitmap;
    }

    private static (int Width, int Height) Size(byte[] file, SKEncodedImageFormat format)
    {
        using var bitmap = Decode(file, format);
        return (bitmap.Width, bitmap.Height);
    }
}
