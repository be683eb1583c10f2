using System.Runtime.InteropServices;

namespace Generation.ProviderSim.Pictures;

/// <summary>What a shape's outline is, between its top and its bottom.</summary>
internal enum Outline { Ellipse, Quad, Conifer }

/// <summary>A small thing with two soft edges on every row. Lengths are pixels.</summary>
/// <param name="Outline">How the edges run.</param>
/// <param name="Top">First row.</param>
/// <param name="Bottom">Last row.</param>
/// <param name="TopLeft">Left edge at the top (ellipse, conifer: left of the middle).</param>
/// <param name="TopRight">Right edge at the top.</param>
/// <param name="BottomLeft">Left edge at the bottom.</param>
/// <param name="BottomRight">Right edge at the bottom.</param>
/// <param name="Upper">Colour at the top.</param>
/// <param name="Lower">Colour at the bottom.</param>
/// <param name="Alpha">Opacity.</param>
[StructLayout(LayoutKind.Auto)]
internal readonly record struct Shape(
    Outline Outline, float Top, float Bottom, float TopLeft, float TopRight, float BottomLeft, float BottomRight, Ink Upper, Ink Lower, float Alpha)
{
    public static Shape Ellipse(float x, float y, float radiusX, float radiusY, Ink ink, float alpha = 1) =>
        new(Outline.Ellipse, y - radiusY, y + radiusY, x - radiusX, x + radiusX, x - radiusX, x + radiusX, ink, ink, alpha);

    public static Shape Box(float left, float top, float right, float bottom, Ink upper, Ink lower, float alpha = 1) =>
        new(Outline.Quad, top, bottom, left, right, left, right, upper, lower, alpha);

    public static Shape Quad(float top, float topLeft, float topRight, float bottom, float bottomLeft, float bottomRight, Ink upper, Ink lower) =>
        new(Outline.Quad, top, bottom, topLeft, topRight, bottomLeft, bottomRight, upper, lower, 1);

    public static Shape Conifer(float x, float foot, float height, float halfWidth, Ink upper, Ink lower) =>
        new(Outline.Conifer, foot - height, foot, x - halfWidth, x + halfWidth, x - halfWidth, x + halfWidth, upper, lower, 1);
}

/// <summary>Many small things in painting order, found by row.</summary>
internal sealed class Shapes : Layer
{
    private const int RowsABucket = 32;

    private readonly List<Shape> shapes = [];
    private readonly List<int>[] buckets;
    private readonly float offset;

    public Shapes(Frame frame)
    {
        offset = frame.Unit;
        buckets = new List<int>[(int)((frame.Height + 2 * offset) / RowsABucket) + 2];
    }

    public int Count => shapes.Count;

    public void Add(Shape shape)
    {
        var first = Math.Clamp((int)((shape.Top - 1 + offset) / RowsABucket), 0, buckets.Length - 1);
        var last = Math.Clamp((int)((shape.Bottom + 1 + offset) / RowsABucket), 0, buckets.Length - 1);
        for (var bucket = first; bucket <= last; bucket++)
        {
            (buckets[bucket] ??= []).Add(shapes.Count);
        }

        shapes.Add(shape);
    }

    public override void Paint(Canvas canvas, float y)
    {
        var bucket = buckets[Math.Clamp((int)((y + offset) / RowsABucket), 0, buckets.Length - 1)];
        if (bucket is null)
        {
            return;
        }

        foreach (var index in bucket)
        {
            var shape = shapes[index];
            var cover = Math.Min(y + 1, shape.Bottom) - Math.Max(y, shape.Top);
            if (cover <= 0)
            {
                continue;
            }

            var t = Math.Clamp((y + 0.5f - shape.Top) / Math.Max(1, shape.Bottom - shape.Top), 0, 1);
            var (left, right) = Edges(shape, t);
            canvas.Span(left, right, shape.Upper.To(shape.Lower, t), shape.Alpha * Math.Min(1, cover));
        }
    }

    private static (float Left, float Right) Edges(in Shape shape, float t)
    {
        var middle = (shape.TopLeft + shape.TopRight) / 2;
        switch (shape.Outline)
        {
            case Outline.Ellipse:
                var half = (shape.TopRight - shape.TopLeft) / 2 * MathF.Sqrt(Math.Max(0, 1 - (2 * t - 1) * (2 * t - 1)));
                return (middle - half, middle + half);
            case Outline.Conifer:
                // Tiers: each widens downwards and steps back in; the last tenth is the trunk.
                var spread = (shape.TopRight - shape.TopLeft) / 2;
                if (t > 0.93f)
                {
                    return (middle - spread * 0.1f, middle + spread * 0.1f);
                }

                var tier = t * 7;
                var width = spread * (t * 0.72f + 0.34f * (tier - MathF.Floor(tier)) * (0.35f + t)) + 0.4f;
                return (middle - width, middle + width * 0.96f);
            default:
                return (shape.TopLeft + (shape.BottomLeft - shape.TopLeft) * t, shape.TopRight + (shape.BottomRight - shape.TopRight) * t);
        }
    }
}
