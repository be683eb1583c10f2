using Generation.Core.Media;
using Generation.ProviderSim.Pictures;
using SkiaSharp;

namespace Generation.Tests.ProviderSim;

public class PictureTests
{
    private static readonly Dictionary<PictureFormat, SKEncodedImageFormat> Encoded = new()
    {
        [PictureFormat.Jpeg] = SKEncodedImageFormat.Jpeg,
        [PictureFormat.Png] = SKEncodedImageFormat.Png,
        [PictureFormat.WebP] = SKEncodedImageFormat.Webp,
    };

    [Theory]
    [InlineData(1280, 720)]
    [InlineData(1001, 987)]
    [InlineData(16, 16)]
    [InlineData(33, 1)]
    [InlineData(1, 50)]
    public void A_file_has_the_pixels_that_were_painted(int width, int height)
    {
        // Out of range at both ends, where samples are to stay what they can be, and no longer than the picture is wide.
        float Sample(int x, int y, int channel) => -20 + 300f * (channel == 0 ? x : channel == 1 ? y : x + y) / (width + height);
        foreach (var (format, encoded) in Encoded)
        {
            using var encoder = new PictureEncoder(format, width, height);
            for (var y = 0; y < height; y++)
            {
                var row = Enumerable.Range(0, 3).Select(channel => Enumerable.Range(0, width).Select(x => Sample(x, y, channel)).ToArray()).ToArray();
                encoder.AddRow(row[0], row[1], row[2]);
            }

            using var bitmap = PictureFiles.Decode(encoder.Finish(), encoded);
            Assert.Equal((width, height), (bitmap.Width, bitmap.Height));
            var pixels = bitmap.GetPixelSpan();
            var (total, largest) = (0.0, 0.0);
            for (var y = 0; y < height; y++)
            {
                for (var x = 0; x < width; x++)
                {
                    for (var channel = 0; channel < 3; channel++)
                    {
                        var difference = Math.Abs(pixels[y * bitmap.RowBytes + x * 4 + channel] - Math.Clamp(Sample(x, y, channel), 0, 255));
                        (total, largest) = (total + difference, Math.Max(largest, difference));
                    }
                }
            }

            if (format == PictureFormat.Png) Assert.InRange(largest, 0, 0.501);
            else Assert.InRange(total / (width * height * 3), 0, 4);
        }
    }

    [Theory]
    [InlineData(PictureFormat.Jpeg)]
    [InlineData(PictureFormat.WebP)]
    public void A_scene_looks_the_same_in_every_format(PictureFormat format)
    {
        var recipe = Recipe.For("a lighthouse at dusk", 1, 640, 401, true, PictureFormat.Png);
        using var exact = PictureFiles.Decode(Studio.Draw(recipe), SKEncodedImageFormat.Png);
        using var packed = PictureFiles.Decode(Studio.Draw(recipe with { Format = format }), Encoded[format]);
        var one = exact.GetPixelSpan();
        var other = packed.GetPixelSpan();
        var total = 0.0;
        for (var n = 0; n < one.Length; n++) total += Math.Abs(one[n] - other[n]);
        Assert.InRange(total / one.Length, 0.01, 4); // grain and what packing loses
    }

    [Fact]
    public void The_watermark_changes_the_bottom_right_corner_only()
    {
        var recipe = Recipe.For("a lighthouse at dusk", 1, 640, 400, true, PictureFormat.Png);
        using var marked = PictureFiles.Decode(Studio.Draw(recipe), SKEncodedImageFormat.Png);
        using var plain = PictureFiles.Decode(Studio.Draw(recipe with { Watermark = false }), SKEncodedImageFormat.Png);
        var changed = Enumerable.Range(0, 640 * 400).Select(n => (X: n % 640, Y: n / 640))
            .Where(at => marked.GetPixel(at.X, at.Y) != plain.GetPixel(at.X, at.Y)).ToList();
        Assert.InRange(changed.Count, 100, 2_000);
        Assert.All(changed, at => Assert.True(at.X > 540 && at.Y > 370, $"{at} has changed"));
    }

    [Fact]
    public void Of_a_large_picture_only_the_file_is_on_the_heap()
    {
        var recipe = Recipe.For("a lighthouse at dusk", 1, 2048, 1024, true, PictureFormat.Jpeg);
        var before = GC.GetAllocatedBytesForCurrentThread();
        var file = Studio.Draw(recipe);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before - file.Length, 0, 4_000_000); // its pixels are 8 MB
    }

    [Fact]
    public void Every_kind_of_scene_is_drawn_in_every_light()
    {
        foreach (var kind in Enum.GetValues<SceneKind>())
        {
            for (byte palette = 0; palette < Palette.All.Count; palette++)
            {
                var details = (SceneDetails)(palette * 977 & 0xFFF);
                var recipe = new Recipe(palette + 3ul, kind, palette, details, 160, 96, Watermark: true, PictureFormat.Jpeg);
                Assert.Equal((160, 96), PictureFiles.JpegSize(Studio.Draw(recipe)));
            }
        }
    }

    [Fact]
    public void A_png_holds_every_row()
    {
        var recipe = Recipe.For("a forest in the fog", 1, 301, 200, watermark: false, PictureFormat.Png);
        Assert.Equal((301, 200), PictureFiles.PngSize(Studio.Draw(recipe)));
    }

    [Fact]
    public void The_same_recipe_gives_the_same_bytes_and_another_prompt_or_seed_gives_others()
    {
        var recipe = Recipe.For("a lighthouse at dusk", 1, 320, 200, true, PictureFormat.Jpeg);
        Assert.Equal(Studio.Draw(recipe), Studio.Draw(Recipe.For("a lighthouse at dusk", 1, 320, 200, true, PictureFormat.Jpeg)));
        Assert.NotEqual(Studio.Draw(recipe), Studio.Draw(Recipe.For("a lighthouse at dusk!", 1, 320, 200, true, PictureFormat.Jpeg)));
        Assert.NotEqual(Studio.Draw(recipe), Studio.Draw(Recipe.For("a lighthouse at dusk", 2, 320, 200, true, PictureFormat.Jpeg)));
        Assert.NotEqual(Studio.Draw(recipe), Studio.Draw(recipe with { Watermark = false }));
        foreach (var format in Encoded.Keys) Assert.Equal(Studio.Draw(recipe with { Format = format }), Studio.Draw(recipe with { Format = format }));
    }

    [Theory]
    [InlineData("a lighthouse in a storm", SceneKind.Sea)]
    [InlineData("snowy mountains, rose sky", SceneKind.Mountains)]
    [InlineData("neon city", SceneKind.City)]
    public void Words_choose_the_scene(string prompt, SceneKind kind) => Assert.Equal(kind,
        Recipe.For(prompt, 5, 64, 64, true, PictureFormat.Jpeg).Kind);

    [Fact]
    public void A_recipe_survives_its_bytes()
    {
        var recipe = Recipe.For("the sea at night", 9, 6048, 2592, true, PictureFormat.Png);
        var bytes = new byte[Recipe.EncodedBytes];
        recipe.Write(bytes);
        Assert.Equal(recipe, Recipe.Read(bytes));
        (recipe with { Format = PictureFormat.WebP }).Write(bytes);
        Assert.Equal(PictureFormat.WebP, Recipe.Read(bytes)?.Format);
        bytes[16] = 3 << 1;
        Assert.Null(Recipe.Read(bytes));
        recipe.Write(bytes);
        bytes[8] = 200;
        Assert.Null(Recipe.Read(bytes));
    }

    [Fact]
    public void A_grey_picture_has_exactly_the_bytes_that_were_asked_for_and_decodes()
    {
        foreach (var (format, encoded) in Encoded)
        {
            var natural = GreyPicture.File(format, 640, 480).Length;
            // Around every length at which one way to fill it up gives way to another.
            foreach (var bytes in Enumerable.Range(natural, 90).Concat([70_001, 131_072, 131_073, 200_000])
                .Concat(Enumerable.Range(natural + 65_520, 40)))
            {
                var file = GreyPicture.Pieces(format, 640, 480, bytes).SelectMany(piece => piece.ToArray()).ToArray();
                Assert.Equal(bytes, file.Length);
                Assert.Equal(bytes, GreyPicture.Length(format, 640, 480, bytes));
                using var bitmap = PictureFiles.Decode(file, encoded);
                Assert.Equal((640, 480), (bitmap.Width, bitmap.Height));
                var grey = bitmap.GetPixel(320, 240);
                Assert.InRange(grey.Red, 126, 130);
                Assert.True(grey.Red == grey.Green && grey.Green == grey.Blue);
            }
        }
    }

    [Fact]
    public void A_grey_picture_short_of_its_bytes_breaks_off_behind_its_header()
    {
        foreach (var format in Encoded.Keys)
        {
            var file = GreyPicture.File(format, 2048, 2048);
            byte[] Cut(long bytes) => [.. GreyPicture.Pieces(format, 2048, 2048, bytes).SelectMany(piece => piece.ToArray())];
            Assert.Equal(file[..^1], Cut(file.Length - 1));
            var header = MediaStructure.Read(MediaType.Sniff(file)!, Cut(1));
            Assert.Equal((2048, 2048), (header.Width, header.Height));
            Assert.Equal(Cut(1).Length, GreyPicture.Length(format, 2048, 2048, 1));
            Assert.True(GreyPicture.Endless(format, 2048, 2048).Take(1_000).Sum(piece => (long)piece.Length) > 10_000_000);
        }
    }
}
