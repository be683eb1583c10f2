namespace Generation.ProviderSim.Pictures;

/// <summary>Arranges layers into a scene. Every length is a share of the frame, every choice a throw of the recipe's dice.</summary>
internal sealed class Composition
{
    private readonly Recipe recipe;
    private readonly Frame frame;
    private readonly Palette palette;
    private readonly Dice dice;
    private readonly List<Layer> layers = [];
    private readonly float unit;
    private readonly bool lightFromLeft;
    private float sunX, sunY;

    private Composition(Recipe recipe, Frame frame)
    {
        this.recipe = recipe;
        this.frame = frame;
        unit = frame.Unit;
        palette = Palette.All[recipe.PaletteIndex];
        dice = new Dice(recipe.Seed);
        lightFromLeft = dice.Chance(0.5f);
    }

    /// <summary>The scene's layers from back to front.</summary>
    public static IReadOnlyList<Layer> Of(Recipe recipe, Frame frame)
    {
        var composition = new Composition(recipe, frame);
        composition.Arrange();
        return composition.layers;
    }

    private uint Seed() => (uint)dice.Next();

    private bool Has(SceneDetails detail) => recipe.Details.HasFlag(detail);

    private void Arrange()
    {
        switch (recipe.Kind)
        {
            case SceneKind.Mountains: Mountains(); break;
            case SceneKind.Sea: Sea(); break;
            case SceneKind.Forest: Forest(); break;
            case SceneKind.Desert: Desert(); break;
            case SceneKind.City: City(); break;
            case SceneKind.Lake: Lake(); break;
            case SceneKind.Meadow: Meadow(); break;
            case SceneKind.Space: Space(); break;
            default: Silk(); break;
        }

        if (Has(SceneDetails.Snow) && recipe.Kind != SceneKind.Silk && recipe.Kind != SceneKind.Space) Weather(900, Ink.Hex(0xFFFFFF), 0.0022f, 1, 0.75f);
        if (Has(SceneDetails.Rain) && recipe.Kind != SceneKind.Silk && recipe.Kind != SceneKind.Space) Weather(700, palette.Sky[3], 0.0007f, 26, 0.35f);
    }

    private void Heaven(float horizon, float sunHeight, float size = 0.055f)
    {
        sunX = frame.Width * (lightFromLeft ? dice.Between(0.18f, 0.42f) : dice.Between(0.58f, 0.82f));
        sunY = frame.Height * sunHeight;
        var isMoon = Has(SceneDetails.Moon) || palette.IsNight;
        layers.Add(new Sky(palette, frame.Height * horizon, sunX, sunY, palette.IsNight ? 0.28f : 0.34f, palette.IsNight ? 0.45f : 0.8f));
        if (Has(SceneDetails.Stars)) Stars(frame.Height * horizon, palette.IsNight ? 620 : 160);
        if (Has(SceneDetails.Aurora))
            layers.Add(new Aurora(frame, Seed(), horizon * 0.62f, 0.42f, Ink.Hex(0x3FE0A0), Ink.Hex(0x7A4FD0)));
        layers.Add(new Disc(sunX, sunY, unit * size * (isMoon ? 0.8f : 1), palette.Sun, palette.Glow, isMoon && dice.Chance(0.45f), Seed(), isMoon));
        if (Has(SceneDetails.Clouds)) Clouds(horizon);
        if (Has(SceneDetails.Birds)) Birds(horizon);
        if (Has(SceneDetails.Balloon)) Balloons(horizon);
    }

    private void Stars(float bottom, int count)
    {
        var stars = new Shapes(frame);
        for (var n = 0; n < count; n++)
        {
            var y = bottom * MathF.Pow(dice.Fraction(), 1.3f);
            var radius = unit * (0.0005f + 0.0015f * MathF.Pow(dice.Fraction(), 6));
            var ink = Ink.Hex(0xFFFFFF).To(dice.Chance(0.3f) ? palette.Accent : palette.Glow, 0.4f * dice.Fraction());
            stars.Add(Shape.Ellipse(dice.Fraction() * frame.Width, y, radius, radius, ink, dice.Between(0.35f, 1) * (1 - y / bottom * 0.7f)));
        }

        layers.Add(stars);
    }

    private void Clouds(float horizon)
    {
        var seed = Seed();
        var stretch = dice.Between(2.2f, 4.2f);
        var field = new Field(frame, (x, y) =>
        {
            var warp = Noise.Plane(x * 2, y * 4, seed + 9) * 0.3f;
            return Noise.Planes(x * 2.4f + warp, y * 2.4f * stretch + warp, seed, 5, 0.55f);
        });
        layers.Add(new Veil(frame, field, palette.Sky[1].To(palette.Sky[2], 0.5f), palette.Glow.To(Ink.Hex(0xFFFFFF), palette.IsNight ? 0 : 0.35f),
            -frame.Height * 0.1f, frame.Height * horizon * 0.98f, dice.Between(-0.05f, 0.12f), 0.5f, palette.IsNight ? 0.35f : 0.75f));
    }

    private void Mist(float top, float bottom, float opacity)
    {
        var seed = Seed();
        var field = new Field(frame, (x, y) => 0.35f + Noise.Planes(x * 1.6f, y * 6, seed, 3));
        var ink = palette.Sky[3].To(palette.Far, 0.35f);
        layers.Add(new Veil(frame, field, ink, ink.To(palette.Glow, 0.3f), frame.Height * top, frame.Height * bottom, -0.2f, 0.9f, opacity));
    }

    private float[] Line(Func<float, float> height) =>
        Array.ConvertAll(Enumerable.Range(0, frame.PaddedWidth).ToArray(), x => height(x / unit));

    private Ink Distance(float near) => palette.Far.To(palette.Near, MathF.Pow(near, 0.8f));

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
            var top = Line(u => foot + unit * 0.05f - amplitude * MathF.Pow(1 - MathF.Abs(Noise.Lines(u * frequency, seed, 6, 0.48f)) * 1.6f, 1.5f).OrZero());
            layers.Add(new Ridge(frame, top, unit * (0.16f + 0.2f * near), Distance(near), Distance(near * 0.8f).To(palette.Sky[3], 0.25f * (1 - near)),
                0.07f, lightFromLeft));
            if (range == 0 || (range == 1 && Has(SceneDetails.Snow)))
            {
                layers.Add(new SnowCap(frame, top, seed, foot - amplitude * 0.32f, Ink.Hex(0xFFFFFF).To(palette.Glow, 0.45f),
                    palette.Far.To(palette.Sky[1], 0.5f), lightFromLeft));
            }

            if (Has(SceneDetails.Mist) && range < ranges - 1) Mist(foot / frame.Height - 0.1f, foot / frame.Height + 0.06f, 0.65f);
            if (range == ranges - 1) Conifers(top, 60, 0.05f, palette.Near * 0.7f, palette.Near);
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
            if (row < rows - 1) Mist(ground / frame.Height - 0.09f, ground / frame.Height + 0.09f, 0.8f * (1 - near * 0.6f));
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
            if (hill is > 0 and < 4) Conifers(ground, dice.Whole(6, 26), 0.03f + 0.05f * near, ink * 0.62f, ink * 0.75f);
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
                flowers.Add(Shape.Ellipse(x + cos * radius * 0.7f, y + sin * radius * 0.55f, radius * 0.62f, radius * 0.52f, ink * (0.85f + 0.04f * petal)));
            }

            flowers.Add(Shape.Ellipse(x, y, radius * 0.36f, radius * 0.32f, palette.Sun));
        }

        layers.Add(flowers);
    }

    private void Lake()
    {
        var shore = dice.Between(0.55f, 0.64f);
        Heaven(shore, dice.Between(0.14f, shore - 0.24f));
        for (var range = 0; range < 3; range++)
        {
            var near = (range + 0.3f) / 3;
            var seed = Seed();
            var amplitude = unit * dice.Between(0.16f, 0.3f) * (1 - near * 0.75f);
            var foot = frame.Height * shore;
            var top = Line(u => foot - amplitude * MathF.Pow(1 - MathF.Abs(Noise.Lines(u * (1.3f + near), seed, 6, 0.5f)) * 1.5f, 1.4f).OrZero() - unit * 0.004f);
            layers.Add(new Ridge(frame, top, unit * 0.2f, Distance(near), Distance(near * 0.6f).To(palette.Sky[3], 0.2f), 0.06f, lightFromLeft));
            if (range == 0) layers.Add(new SnowCap(frame, top, seed, foot - amplitude * 0.4f, Ink.Hex(0xFFFFFF).To(palette.Glow, 0.4f), palette.Far, lightFromLeft));
            if (range == 2) Conifers(top, 130, 0.05f, palette.Near * 0.9f, palette.Near);
        }

        if (Has(SceneDetails.Mist)) Mist(shore - 0.07f, shore + 0.005f, 0.6f);
        layers.Add(new Water(frame, [.. layers], frame.Height * shore, palette.Water, Seed(), 0.6f));
        Glitter(frame.Height * shore, 260, 0.5f);
        if (Has(SceneDetails.Boat)) Sailboat(frame.Width * dice.Between(0.3f, 0.7f), frame.Height * (shore + 0.08f), unit * 0.06f);
        Bank(0.93f);
    }

    private void Bank(float height)
    {
        var seed = Seed();
        var top = Line(u => frame.Height * height + unit * 0.05f * Noise.Lines(u * 1.6f, seed, 4) + unit * 0.02f * u);
        Conifers(top, 9, 0.2f, palette.Near * 0.55f, palette.Near * 0.7f);
        layers.Add(new Ridge(frame, top, unit * 0.1f, palette.Near * 0.8f, palette.Near * 0.5f, 0.2f, lightFromLeft));
    }

    private void Glitter(float shore, int count, float alpha)
    {
        var dashes = new Shapes(frame);
        for (var n = 0; n < count; n++)
        {
            var t = dice.Fraction();
            var y = shore + 2 + (frame.Height - shore) * t * t;
            var spread = unit * (0.02f + 0.16f * t) * (dice.Fraction() + dice.Fraction() - 1);
            var length = unit * (0.004f + 0.035f * t) * dice.Between(0.4f, 1.4f);
            dashes.Add(Shape.Ellipse(sunX + spread, y, length, Math.Max(0.8f, unit * (0.0006f + 0.0022f * t)), palette.Sun.To(palette.Glow, 0.4f),
                alpha * dice.Between(0.3f, 1)));
        }

        layers.Add(dashes);
    }

    private void Sea()
    {
        var horizon = dice.Between(0.44f, 0.58f);
        Heaven(horizon, dice.Between(0.2f, horizon - 0.07f), dice.Between(0.05f, 0.085f));
        var shore = frame.Height * horizon;
        if (dice.Chance(0.6f))
        {
            var seed = Seed();
            layers.Add(new Ridge(frame, Line(u => shore + unit * 0.012f - unit * 0.06f * Math.Max(0, Noise.Lines(u * 1.4f, seed, 5) + 0.15f)),
                unit * 0.05f, palette.Far, palette.Far.To(palette.Sky[3], 0.4f), 0.3f, lightFromLeft));
        }

        layers.Add(new Water(frame, [.. layers], shore, palette.Water, Seed(), 0.25f));
        var lines = new Shapes(frame);
        for (var n = 0; n < 420; n++)
        {
            var t = dice.Fraction();
            var y = shore + 2 + (frame.Height - shore) * t * t;
            var ink = dice.Chance(0.5f) ? palette.Water * 0.7f : palette.Sky[3].To(palette.Sky[2], 0.4f);
            lines.Add(Shape.Ellipse(dice.Fraction() * frame.Width, y, unit * (0.012f + 0.1f * t) * dice.Between(0.4f, 1.5f),
                Math.Max(0.7f, unit * (0.0007f + 0.0028f * t)), ink, dice.Between(0.06f, 0.3f)));
        }

        layers.Add(lines);
        Glitter(shore, 420, 0.75f);
        if (Has(SceneDetails.Boat)) Sailboat(frame.Width - sunX + unit * dice.Between(-0.1f, 0.1f), shore + unit * dice.Between(0.03f, 0.1f), unit * dice.Between(0.07f, 0.13f));
        Swell();
        if (Has(SceneDetails.Lighthouse)) Lighthouse();
    }

    private void Swell()
    {
        for (var wave = 0; wave < 3; wave++)
        {
            var near = (wave + 1) / 3f;
            var seed = Seed();
            var foot = frame.Height * (0.76f + 0.2f * near);
            var top = Line(u => foot + unit * 0.02f * Noise.Line(u * 1.3f, seed)
                - unit * (0.012f + 0.022f * near) * (1 - MathF.Abs(MathF.Sin(u * (9 - 2 * near) + 1.6f * Noise.Line(u * 2, seed + 1)))));
            layers.Add(new Ridge(frame, top, unit * 0.12f, palette.Water.To(palette.Sky[2], 0.34f * (1.2f - near)), palette.Water * (1 - 0.35f * near), 0.06f,
                lightFromLeft, unit * (0.003f + 0.004f * near), palette.Sky[3].To(Ink.Hex(0xFFFFFF), 0.4f)));
        }
    }

    private void Sailboat(float x, float y, float size)
    {
        var boat = new Shapes(frame);
        var hull = palette.Near * 0.8f;
        var sail = palette.Sun.To(palette.Accent, 0.15f);
        boat.Add(Shape.Ellipse(x, y + size * 0.16f, size * 0.6f, size * 0.03f, palette.Near, 0.35f));
        boat.Add(Shape.Quad(y, x - size * 0.5f, x + size * 0.55f, y + size * 0.16f, x - size * 0.34f, x + size * 0.36f, hull.To(palette.Accent, 0.3f), hull));
        boat.Add(Shape.Box(x - size * 0.012f, y - size * 1.15f, x + size * 0.012f, y, hull, hull));
        boat.Add(Shape.Quad(y - size * 1.1f, x + size * 0.03f, x + size * 0.04f, y - size * 0.08f, x + size * 0.03f, x + size * 0.52f, sail, sail * 0.88f));
        boat.Add(Shape.Quad(y - size * 0.98f, x - size * 0.035f, x - size * 0.03f, y - size * 0.08f, x - size * 0.44f, x - size * 0.03f, sail * 0.93f, sail * 0.8f));
        layers.Add(boat);
    }

    private void Lighthouse()
    {
        var x = frame.Width * (lightFromLeft ? dice.Between(0.68f, 0.82f) : dice.Between(0.18f, 0.32f));
        var foot = frame.Height * 0.74f;
        var height = Math.Min(unit * 0.46f, frame.Height * 0.52f);
        var lampY = foot - height * 0.93f;
        var seed = Seed();
        if (palette.IsNight || palette.Name is "dusk" or "ember" or "storm")
            layers.Add(new Beam(frame, x, lampY, dice.Between(-0.22f, 0.1f), palette.Accent, 0.75f));
        var cliff = Line(u =>
        {
            var away = MathF.Abs(u - x / unit);
            return foot + unit * (0.9f * Math.Max(0, away - 0.07f - 0.02f * Noise.Lines(u * 9, seed, 2)) + 0.02f * Noise.Lines(u * 14, seed, 4)) + unit * 0.01f;
        });
        var wall = Ink.Hex(0xF6F1E6).To(palette.Glow, 0.3f) * (palette.IsNight ? 0.55f : 1);
        var band = Ink.Hex(0xC8382E).To(palette.Near, palette.IsNight ? 0.5f : 0.15f);
        var tower = new Shapes(frame);
        const int Bands = 6;
        for (var n = 0; n < Bands; n++)
        {
            var (upper, lower) = (n / (float)Bands, (n + 1f) / Bands);
            var (high, low) = (foot - height * 0.84f * (1 - upper), foot + height * 0.03f - height * 0.87f * (1 - lower));
            var (halfHigh, halfLow) = (height * (0.052f + 0.05f * upper), height * (0.052f + 0.05f * lower));
            var ink = n % 2 == 0 ? wall : band;
            tower.Add(Shape.Quad(high, x - halfHigh, x + halfHigh, low, x - halfLow, x + halfLow, ink, ink));
            // The side away from the sun lies in shade.
            var (a, b) = lightFromLeft ? (0.15f, 1f) : (-1f, -0.15f);
            tower.Add(Shape.Quad(high, x + halfHigh * a, x + halfHigh * b, low, x + halfLow * a, x + halfLow * b, ink * 0.7f, ink * 0.66f));
        }

        var gallery = palette.Near * 0.9f;
        tower.Add(Shape.Box(x - height * 0.075f, foot - height * 0.86f, x + height * 0.075f, foot - height * 0.84f, gallery, gallery));
        tower.Add(Shape.Box(x - height * 0.042f, foot - height * 0.97f, x + height * 0.042f, foot - height * 0.86f, palette.Accent, palette.Sun));
        tower.Add(Shape.Box(x - height * 0.004f, foot - height * 0.97f, x + height * 0.004f, foot - height * 0.86f, gallery, gallery));
        tower.Add(Shape.Quad(foot - height * 1.05f, x - 1, x + 1, foot - height * 0.965f, x - height * 0.055f, x + height * 0.055f, band, band * 0.8f));
        layers.Add(tower);
        layers.Add(new Ridge(frame, cliff, unit * 0.3f, palette.Near.To(palette.Far, 0.3f), palette.Near * 0.7f, 0.15f, lightFromLeft));
    }

    private void City()
    {
        var shore = dice.Between(0.72f, 0.82f);
        Heaven(shore, dice.Between(0.16f, 0.36f));
        for (var row = 0; row < 3; row++)
        {
            var near = (row + 0.5f) / 3;
            var blocks = new Shapes(frame);
            var ink = Distance(near * 0.95f);
            var foot = frame.Height * (shore + 0.01f);
            for (var x = -unit * 0.05f; x < frame.Width;)
            {
                var width = unit * dice.Between(0.035f, 0.09f);
                var centre = 1 - MathF.Abs((x + width / 2) / frame.Width - 0.5f) * 1.3f;
                var height = unit * (0.1f + 0.42f * MathF.Pow(dice.Fraction(), 1.8f) * centre) * (1.1f - 0.4f * near);
                Building(blocks, x, foot - height, x + width, foot, ink, near);
                x += width * dice.Between(0.85f, 1.25f);
            }

            layers.Add(blocks);
            if (row < 2 && Has(SceneDetails.Mist)) Mist(shore - 0.2f, shore + 0.02f, 0.5f);
        }

        layers.Add(new Water(frame, [.. layers], frame.Height * shore, palette.Water, Seed(), 0.45f));
        Glitter(frame.Height * shore, 200, 0.45f);
    }

    private void Building(Shapes blocks, float left, float top, float right, float bottom, Ink ink, float near)
    {
        blocks.Add(Shape.Box(left, top, right, bottom, ink * 0.92f, ink.To(palette.Sky[3], 0.15f * (1 - near))));
        var shaded = lightFromLeft ? (left + right * 2) / 3 : left;
        blocks.Add(Shape.Box(shaded, top, lightFromLeft ? right : (left * 2 + right) / 3, bottom, ink * 0.78f, ink * 0.86f, 0.8f));
        if (dice.Chance(0.3f))
        {
            var inset = (right - left) * dice.Between(0.15f, 0.3f);
            var step = unit * dice.Between(0.015f, 0.05f);
            blocks.Add(Shape.Box(left + inset, top - step, right - inset, top, ink * 0.9f, ink * 0.9f));
            if (dice.Chance(0.6f)) blocks.Add(Shape.Box((left + right) / 2 - 1, top - step * 2.4f, (left + right) / 2 + 1, top - step, ink, ink));
        }

        if (near < 0.3f) return;
        var lit = palette.IsNight ? 0.5f : palette.Name is "dusk" or "ember" or "storm" ? 0.34f : 0.1f;
        var cell = unit * 0.0095f;
        for (var y = top + cell; y < bottom - cell; y += cell * 1.5f)
        {
            for (var x = left + cell * 0.7f; x < right - cell; x += cell * 1.25f)
            {
                if (!dice.Chance(lit)) continue;
                blocks.Add(Shape.Box(x, y, x + cell * 0.62f, y + cell * 0.8f, palette.Accent, palette.Accent * 0.9f, dice.Between(0.45f, 1)));
            }
        }
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
            layers.Add(new Veil(frame, field, palette.Sky[2 + cloud % 2], cloud == 0 ? palette.Glow : palette.Accent, -frame.Height, frame.Height * 2, -0.12f, 0.62f, 0.6f));
        }

        Stars(frame.Height * 1.4f, 1100);
        var size = unit * dice.Between(0.16f, 0.27f);
        layers.Add(new Planet(frame.Width * dice.Between(0.32f, 0.68f), frame.Height * dice.Between(0.38f, 0.62f), size, palette with { Accent = palette.Accent }, Seed(), Has(SceneDetails.Ring)));
        layers.Add(new Planet(frame.Width * dice.Between(0.08f, 0.92f), frame.Height * dice.Between(0.1f, 0.24f), unit * dice.Between(0.02f, 0.05f), palette with { Accent = palette.Far }, Seed(), ringed: false));
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

    private void Birds(float horizon)
    {
        var birds = new Shapes(frame);
        var (flockX, flockY) = (frame.Width * dice.Between(0.25f, 0.75f), frame.Height * horizon * dice.Between(0.3f, 0.6f));
        var ink = palette.Near.To(palette.Sky[1], 0.2f);
        for (var n = dice.Whole(5, 12); n > 0; n--)
        {
            var (x, y) = (flockX + unit * dice.Between(-0.16f, 0.16f), flockY + unit * dice.Between(-0.07f, 0.07f));
            var span = unit * dice.Between(0.007f, 0.015f);
            var thick = span * 0.22f;
            birds.Add(Shape.Quad(y - span * 0.5f, x - span, x - span + thick, y, x - thick, x + thick * 0.5f, ink, ink));
            birds.Add(Shape.Quad(y - span * 0.45f, x + span - thick, x + span, y, x - thick * 0.5f, x + thick, ink, ink));
        }

        layers.Add(birds);
    }

    private void Balloons(float horizon)
    {
        var balloons = new Shapes(frame);
        for (var n = dice.Whole(1, 4); n > 0; n--)
        {
            var radius = unit * dice.Between(0.016f, 0.045f);
            var (x, y) = (frame.Width * dice.Between(0.12f, 0.88f), frame.Height * horizon * dice.Between(0.2f, 0.75f));
            Ink[] inks = [palette.Accent, palette.Sun, palette.Accent.To(palette.Sky[0], 0.5f)];
            balloons.Add(Shape.Quad(y + radius * 0.75f, x - radius * 0.62f, x + radius * 0.62f, y + radius * 1.5f, x - radius * 0.16f, x + radius * 0.16f, inks[0] * 0.8f, inks[0] * 0.6f));
            for (var stripe = 0; stripe < 4; stripe++)
                balloons.Add(Shape.Ellipse(x, y, radius * (1 - stripe * 0.28f), radius * 1.06f, inks[stripe % 3] * (0.86f + 0.05f * stripe)));
            balloons.Add(Shape.Box(x - radius * 0.14f, y + radius * 1.66f, x + radius * 0.14f, y + radius * 1.9f, palette.Near, palette.Near));
        }

        layers.Add(balloons);
    }

    private void Weather(int count, Ink ink, float radius, float stretch, float alpha)
    {
        var drops = new Shapes(frame);
        for (var n = 0; n < count; n++)
        {
            var size = unit * radius * dice.Between(0.4f, 1.8f);
            drops.Add(Shape.Ellipse(dice.Fraction() * frame.Width, dice.Fraction() * frame.Height, Math.Max(0.6f, size), Math.Max(0.6f, size) * stretch, ink, alpha * dice.Between(0.3f, 1)));
        }

        layers.Add(drops);
    }
}

internal static class FloatRules
{
    /// <summary>A power of a negative number is no number: ridged noise that went below zero is ground level.</summary>
    public static float OrZero(this float value) => float.IsNaN(value) ? 0 : value;
}
