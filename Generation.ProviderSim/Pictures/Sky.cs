using System.Runtime.Intrinsics;

namespace Generation.ProviderSim.Pictures;

/// <summary>The sky's gradient and the light that spreads from the sun, wider than high.</summary>
internal sealed class Sky(Palette palette, float horizon, float sunX, float sunY, float reach, float strength) : Layer
{
    public override void Paint(Canvas canvas, float y)
    {
        var unit = canvas.Frame.Unit;
        canvas.Fill(palette.SkyAt(y / horizon));
        var dy = (y - sunY) / (unit * reach);
        var scale = Vector256.Create(1 / (unit * reach * 1.5f));
        var fall = Vector256.Create(1 + dy * dy);
        var step = Vector256.Create(0f, 1, 2, 3, 4, 5, 6, 7) - Vector256.Create(sunX);
        var (red, green, blue) = (Vector256.Create(palette.Glow.Red), Vector256.Create(palette.Glow.Green), Vector256.Create(palette.Glow.Blue));
        for (var x = 0; x < canvas.Red.Length; x += 8)
        {
            var dx = (step + Vector256.Create((float)x)) * scale;
            var falloff = fall + dx * dx;
            canvas.Mix8(x, red, green, blue, Vector256.Create(strength) / (falloff * falloff));
        }
    }
}

/// <summary>Sun, full moon or crescent: a disc with a halo. A crescent is the disc without a second disc beside it.</summary>
internal sealed class Disc(float x, float y, float radius, Ink ink, Ink glow, bool crescent, uint seed, bool isMoon) : Layer
{
    public override void Paint(Canvas canvas, float y0)
    {
        var dy = y0 - y;
        var halo = radius * 4;
        if (MathF.Abs(dy) > halo)
        {
            return;
        }

        var first = Math.Max(0, (int)(x - halo));
        var last = Math.Min(canvas.Red.Length - 1, (int)(x + halo));
        for (var column = first; column <= last; column++)
        {
            var dx = column - x;
            var distance = MathF.Sqrt(dx * dx + dy * dy);
            var shine = Math.Max(0, 1 - distance / halo);
            canvas.Light(column, glow, shine * shine * shine * 0.35f);
            if (distance > radius + 1)
            {
                continue;
            }

            var cover = Math.Clamp(radius - distance + 0.5f, 0, 1);
            if (crescent)
            {
                var (cx, cy) = (dx - radius * 0.42f, dy + radius * 0.18f);
                cover *= Math.Clamp(MathF.Sqrt(cx * cx + cy * cy) - radius * 0.86f + 0.5f, 0, 1);
            }

            var seas = isMoon ? 0.86f + 0.14f * Noise.Planes(dx / radius * 1.6f + 40, dy / radius * 1.6f, seed, 3) : 1;
            var tone = ink * seas;
            canvas.Red[column] += (tone.Red - canvas.Red[column]) * cover;
            canvas.Green[column] += (tone.Green - canvas.Green[column]) * cover;
            canvas.Blue[column] += (tone.Blue - canvas.Blue[column]) * cover;
        }
    }
}

/// <summary>Clouds, nebulae and mist: where a field of noise rises above a threshold, between a top and a bottom edge.</summary>
internal sealed class Veil(Frame frame, Field field, Ink shade, Ink lit, float top, float bottom, float threshold, float softness, float opacity)
    : Layer
{
    private readonly float[] line = new float[frame.PaddedWidth];

    public override void Paint(Canvas canvas, float y)
    {
        if (y < top || y > bottom)
        {
            return;
        }

        var middle = (y - top) / (bottom - top);
        var strength = opacity * Math.Min(1, Math.Min(middle, 1 - middle) * 3);
        field.Read(y, line);
        var low = Vector256.Create(threshold);
        var scale = Vector256.Create(1 / softness);
        for (var x = 0; x < canvas.Red.Length; x += 8)
        {
            var share = Canvas.Clamp01((Vector256.LoadUnsafe(in line[x]) - low) * scale);
            var lightness = share * share;
            canvas.Mix8(x,
                Vector256.Create(shade.Red) + lightness * (lit.Red - shade.Red),
                Vector256.Create(shade.Green) + lightness * (lit.Green - shade.Green),
                Vector256.Create(shade.Blue) + lightness * (lit.Blue - shade.Blue),
                share * (Vector256.Create(3f) - 2 * share) * share * strength);
        }
    }
}

/// <summary>Curtains of polar light: sharp below, fading upwards, folded by noise.</summary>
internal sealed class Aurora : Layer
{
    private readonly float[] hem;
    private readonly float[] strength;
    private readonly float height;
    private readonly Ink low;
    private readonly Ink high;

    public Aurora(Frame frame, uint seed, float baseline, float height, Ink low, Ink high)
    {
        this.height = height * frame.Unit;
        (this.low, this.high) = (low, high);
        hem = new float[frame.PaddedWidth];
        strength = new float[frame.PaddedWidth];
        for (var x = 0; x < hem.Length; x++)
        {
            var u = x / frame.Unit;
            hem[x] = baseline * frame.Height + Noise.Lines(u * 1.7f, seed, 4) * 0.16f * frame.Unit;
            var folds = 0.5f + 0.5f * Noise.Lines(u * 26 + 4 * Noise.Line(u * 3, seed + 5), seed + 9, 3, 0.7f);
            strength[x] = Math.Max(0, 0.25f + 0.75f * Noise.Line(u * 2.1f, seed + 3)) * (0.35f + folds);
        }
    }

    public override void Paint(Canvas canvas, float y)
    {
        for (var x = 0; x < hem.Length; x++)
        {
            var above = hem[x] - y;
            if (above < -height * 0.08f || above > height)
            {
                continue;
            }

            var t = above / height;
            var amount = strength[x] * (above < 0 ? 1 + above / (height * 0.08f) : (1 - t) * (1 - t));
            canvas.Light(x, low.To(high, Math.Max(0, t) * 1.2f), amount * 0.8f);
        }
    }
}

/// <summary>A banded planet lit from one side, with a ring when <paramref name="ringed"/>.</summary>
internal sealed class Planet(float x, float y, float radius, Palette palette, uint seed, bool ringed) : Layer
{
    private const float Tilt = 0.32f;

    public override void Paint(Canvas canvas, float y0)
    {
        var dy = y0 - y;
        if (MathF.Abs(dy) > radius * 1.6f)
        {
            return;
        }

        var first = Math.Max(0, (int)(x - radius * 2.4f));
        var last = Math.Min(canvas.Red.Length - 1, (int)(x + radius * 2.4f));
        for (var column = first; column <= last; column++)
        {
            var (u, v) = ((column - x) / radius, dy / radius);
            // The planet's own axes are tilted: the ring and the bands lie along them.
            var (a, b) = (u + v * Tilt, v - u * Tilt);
            var fromCentre = MathF.Sqrt(u * u + v * v);
            var behind = b < 0;
            if (ringed && behind)
            {
                Ring(canvas, column, a, b);
            }

            var rim = Math.Max(0, 1.35f - fromCentre);
            canvas.Light(column, palette.Glow, fromCentre > 1 ? rim * rim * 0.7f : 0);
            var cover = Math.Clamp((1 - fromCentre) * radius + 0.5f, 0, 1);
            if (cover > 0)
            {
                var depth = MathF.Sqrt(Math.Max(0, 1 - fromCentre * fromCentre));
                var band = 0.5f + 0.5f * Noise.Lines(b * 5 + 0.35f * Noise.Planes(a * 3, b * 6, seed, 3), seed, 4, 0.6f);
                var light = Math.Clamp(depth * 0.55f - u * 0.62f - v * 0.45f, 0.03f, 1.1f);
                var ink = palette.Near.To(palette.Accent, band * 0.8f).To(palette.Glow, band * band * 0.6f) * light;
                canvas.Red[column] += (ink.Red - canvas.Red[column]) * cover;
                canvas.Green[column] += (ink.Green - canvas.Green[column]) * cover;
                canvas.Blue[column] += (ink.Blue - canvas.Blue[column]) * cover;
            }

            if (ringed && !behind)
            {
                Ring(canvas, column, a, b);
            }
        }
    }

    private void Ring(Canvas canvas, int column, float a, float b)
    {
        var distance = MathF.Sqrt(a * a + b * b * 14);
        if (distance is < 1.35f or > 2.2f)
        {
            return;
        }

        var grooves = 0.55f + 0.45f * Noise.Lines(distance * 22, seed + 77, 3, 0.7f);
        var edge = Math.Min(1, Math.Min(distance - 1.35f, 2.2f - distance) * 12);
        canvas.Span(column, column + 1, palette.Glow.To(palette.Accent, grooves), edge * (0.25f + 0.6f * grooves));
    }
}

/// <summary>Silk: bands of the palette along the contour lines of a warped field, sharp at full resolution.</summary>
internal sealed class Silk(Frame frame, Field field, Palette palette, float bands) : Layer
{
    private readonly float[] line = new float[frame.PaddedWidth];
    private readonly Ink[] ramp =
    [
        palette.Near, palette.Water, palette.Sky[0], palette.Sky[1], palette.Far, palette.Sky[2], palette.Sky[3], palette.Glow, palette.Accent,
        palette.Sky[2], palette.Sky[1],
    ];

    public override void Paint(Canvas canvas, float y)
    {
        field.Read(y, line);
        for (var x = 0; x < line.Length; x++)
        {
            var value = (line[x] * 0.5f + 0.5f) * bands;
            var band = MathF.Floor(value);
            var within = value - band;
            // Back and forth through the colours, so that no field is too flat to show them all.
            var turn = value / bands * 3.4f;
            turn -= 2 * MathF.Floor(turn / 2);
            var at = Math.Clamp(turn > 1 ? 2 - turn : turn, 0, 0.999f) * (ramp.Length - 1);
            var stop = (int)at;
            var ink = ramp[stop].To(ramp[stop + 1], at - stop) * (0.74f + 0.36f * within * within);
            (canvas.Red[x], canvas.Green[x], canvas.Blue[x]) = (ink.Red, ink.Green, ink.Blue);
        }
    }

    public override bool Hides(float y) => true;
}

/// <summary>The last touch: corners a little darker, a little grain against banding in long gradients, and no sample out of range.</summary>
internal sealed class Finish : Layer
{
    private readonly float[] grain;
    private readonly float[] across;
    private readonly float height;

    public Finish(Frame frame, float strength)
    {
        height = frame.Height;
        // One row of grain, read from another place on every row: noise for each pixel would cost more than the picture.
        grain = new float[frame.PaddedWidth * 2 + 8];
        var dice = new Dice(1);
        for (var x = 0; x < grain.Length; x++)
        {
            grain[x] = (dice.Fraction() + dice.Fraction() - 1) * strength;
        }

        across = new float[frame.PaddedWidth];
        for (var x = 0; x < across.Length; x++)
        {
            var u = 2f * x / frame.Width - 1;
            across[x] = 0.16f * u * u;
        }
    }

    public override void Paint(Canvas canvas, float y)
    {
        var v = 2 * y / height - 1;
        var bright = Vector256.Create(1.03f - 0.12f * v * v);
        var most = Vector256.Create(255f);
        var start = (int)(Dice.Mix((ulong)y) % (ulong)(grain.Length - across.Length - 7));
        for (var x = 0; x < across.Length; x += 8)
        {
            var vignette = bright - Vector256.LoadUnsafe(in across[x]);
            var speck = Vector256.LoadUnsafe(in grain[start + x]);
            Touch(ref canvas.Red[x], vignette, speck, most);
            Touch(ref canvas.Green[x], vignette, speck, most);
            Touch(ref canvas.Blue[x], vignette, speck, most);
        }

        static void Touch(ref float sample, Vector256<float> vignette, Vector256<float> speck, Vector256<float> most) =>
            Vector256.Min(most, Vector256.Max(Vector256<float>.Zero, Vector256.LoadUnsafe(in sample) * vignette + speck)).StoreUnsafe(ref sample);
    }
}
