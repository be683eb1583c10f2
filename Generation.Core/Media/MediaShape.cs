using System.Numerics;

namespace Generation.Core.Media;

/// <summary>The shape of a picture, in the words that people choose one by.</summary>
public static class MediaShape
{
    /// <summary>Providers round to multiples of 8 or 16 pixels: 1920x1088 is meant as 16:9.</summary>
    private const double Tolerance = 0.02;

    private static readonly (int Width, int Height)[] Known =
        [(1, 1), (16, 9), (9, 16), (4, 3), (3, 4), (3, 2), (2, 3), (5, 4), (4, 5), (21, 9), (9, 21)];

    /// <summary>The known ratio that is meant; else the exact one, reduced.</summary>
    public static string RatioOf(int width, int height)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(width);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(height);
        var (nearest, error) = Known.Select(known => (known, Math.Abs(((double)width * known.Height / ((double)height * known.Width)) - 1)))
            .MinBy(found => found.Item2);
        var divisor = (int)BigInteger.GreatestCommonDivisor(width, height);
        return error <= Tolerance ? $"{nearest.Width}:{nearest.Height}" : $"{width / divisor}:{height / divisor}";
    }
}
