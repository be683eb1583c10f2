namespace Generation.ProviderSim.Pictures;

/// <summary>Scenes that are mirrored in water.</summary>
internal sealed partial class Composition
{
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
            var top = Line(u => foot - amplitude * MathF.Pow(1 - MathF.Abs(Noise.Lines(u * (1.3f + near), seed, 6, 0.5f)) * 1.5f,
                1.4f).OrZero() - unit * 0.004f);
            layers.Add(new Ridge(frame, top, unit * 0.2f, Distance(near), Distance(near * 0.6f).To(palette.Sky[3], 0.2f), 0.06f, lightFromLeft));
            if (range == 0)
            {
                layers.Add(new SnowCap(frame, top, seed, foot - amplitude * 0.4f, Ink.Hex(0xFFFFFF).To(palette.Glow, 0.4f), palette.Far,
                lightFromLeft));
            }

            if (range == 2)
            {
                Conifers(top, 130, 0.05f, palette.Near * 0.9f, palette.Near);
            }
        }

        if (Has(SceneDetails.Mist))
        {
            Mist(shore - 0.07f, shore + 0.005f, 0.6f);
        }

        layers.Add(new Water(frame, [.. layers], frame.Height * shore, palette.Water, Seed(), 0.6f));
        Glitter(frame.Height * shore, 260, 0.5f);
        if (Has(SceneDetails.Boat))
        {
            Sailboat(frame.Width * dice.Between(0.3f, 0.7f), frame.Height * (shore + 0.08f), unit * 0.06f);
        }

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
        if (Has(SceneDetails.Boat))
        {
            Sailboat(frame.Width - sunX + unit * dice.Between(-0.1f, 0.1f), shore + unit * dice.Between(0.03f, 0.1f),
            unit * dice.Between(0.07f, 0.13f));
        }

        Swell();
        if (Has(SceneDetails.Lighthouse))
        {
            Lighthouse();
        }
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
            layers.Add(new Ridge(frame, top, unit * 0.12f, palette.Water.To(palette.Sky[2], 0.34f * (1.2f - near)),
                palette.Water * (1 - 0.35f * near), 0.06f,
                lightFromLeft, unit * (0.003f + 0.004f * near), palette.Sky[3].To(Ink.Hex(0xFFFFFF), 0.4f)));
        }
    }

    private void Sailboat(float x, float y, float size)
    {
        var boat = new Shapes(frame);
        var hull = palette.Near * 0.8f;
        var sail = palette.Sun.To(palette.Accent, 0.15f);
        boat.Add(Shape.Ellipse(x, y + size * 0.16f, size * 0.6f, size * 0.03f, palette.Near, 0.35f));
        boat.Add(Shape.Quad(y, x - size * 0.5f, x + size * 0.55f, y + size * 0.16f, x - size * 0.34f, x + size * 0.36f,
            hull.To(palette.Accent, 0.3f), hull));
        boat.Add(Shape.Box(x - size * 0.012f, y - size * 1.15f, x + size * 0.012f, y, hull, hull));
        boat.Add(Shape.Quad(y - size * 1.1f, x + size * 0.03f, x + size * 0.04f, y - size * 0.08f, x + size * 0.03f, x + size * 0.52f, sail,
            sail * 0.88f));
        boat.Add(Shape.Quad(y - size * 0.98f, x - size * 0.035f, x - size * 0.03f, y - size * 0.08f, x - size * 0.44f, x - size * 0.03f,
            sail * 0.93f, sail * 0.8f));
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
        {
            layers.Add(new Beam(frame, x, lampY, dice.Between(-0.22f, 0.1f), palette.Accent, 0.75f));
        }

        var cliff = Line(u =>
        {
            var distance = MathF.Abs(u - x / unit);
            return foot + unit * (0.9f * Math.Max(0, distance - 0.07f - 0.02f * Noise.Lines(u * 9, seed, 2)) + 0.02f * Noise.Lines(u * 14, seed,
                4)) + unit * 0.01f;
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
        tower.Add(Shape.Quad(foot - height * 1.05f, x - 1, x + 1, foot - height * 0.965f, x - height * 0.055f, x + height * 0.055f, band,
            band * 0.8f));
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
            if (row < 2 && Has(SceneDetails.Mist))
            {
                Mist(shore - 0.2f, shore + 0.02f, 0.5f);
            }
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
            if (dice.Chance(0.6f))
            {
                blocks.Add(Shape.Box((left + right) / 2 - 1, top - step * 2.4f, (left + right) / 2 + 1, top - step, ink, ink));
            }
        }

        if (near < 0.3f)
        {
            return;
        }

        var lit = palette.IsNight ? 0.5f : palette.Name is "dusk" or "ember" or "storm" ? 0.34f : 0.1f;
        var cell = unit * 0.0095f;
        for (var y = top + cell; y < bottom - cell; y += cell * 1.5f)
        {
            for (var x = left + cell * 0.7f; x < right - cell; x += cell * 1.25f)
            {
                if (!dice.Chance(lit))
                {
                    continue;
                }

                blocks.Add(Shape.Box(x, y, x + cell * 0.62f, y + cell * 0.8f, palette.Accent, palette.Accent * 0.9f, dice.Between(0.45f, 1)));
            }
        }
    }
}
