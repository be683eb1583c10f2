using Generation.ProviderSim.Pictures;

namespace Generation.Tests.ProviderSim;

public class PictureTests
{
    [Theory]
    [InlineData(1280, 720)]
    [InlineData(512, 512)]
    [InlineData(1001, 987)]
    [InlineData(16, 16)]
    [InlineData(33, 1)]
    [InlineData(1, 50)]
    public void A_jpeg_has_exactly_the_pixels_that_were_asked_for(int width, int height)
    {
        var encoder = new JpegEncoder(width, height);
        var row = new float[encoder.PaddedWidth];
        for (var y = 0; y < height; y++)
        {
            for (var x = 0; x < row.Length; x++) row[x] = (x * 7 + y * 13) % 256;
            encoder.AddRow(row, row, row);
        }

        Assert.Equal((width, height), PictureFiles.JpegSize(encoder.Finish()));
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
        bytes[8] = 200;
        Assert.Null(Recipe.Read(bytes));
    }

    [Theory]
    [InlineData(20_000)]
    [InlineData(70_001)]
    [InlineData(200_000)]
    [InlineData(131_800)]
    public void A_grey_picture_has_exactly_the_bytes_that_were_asked_for(long bytes)
    {
        var file = GreyPicture.Pieces(1024, 1024, bytes).SelectMany(piece => piece.ToArray()).ToArray();
        Assert.Equal(bytes, file.Length);
        Assert.Equal(bytes, GreyPicture.Length(1024, 1024, bytes));
        Assert.Equal((1024, 1024), PictureFiles.JpegSize(file));
    }

    [Fact]
    public void A_grey_picture_can_be_cut_to_any_length_around_its_padding()
    {
        var shortest = GreyPicture.Pieces(640, 480, 1_000_000).Sum(piece => (long)piece.Length) - 1_000_000 + 5_450;
        for (var bytes = shortest; bytes < shortest + 40; bytes++) Assert.Equal(bytes,
            GreyPicture.Pieces(640, 480, bytes).Sum(piece => (long)piece.Length));
    }
}
