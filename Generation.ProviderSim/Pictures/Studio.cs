using Microsoft.Extensions.Options;

namespace Generation.ProviderSim.Pictures;

/// <summary>
/// Draws pictures. A picture is painted and encoded row by row: besides the compressed file it costs a few rows of memory, whatever its size.
/// At most <see cref="SimOptions.DrawingConcurrency"/> are drawn at a time, the last few files are kept.
/// </summary>
public sealed class Studio(IOptions<SimOptions> options) : IDisposable
{
    private const int JpegQuality = 88;

    private readonly SemaphoreSlim easels = new(options.Value.DrawingConcurrency);
    private readonly Lock gate = new();
    private readonly Dictionary<Recipe, Task<byte[]>> drawn = [];
    private readonly Queue<Recipe> order = new();

    /// <summary>The picture as a JPEG or PNG file. Asking again while it is being drawn waits for the same drawing.</summary>
    public Task<byte[]> DrawAsync(Recipe recipe)
    {
        lock (gate)
        {
            if (drawn.TryGetValue(recipe, out var kept)) return kept;
            while (order.Count >= options.Value.CachedPictures && order.TryDequeue(out var oldest)) drawn.Remove(oldest);
            order.Enqueue(recipe);
            return drawn[recipe] = Task.Run(() => DrawInTurnAsync(recipe));
        }
    }

    private async Task<byte[]> DrawInTurnAsync(Recipe recipe)
    {
        await easels.WaitAsync();
        try
        {
            return Draw(recipe);
        }
        finally
        {
            easels.Release();
        }
    }

    /// <summary>Draws here and now.</summary>
    public static byte[] Draw(Recipe recipe)
    {
        var frame = new Frame(recipe.Width, recipe.Height);
        List<Layer> layers = [.. Composition.Of(recipe, frame)];
        if (recipe.Watermark) layers.Add(new Watermark(frame));
        var canvas = new Canvas(frame);
        if (recipe.Format == PictureFormat.Png)
        {
            using var png = new PngEncoder(recipe.Width, recipe.Height);
            return Paint(layers, canvas, png, grain: 0);
        }

        return Paint(layers, canvas, new JpegEncoder(recipe.Width, recipe.Height, JpegQuality), grain: 2.2f);
    }

    private static byte[] Paint(List<Layer> layers, Canvas canvas, IPictureEncoder encoder, float grain)
    {
        var finish = new Finish(canvas.Frame, grain);
        for (var y = 0; y < canvas.Frame.Height; y++)
        {
            var back = layers.Count - 1;
            while (back > 0 && !layers[back].Hides(y)) back--;
            for (var layer = back; layer < layers.Count; layer++) layers[layer].Paint(canvas, y);
            finish.Paint(canvas, y);
            encoder.AddRow(canvas.Red, canvas.Green, canvas.Blue);
        }

        return encoder.Finish();
    }

    public void Dispose() => easels.Dispose();
}
