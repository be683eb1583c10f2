namespace Generation.ProviderSim.Pictures;

/// <summary>Arranges layers into a scene. Every length is a share of the frame, every choice a throw of the recipe's dice.</summary>
internal sealed partial class Composition
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

        if (recipe.Kind is SceneKind.Silk or SceneKind.Space)
        {
            return;
        }

        if (Has(SceneDetails.Snow))
        {
            Weather(900, Ink.Hex(0xFFFFFF), 0.0022f, 1, 0.75f);
        }

        if (Has(SceneDetails.Rain))
        {
            Weather(700, palette.Sky[3], 0.0007f, 26, 0.35f);
        }
    }

    private void Heaven(float horizon, float sunHeight, float size = 0.055f)
    {
        sunX = frame.Width * (lightFromLeft ? dice.Between(0.18f, 0.42f) : dice.Between(0.58f, 0.82f));
        sunY = frame.Height * sunHeight;
        var isMoon = Has(SceneDetails.Moon) || palette.IsNight;
        layers.Add(new Sky(palette, frame.Height * horizon, sunX, sunY, palette.IsNight ? 0.28f : 0.34f, palette.IsNight ? 0.45f : 0.8f));
        if (Has(SceneDetails.Stars))
        {
            Stars(frame.Height * horizon, palette.IsNight ? 620 : 160);
        }

        if (Has(SceneDetails.Aurora))
        {
            layers.Add(new Aurora(frame, Seed(), horizon * 0.62f, 0.42f, Ink.Hex(0x3FE0A0), Ink.Hex(0x7A4FD0)));
        }

        layers.Add(new Disc(sunX, sunY, unit * size * (isMoon ? 0.8f : 1), palette.Sun, palette.Glow, isMoon && dice.Chance(0.45f), Seed(), isMoon));
        if (Has(SceneDetails.Clouds))
        {
            Clouds(horizon);
        }

        if (Has(SceneDetails.Birds))
        {
            Birds(horizon);
        }

        if (Has(SceneDetails.Balloon))
        {
            Balloons(horizon);
        }
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
            balloons.Add(Shape.Quad(y + radius * 0.75f, x - radius * 0.62f, x + radius * 0.62f, y + radius * 1.5f, x - radius * 0.16f,
                x + radius * 0.16f, inks[0] * 0.8f, inks[0] * 0.6f));
            for (var stripe = 0; stripe < 4; stripe++)
            {
                balloons.Add(Shape.Ellipse(x, y, radius * (1 - stripe * 0.28f), radius * 1.06f, inks[stripe % 3] * (0.86f + 0.05f * stripe)));
            }

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
            drops.Add(Shape.Ellipse(dice.Fraction() * frame.Width, dice.Fraction() * frame.Height, Math.Max(0.6f, size),
                Math.Max(0.6f, size) * stretch, ink, alpha * dice.Between(0.3f, 1)));
        }

        layers.Add(drops);
    }
}
