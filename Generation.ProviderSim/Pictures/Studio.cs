using Generation.ProviderSim.Films;
using Microsoft.Extensions.Options;

namespace Generation.ProviderSim.Pictures;

/// <summary>
/// Draws pictures. A picture is painted row by row; its pixels, four bytes each, exist until the file is encoded (<see cref="PictureEncoder"/>).
/// At most <see cref="SimOptions.DrawingConcurrency"/> are drawn at a time, the last few files are kept.
/// </summary>
public sealed class Studio(IOptions<SimOptions> options) : IDisposable
{
    private readonly SemaphoreSlim easels = new(options.Value.DrawingConcurrency);
    private readonly Lock gate = new();
    private readonly Dictionary<Recipe, Task<byte[]>> drawn = [];
    private readonly Dictionary<(Recipe Recipe, int Seconds), Task<Film>> filmed = [];
    private readonly Queue<Recipe> order = new();
    private readonly Queue<(Recipe Recipe, int Seconds)> filmOrder = new();

    /// <summary>The picture as a file of the recipe's format. Asking again while it is being drawn waits for the same drawing.</summary>
    public Task<byte[]> DrawAsync(Recipe recipe)
    {
        lock (gate)
        {
            if (drawn.TryGetValue(recipe, out var kept))
            {
                return kept;
            }

            while (order.Count >= options.Value.CachedPictures && order.TryDequeue(out var oldest))
            {
                drawn.Remove(oldest);
            }

            order.Enqueue(recipe);
            return drawn[recipe] = Task.Run(() => InTurnAsync(() => Draw(recipe)));
        }
    }

    /// <summary>The picture as it looks before it is finished: in squares of so many pixels.</summary>
    public Task<byte[]> SketchAsync(Recipe recipe, int square) => Task.Run(() => InTurnAsync(() => Draw(recipe, square)));

    /// <summary>A film that moves through the recipe's scene. A quarter as many as pictures are kept: they are larger.</summary>
    public Task<Film> FilmAsync(Recipe recipe, int seconds)
    {
        lock (gate)
        {
            if (filmed.TryGetValue((recipe, seconds), out var kept))
            {
                return kept;
            }

            while (filmOrder.Count >= Math.Max(1, options.Value.CachedPictures / 4) && filmOrder.TryDequeue(out var oldest))
            {
                filmed.Remove(oldest);
            }

            filmOrder.Enqueue((recipe, seconds));
            return filmed[(recipe, seconds)] = Task.Run(() => InTurnAsync(() => Film.Of(recipe, seconds)));
        }
    }

    /// <summary>The last frame of the recipe's film. It is asked for once, and so not kept.</summary>
    public Task<byte[]> LastFrameAsync(Recipe recipe, int seconds) => Task.Run(() => InTurnAsync(() => Film.LastFrame(recipe, seconds)));

    private async Task<T> InTurnAsync<T>(Func<T> draw)
    {
        await easels.WaitAsync();
        try
        {
            return draw();
        }
        finally
        {
            easels.Release();
        }
    }

    /// <summary>Draws here and now.</summary>
    public static byte[] Draw(Recipe recipe, int square = 1)
    {
        var coarse = recipe with { Width = Coarse(recipe.Width), Height = Coarse(recipe.Height) };
        using var encoder = new PictureEncoder(recipe.Format, recipe.Width, recipe.Height);
        return Paint(coarse, square == 1 ? encoder : new SquaresEncoder(encoder, recipe.Height, square),
            grain: square == 1 && recipe.Format != PictureFormat.Png ? 2.2f : 0);

        int Coarse(int pixels) => (pixels + square - 1) / square;
    }

    /// <summary>Paints the recipe's scene row by row into an encoder.</summary>
    internal static byte[] Paint(Recipe recipe, IPictureEncoder encoder, float grain)
    {
        var frame = new Frame(recipe.Width, recipe.Height);
        List<Layer> layers = [.. Composition.Of(recipe, frame)];
        if (recipe.Watermark)
        {
            layers.Add(new Watermark(frame));
        }

        return Paint(layers, new Canvas(frame), encoder, grain);
    }

    private static byte[] Paint(List<Layer> layers, Canvas canvas, IPictureEncoder encoder, float grain)
    {
        var finish = new Finish(canvas.Frame, grain);
        for (var y = 0; y < canvas.Frame.Height; y++)
        {
            var back = layers.Count - 1;
            while (back > 0 && !layers[back].Hides(y))
            {
                back--;
            }

            for (var layer = back; layer < layers.Count; layer++)
            {
                layers[layer].Paint(canvas, y);
            }

            finish.Paint(canvas, y);
            encoder.AddRow(canvas.Red, canvas.Green, canvas.Blue);
        }

        return encoder.Finish();
    }

    public void Dispose() => easels.Dispose();
}

/// <summary>Repeats every pixel it gets to a square, so that a small painting fills a large picture.</summary>
internal sealed class SquaresEncoder(IPictureEncoder encoder, int height, int square) : IPictureEncoder
{
    private readonly float[] wide = new float[encoder.PaddedWidth * 3];
    private int rows;

    public int PaddedWidth => encoder.PaddedWidth;

    public void AddRow(ReadOnlySpan<float> red, ReadOnlySpan<float> green, ReadOnlySpan<float> blue)
    {
        var width = encoder.PaddedWidth;
        for (var x = 0; x < width; x++)
        {
            var from = Math.Min(x / square, red.Length - 1);
            (wide[x], wide[width + x], wide[width * 2 + x]) = (red[from], green[from], blue[from]);
        }

        for (var n = 0; n < square && rows < height; n++, rows++)
        {
            encoder.AddRow(
            wide.AsSpan(0, width), wide.AsSpan(width, width), wide.AsSpan(width * 2, width));
        }
    }

    public byte[] Finish() => encoder.Finish();
}
