using System.Runtime.Intrinsics;

namespace Generation.ProviderSim.Pictures;

/// <summary>Land or a wave seen from the side: everything below a line of heights, lit along its crest, lost in haze at its foot.</summary>
internal sealed class Ridge : Layer
{
    private readonly float[] top;
    private readonly float[] light;
    private readonly float depth;
    private readonly float crest;
    private readonly Ink upper;
    private readonly Ink lower;
    private readonly Ink crestInk;
    private readonly float highest;
    private readonly float lowest;

    /// <param name="frame">The picture's size.</param>
    /// <param name="top">The pixel row of the crest for each column.</param>
    /// <param name="depth">Pixels over which <paramref name="upper"/> becomes <paramref name="lower"/>.</param>
    /// <param name="upper">Colour at the crest.</param>
    /// <param name="lower">Colour at the foot.</param>
    /// <param name="relief">How strongly slopes towards the light are brighter: 0 paper, 1 sand.</param>
    /// <param name="lightFromLeft">Where the light comes from.</param>
    /// <param name="crest">Pixels of <paramref name="crestInk"/> along the line: snow or foam; 0 for none.</param>
    /// <param name="crestInk">Colour of the crest.</param>
    public Ridge(Frame frame, float[] top, float depth, Ink upper, Ink lower, float relief, bool lightFromLeft, float crest = 0,
        Ink crestInk = default)
    {
        (this.top, this.depth, this.upper, this.lower, this.crest, this.crestInk) = (top, depth, upper, lower, crest, crestInk);
        light = new float[top.Length];
        var reach = Math.Max(1, (int)(frame.Unit * 0.006f));
        for (var x = 0; x < top.Length; x++)
        {
            var slope = (top[Math.Min(top.Length - 1, x + reach)] - top[Math.Max(0, x - reach)]) / (2 * reach);
            light[x] = relief * Math.Clamp(lightFromLeft ? -slope : slope, -0.8f, 0.8f);
        }

        (highest, lowest) = (top.Min(), top.Max());
    }

    public float[] Top => top;

    public override bool Hides(float y) => y > lowest + 1;

    public override void Paint(Canvas canvas, float y)
    {
        if (y < highest - 1)
        {
            return;
        }

        var row = Vector256.Create(y + 0.5f);
        var perDepth = Vector256.Create(1 / depth);
        var perCrest = Vector256.Create(crest > 0 ? 1 / crest : 0);
        for (var x = 0; x < top.Length; x += 8)
        {
            var below = row - Vector256.LoadUnsafe(in top[x]);
            var cover = Canvas.Clamp01(below);
            var t = Canvas.Clamp01(below * perDepth);
            var shine = Vector256<float>.One + Vector256.LoadUnsafe(in light[x]) * (Vector256<float>.One - t);
            var red = (Vector256.Create(upper.Red) + t * (lower.Red - upper.Red)) * shine;
            var green = (Vector256.Create(upper.Green) + t * (lower.Green - upper.Green)) * shine;
            var blue = (Vector256.Create(upper.Blue) + t * (lower.Blue - upper.Blue)) * shine;
            if (crest > 0)
            {
                var foam = Canvas.Clamp01(Vector256<float>.One - below * perCrest);
                foam *= foam;
                var dim = Vector256.Min(shine, Vector256.Create(1.08f));
                red += (crestInk.Red * dim - red) * foam;
                green += (crestInk.Green * dim - green) * foam;
                blue += (crestInk.Blue * dim - blue) * foam;
            }

            canvas.Mix8(x, red, green, blue, cover);
        }
    }
}

/// <summary>Snow on the upper flanks of the mountains in front of it: a ragged line follows the crest, further down where it is high.</summary>
internal sealed class SnowCap(Frame frame, float[] top, uint seed, float snowline, Ink lit, Ink shade, bool lightFromLeft) : Layer
{
    private readonly float[] hem = Array.ConvertAll(Enumerable.Range(0, top.Length).ToArray(), x =>
    {
        var u = x / frame.Unit;
        var teeth = 0.55f + 0.5f * Noise.Lines(u * 22, seed, 4, 0.65f);
        return top[x] + Math.Max(0, snowline - top[x]) * Math.Max(0.05f, teeth);
    });

    public override void Paint(Canvas canvas, float y)
    {
        var reach = Math.Max(2, (int)(frame.Unit * 0.022f));
        for (var x = 0; x < top.Length; x++)
        {
            var cover = Math.Clamp(y - top[x] + 0.5f, 0, 1) * Math.Clamp((hem[x] - y) / 2 + 0.5f, 0, 1);
            if (cover <= 0)
            {
                continue;
            }
            // The lit side is found along lines that run down the flank, which gives the snow its facets.
            var along = (int)((y - top[x]) * 0.35f * (lightFromLeft ? 1 : -1));
            var at = Math.Clamp(x + along, reach, top.Length - reach - 1);
            var slope = (top[at + reach] - top[at - reach]) / (2f * reach);
            var light = Math.Clamp(0.5f + (lightFromLeft ? -slope : slope) * 0.8f, 0, 1);
            canvas.Span(x, x + 1, shade.To(lit, light), cover * 0.95f);
        }
    }
}

/// <summary>Water from its shore down to the edge: what stands above it, mirrored row by row, restless and darker towards the viewer.</summary>
internal sealed class Water(Frame frame, IReadOnlyList<Layer> behind, float shore, Ink deep, uint seed, float calm) : Layer
{
    private readonly float[] spare = new float[frame.PaddedWidth];

    public override bool Hides(float y) => y >= shore;

    public override void Paint(Canvas canvas, float y)
    {
        if (y < shore)
        {
            return;
        }

        var below = y - shore;
        var near = below / (frame.Height - shore);
        // Ripples are long and rare at our feet, fine at the horizon.
        var ripple = Noise.Lines(MathF.Log(1 + below / frame.Unit * 40) * 26, seed, 3, 0.7f);
        var mirrored = shore - below * (1.05f - 0.25f * near) + ripple * (1 - calm) * frame.Unit * (0.01f + 0.06f * near);
        for (var layer = LastHiding(mirrored); layer < behind.Count; layer++)
        {
            behind[layer].Paint(canvas, MathF.Min(mirrored, shore - 1));
        }

        var shift = (int)(ripple * frame.Unit * 0.012f * (1 - calm) * (0.3f + near));
        foreach (var line in (ReadOnlySpan<float[]>)[canvas.Red, canvas.Green, canvas.Blue])
        {
            Shift(line, shift);
        }

        var glass = Vector256.Create(0.18f + 0.5f * near * near + 0.07f * ripple);
        var (red, green, blue) = (Vector256.Create(deep.Red), Vector256.Create(deep.Green), Vector256.Create(deep.Blue));
        for (var x = 0; x < canvas.Red.Length; x += 8)
        {
            canvas.Mix8(x, red, green, blue, glass);
        }
    }

    private int LastHiding(float y)
    {
        var layer = behind.Count - 1;
        while (layer > 0 && !behind[layer].Hides(y))
        {
            layer--;
        }

        return layer;
    }

    private void Shift(float[] line, int by)
    {
        if (by == 0)
        {
            return;
        }

        line.CopyTo(spare, 0);
        if (by > 0)
        {
            spare.AsSpan(0, line.Length - by).CopyTo(line.AsSpan(by));
            line.AsSpan(0, by).Fill(spare[0]);
        }
        else
        {
            spare.AsSpan(-by).CopyTo(line);
            line.AsSpan(line.Length + by).Fill(spare[^1]);
        }
    }
}

/// <summary>The light of a lighthouse: two opposite wedges, brightest at the lamp.</summary>
internal sealed class Beam(Frame frame, float lampX, float lampY, float angle, Ink ink, float strength) : Layer
{
    private readonly float reach = frame.Unit * 1.1f;

    public override void Paint(Canvas canvas, float y)
    {
        var dy = y - lampY;
        for (var x = 0; x < canvas.Red.Length; x++)
        {
            var dx = x - lampX;
            var along = MathF.Abs(dx);
            if (along > reach)
            {
                continue;
            }

            var off = MathF.Abs(dy - dx * angle);
            var half = along * 0.075f + 2;
            var fade = 1 - along / reach;
            if (off < half)
            {
                canvas.Light(x, ink, strength * fade * fade * (1 - off / half));
            }

            var near = frame.Unit * 0.09f;
            var square = (dx * dx + dy * dy) / (near * near);
            if (square < 1)
            {
                canvas.Light(x, ink, (1 - square) * (1 - square) * strength);
            }
        }
    }
}
