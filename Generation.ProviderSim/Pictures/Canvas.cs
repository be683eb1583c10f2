using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Generation.ProviderSim.Pictures;

/// <summary>The picture's size, and the length in which everything in it is measured, so that a thumbnail is the same picture.</summary>
/// <param name="Width">Pixels.</param>
/// <param name="Height">Pixels.</param>
public sealed record Frame(int Width, int Height)
{
    /// <summary>The side of a square of the same area, in pixels.</summary>
    public float Unit { get; } = MathF.Sqrt((float)Width * Height);

    /// <summary>Rows are painted to whole blocks of 16, which spares every layer and the film encoder a special case at the edge.</summary>
    public int PaddedWidth { get; } = (Width + 15) / 16 * 16;
}

/// <summary>One row of pixels, painted from back to front. It is all of the picture that exists as floating-point numbers.</summary>
public sealed class Canvas(Frame frame)
{
    public Frame Frame { get; } = frame;

    public float[] Red { get; } = new float[frame.PaddedWidth];

    public float[] Green { get; } = new float[frame.PaddedWidth];

    public float[] Blue { get; } = new float[frame.PaddedWidth];

    public void Fill(Ink ink)
    {
        Red.AsSpan().Fill(ink.Red);
        Green.AsSpan().Fill(ink.Green);
        Blue.AsSpan().Fill(ink.Blue);
    }

    /// <summary>Mixes one ink into the pixels from <paramref name="left"/> to <paramref name="right"/>, soft at both ends.</summary>
    public void Span(float left, float right, Ink ink, float alpha)
    {
        if (right <= 0 || left >= Red.Length || right <= left || alpha <= 0)
        {
            return;
        }

        var first = Math.Max(0, (int)MathF.Floor(left));
        var last = Math.Min(Red.Length - 1, (int)MathF.Ceiling(right) - 1);
        for (var x = first; x <= last; x++)
        {
            var a = alpha * (Math.Min(x + 1, right) - Math.Max(x, left));
            Red[x] += (ink.Red - Red[x]) * a;
            Green[x] += (ink.Green - Green[x]) * a;
            Blue[x] += (ink.Blue - Blue[x]) * a;
        }
    }

    /// <summary>Adds light to one pixel.</summary>
    public void Light(int x, Ink ink, float amount)
    {
        Red[x] += ink.Red * amount;
        Green[x] += ink.Green * amount;
        Blue[x] += ink.Blue * amount;
    }

    /// <summary>Mixes an ink into eight pixels, each with its own share.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Mix8(int x, Vector256<float> red, Vector256<float> green, Vector256<float> blue, Vector256<float> share)
    {
        var r = Vector256.LoadUnsafe(in Red[x]);
        var g = Vector256.LoadUnsafe(in Green[x]);
        var b = Vector256.LoadUnsafe(in Blue[x]);
        (r + (red - r) * share).StoreUnsafe(ref Red[x]);
        (g + (green - g) * share).StoreUnsafe(ref Green[x]);
        (b + (blue - b) * share).StoreUnsafe(ref Blue[x]);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Clamp01(Vector256<float> value) =>
        Vector256.Min(Vector256.Max(value, Vector256<float>.Zero), Vector256<float>.One);
}

/// <summary>Something in a scene that can paint the part of itself that lies on one row.</summary>
public abstract class Layer
{
    /// <param name="canvas">The row, with everything behind this layer painted.</param>
    /// <param name="y">Pixels from the top. Not always a pixel of the picture: water asks for the rows that it mirrors.</param>
    public abstract void Paint(Canvas canvas, float y);

    /// <summary>Whether nothing behind this layer can be seen on that row.</summary>
    public virtual bool Hides(float y) => false;
}
