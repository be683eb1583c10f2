using System.Runtime.Intrinsics;

namespace Generation.ProviderSim.Pictures;

/// <summary>SplitMix64: the same seed throws the same dice, on every machine and after every restart.</summary>
public sealed class Dice(ulong seed)
{
    private ulong state = seed;

    /// <summary>One well-mixed number from another, e.g. a seed from a seed and an index.</summary>
    public static ulong Mix(ulong value)
    {
        value += 0x9E3779B97F4A7C15;
        value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9;
        value = (value ^ value >> 27) * 0x94D049BB133111EB;
        return value ^ value >> 31;
    }

    public ulong Next() => Mix(state++);

    /// <summary>0 (inclusive) to 1 (exclusive).</summary>
    public float Fraction() => (Next() >> 40) / (float)(1 << 24);

    public float Between(float low, float high) => low + (high - low) * Fraction();

    /// <summary>low to high, both possible.</summary>
    public int Whole(int low, int high) => low + (int)(Next() % (ulong)(high - low + 1));

    public bool Chance(float probability) => Fraction() < probability;

    public T Pick<T>(IReadOnlyList<T> from) => from[(int)(Next() % (ulong)from.Count)];
}

/// <summary>Smooth value noise in one and two dimensions; results are -1…1, and octaves add up to about that range.</summary>
internal static class Noise
{
    public static float Line(float x, uint seed)
    {
        var cell = (int)MathF.Floor(x);
        var t = Ease(x - cell);
        return Lattice(cell, 0, seed) * (1 - t) + Lattice(cell + 1, 0, seed) * t;
    }

    public static float Lines(float x, uint seed, int octaves, float gain = 0.5f)
    {
        float sum = 0, amplitude = 1, total = 0;
        for (var octave = 0u; octave < octaves; octave++, x *= 2.03f, amplitude *= gain)
        {
            sum += amplitude * Line(x, seed + octave * 7919);
            total += amplitude;
        }

        return sum / total;
    }

    public static float Plane(float x, float y, uint seed)
    {
        var column = (int)MathF.Floor(x);
        var row = (int)MathF.Floor(y);
        var t = Ease(x - column);
        var upper = Lattice(column, row, seed) * (1 - t) + Lattice(column + 1, row, seed) * t;
        var lower = Lattice(column, row + 1, seed) * (1 - t) + Lattice(column + 1, row + 1, seed) * t;
        var u = Ease(y - row);
        return upper * (1 - u) + lower * u;
    }

    public static float Planes(float x, float y, uint seed, int octaves, float gain = 0.5f)
    {
        float sum = 0, amplitude = 1, total = 0;
        for (var octave = 0u; octave < octaves; octave++, amplitude *= gain)
        {
            sum += amplitude * Plane(x, y, seed + octave * 7919);
            total += amplitude;
            // Turned a little each octave, so that the lattice does not show.
            (x, y) = (x * 1.62f + y * 1.21f, y * 1.62f - x * 1.21f);
        }

        return sum / total;
    }

    private static float Ease(float t) => t * t * t * (t * (t * 6 - 15) + 10);

    private static float Lattice(int x, int y, uint seed)
    {
        var hash = seed ^ (uint)x * 0x85EBCA6B ^ (uint)y * 0xC2B2AE35;
        hash = (hash ^ hash >> 15) * 0x2C1B3C6D;
        hash = (hash ^ hash >> 12) * 0x297A2D39;
        hash ^= hash >> 15;
        return hash * (2f / uint.MaxValue) - 1;
    }
}

/// <summary>
/// A smooth scalar field sampled on a coarse grid and read at full resolution. Noise for every pixel would cost more than everything
/// else together; clouds and mist do not need it.
/// </summary>
internal sealed class Field
{
    private const int CellsAcross = 224;

    private readonly int step;
    private readonly int columns;
    private readonly int rows;
    private readonly float[] samples;
    private readonly float[] line;

    /// <param name="frame">The picture's size.</param>
    /// <param name="sample">The value at a point, in <see cref="Frame.Unit"/>s from the top left.</param>
    public Field(Frame frame, Func<float, float, float> sample)
    {
        step = (int)(frame.Unit / CellsAcross);
        step = step >= 8 ? step / 8 * 8 : Math.Max(1, step);
        columns = frame.PaddedWidth / step + 2;
        rows = frame.Height / step + 3;
        samples = new float[columns * rows];
        line = new float[columns];
        for (var row = 0; row < rows; row++)
        {
            for (var column = 0; column < columns; column++)
            {
                samples[row * columns + column] = sample(column * step / frame.Unit, row * step / frame.Unit);
            }
        }
    }

    /// <summary>The values along one row of pixels; y outside the picture is taken from its edge.</summary>
    public void Read(float y, Span<float> into)
    {
        var at = Math.Clamp(y / step, 0, rows - 1.001f);
        var row = (int)at;
        var t = at - row;
        for (var column = 0; column < columns; column++)
        {
            line[column] = samples[row * columns + column] * (1 - t) + samples[(row + 1) * columns + column] * t;
        }

        if (step % 8 == 0)
        {
            var ramp = Vector256.Create(0f, 1, 2, 3, 4, 5, 6, 7);
            for (int x = 0, column = 0; x < into.Length; column++)
            {
                var slope = (line[column + 1] - line[column]) / step;
                var value = Vector256.Create(line[column]) + ramp * slope;
                var advance = Vector256.Create(slope * 8);
                for (var end = Math.Min(x + step, into.Length); x < end; x += 8, value += advance)
                {
                    value.StoreUnsafe(ref into[x]);
                }
            }

            return;
        }

        for (int x = 0, column = 0; x < into.Length; column++)
        {
            var value = line[column];
            var slope = (line[column + 1] - value) / step;
            for (var end = Math.Min(x + step, into.Length); x < end; x++, value += slope)
            {
                into[x] = value;
            }
        }
    }
}
