namespace Generation.ProviderSim.Pictures;

/// <summary>Scenes of land and of no place at all.</summary>
internal sealed partial class Composition
{
    private void Mountains()
    {
        var horizon = dice.Between(0.5f, 0.6f);
        Heaven(horizon + 0.08f, dice.Between(0.16f, horizon - 0.14f));
        var ranges = dice.Whole(4, 6);
        var peaks = dice.Between(0.2f, 0.34f);
        for (var range = 0; range < ranges; range++)
        {
            var near = (range + 0.5f) / ranges;
            var seed = Seed();
            var frequency = 1.6f + near * 1.2f;
            var amplitude = unit * peaks * (1 - 0.55f * near);
            var foot = frame.Height * (horizon + (0.98f - horizon) * near * near);
            // Ridged noise: the fold at zero is what makes a peak of a wave.
            var top = Line(u => foot + unit * 0.05f - amplitude * MathF.Pow(1 - MathF.Abs(Noise.Lines(u * frequency, seed, 6, 0.48f)) * 1.6f,
                1.5f).OrZero());
            layers.Add(new Ridge(frame, top, unit * (0.16f + 0.2f * near), Distance(near),
                Distance(near * 0.8f).To(palette.Sky[3], 0.25f * (1 - near)),
                0.07f, lightFromLeft));
            if (range == 0 || (range == 1 && Has(SceneDetails.Snow)))
            {
                layers.Add(new SnowCap(frame, top, seed, foot - amplitude * 0.32f, Ink.Hex(0xFFFFFF).To(palette.Glow, 0.45f),
                    palette.Far.To(palette.Sky[1], 0.5f), lightFromLeft));
            }

            if (Has(SceneDetails.Mist) && range < ranges - 1)
            {
                Mist(foot / frame.Height - 0.1f, foot / frame.Height + 0.06f, 0.65f);
            }

            if (range == ranges - 1)
            {
                Conifers(top, 60, 0.05f, palette.Near * 0.7f, palette.Near);
            }
        }
    }

    private void Conifers(float[] ground, int count, float size, Ink upper, Ink lower)
    {
        var trees = new Shapes(frame);
        for (var n = 0; n < count; n++)
        {
            var x = dice.Fraction() * frame.Width;
            var height = unit * size * dice.Between(0.55f, 1.25f);
            trees.Add(Shape.Conifer(x, ground[(int)x] + height * 0.12f, height, height * dice.Between(0.17f, 0.25f), upper, lower));
        }

        layers.Add(trees);
    }

    private void Forest()
    {
        var horizon = dice.Between(0.34f, 0.46f);
        Heaven(horizon + 0.2f, dice.Between(0.14f, 0.34f), 0.06f);
        var rows = dice.Whole(5, 6);
        for (var row = 0; row < rows; row++)
        {
            var near = (row + 0.6f) / rows;
            var seed = Seed();
            var ground = frame.Height * (horizon + (1.02f - horizon) * MathF.Pow(near, 1.3f));
            var top = Line(u => ground + unit * (0.06f * Noise.Lines(u * 1.3f, seed, 3) + 0.01f * Noise.Lines(u * 20, seed, 2)));
            var ink = Distance(near);
            Conifers(top, (int)(150 * (1.15f - near)), 0.10f + 0.24f * near * near, ink * 0.86f, ink);
            layers.Add(new Ridge(frame, top, unit * 0.14f, ink, ink.To(palette.Sky[3], 0.35f * (1 - near)), 0.1f, lightFromLeft));
            if (row < rows - 1)
            {
                Mist(ground / frame.Height - 0.09f, ground / frame.Height + 0.09f, 0.8f * (1 - near * 0.6f));
            }
        }
    }

    private void Desert()
    {
        var horizon = dice.Between(0.46f, 0.58f);
        Heaven(horizon + 0.04f, dice.Between(0.2f, horizon - 0.08f), dice.Between(0.06f, 0.11f));
        var sand = palette.Accent.To(palette.Glow, 0.55f).To(palette.Sky[2], 0.25f);
        var shade = palette.Near.To(palette.Far, 0.35f);
        var dunes = dice.Whole(5, 7);
        for (var dune = 0; dune < dunes; dune++)
        {
            var near = (dune + 0.4f) / dunes;
            var seed = Seed();
            var foot = frame.Height * (horizon + (1 - horizon) * MathF.Pow(near, 1.4f) * 0.92f);
            var amplitude = unit * (0.02f + 0.11f * near);
            var stretch = dice.Between(1.2f, 2.2f);
            // A dune leans: long to windward, short to lee.
            var top = Line(u => foot - amplitude * (0.5f + 0.6f * Noise.Line(u * stretch + 0.5f * Noise.Line(u * stretch, seed + 1), seed)
                + 0.12f * Noise.Line(u * stretch * 3.1f, seed + 2)));
            var lit = palette.IsNight ? palette.Far : sand;
            layers.Add(new Ridge(frame, top, unit * (0.08f + 0.22f * near), palette.Far.To(lit, 0.25f + 0.7f * near),
                lit.To(shade, 0.35f + 0.55f * near), 0.95f, lightFromLeft, unit * 0.006f, lit.To(Ink.Hex(0xFFFFFF), palette.IsNight ? 0.1f : 0.35f)));
        }
    }

    private void Meadow()
    {
        var horizon = dice.Between(0.42f, 0.54f);
        Heaven(horizon + 0.08f, dice.Between(0.14f, 0.34f));
        var hills = dice.Whole(4, 5);
        var green = palette.IsNight ? palette.Near.To(Ink.Hex(0x16402A), 0.5f) : palette.Near.To(Ink.Hex(0x5FA04A), 0.55f);
        float[] ground = [];
        for (var hill = 0; hill < hills; hill++)
        {
            var near = (hill + 0.5f) / hills;
            var seed = Seed();
            var foot = frame.Height * (horizon + (0.88f - horizon) * near);
            ground = Line(u => foot - unit * (0.09f * (1.2f - near)) * Noise.Lines(u * (1.2f + near), seed, 3, 0.35f));
            var ink = palette.Far.To(green, 0.2f + 0.8f * near);
            if (hill is > 0 and < 4)
            {
                Conifers(ground, dice.Whole(6, 26), 0.03f + 0.05f * near, ink * 0.62f, ink * 0.75f);
            }

            layers.Add(new Ridge(frame, ground, unit * 0.3f, ink.To(palette.Glow, 0.18f), ink * 0.72f, 0.4f, lightFromLeft));
        }

        var flowers = new Shapes(frame);
        Ink[] inks = [palette.Accent, palette.Sun, palette.Accent.To(palette.Sun, 0.5f), palette.Glow, palette.Sky[1].To(palette.Accent, 0.3f)];
        for (var n = 0; n < 1500; n++)
        {
            // From far to near: size grows with the row, which is all the perspective a meadow needs.
            var t = n / 1500f;
            var x = dice.Fraction() * frame.Width;
            var y = ground[(int)x] + unit * 0.01f + (frame.Height * 1.03f - ground[(int)x]) * (t * t * 0.9f + 0.1f * dice.Fraction());
            var radius = unit * (0.0015f + 0.009f * t * t);
            if (dice.Chance(0.55f))
            {
                var bend = dice.Between(-2, 2) * radius;
                flowers.Add(Shape.Quad(y - radius * dice.Between(3, 7), x + bend, x + bend + 1, y + radius * 3, x - radius * 0.4f, x + radius * 0.4f,
                    green.To(palette.Glow, 0.3f), green * 0.6f));
                continue;
            }

            var ink = dice.Pick(inks);
            flowers.Add(Shape.Box(x - radius * 0.12f - 0.3f, y, x + radius * 0.12f + 0.3f, y + radius * 5, green, green * 0.6f));
            for (var petal = 0; petal < 5; petal++)
            {
                var (sin, cos) = MathF.SinCos(petal * 1.2566f + n);
                flowers.Add(Shape.Ellipse(x + cos * radius * 0.7f, y + sin * radius * 0.55f, radius * 0.62f, radius * 0.52f,
                    ink * (0.85f + 0.04f * petal)));
            }

            flowers.Add(Shape.Ellipse(x, y, radius * 0.36f, radius * 0.32f, palette.Sun));
        }

        layers.Add(flowers);
    }

    private void Space()
    {
        layers.Add(new Sky(palette, frame.Height * 1.9f, frame.Width * 0.7f, frame.Height * 0.3f, 0.5f, 0.15f));
        for (var cloud = 0; cloud < 2; cloud++)
        {
            var seed = Seed();
            var field = new Field(frame, (x, y) =>
            {
                var (a, b) = (Noise.Planes(x * 1.4f, y * 1.4f, seed + 1, 3), Noise.Planes(x * 1.4f + 7, y * 1.4f, seed + 2, 3));
                return Noise.Planes(x * 1.3f + a * 1.1f, y * 1.3f + b * 1.1f, seed, 6, 0.56f);
            });
            layers.Add(new Veil(frame, field, palette.Sky[2 + cloud % 2], cloud == 0 ? palette.Glow
                : palette.Accent, -frame.Height, frame.Height * 2, -0.12f, 0.62f, 0.6f));
        }

        Stars(frame.Height * 1.4f, 1100);
        var size = unit * dice.Between(0.16f, 0.27f);
        layers.Add(new Planet(frame.Width * dice.Between(0.32f, 0.68f), frame.Height * dice.Between(0.38f, 0.62f), size,
            palette with { Accent = palette.Accent }, Seed(), Has(SceneDetails.Ring)));
        layers.Add(new Planet(frame.Width * dice.Between(0.08f, 0.92f), frame.Height * dice.Between(0.1f, 0.24f), unit * dice.Between(0.02f, 0.05f),
            palette with { Accent = palette.Far }, Seed(), ringed: false));
    }

    private void Silk()
    {
        var seed = Seed();
        var (scale, force) = (dice.Between(0.7f, 1.3f), dice.Between(0.8f, 1.6f));
        var field = new Field(frame, (x, y) =>
        {
            var a = Noise.Planes(x * scale, y * scale, seed, 3, 0.4f);
            var b = Noise.Planes(x * scale + 5.2f, y * scale + 1.3f, seed + 3, 3, 0.4f);
            return 1.5f * Noise.Planes(x * scale + a * force, y * scale + b * force, seed + 11, 3, 0.4f);
        });
        layers.Add(new Silk(frame, field, palette, dice.Between(14, 30)));
    }
}

internal static class FloatRules
{
    /// <summary>A power of a negative number is no number: ridged noise that went below zero is ground level.</summary>
    public static float OrZero(this float value) => float.IsNaN(value) ? 0 : value;
}
