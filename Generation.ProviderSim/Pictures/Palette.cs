using System.Runtime.InteropServices;

namespace Generation.ProviderSim.Pictures;

/// <summary>A colour, 0…255 a channel. Mixed as it is stored: what looks right on a screen is right here.</summary>
[StructLayout(LayoutKind.Auto)]
public readonly record struct Ink(float Red, float Green, float Blue)
{
    public static Ink Hex(uint rgb) => new(rgb >> 16 & 0xFF, rgb >> 8 & 0xFF, rgb & 0xFF);

    public static Ink operator *(Ink ink, float by) => new(ink.Red * by, ink.Green * by, ink.Blue * by);

    public Ink To(Ink other, float share) =>
        new(Red + (other.Red - Red) * share, Green + (other.Green - Green) * share, Blue + (other.Blue - Blue) * share);
}

/// <summary>The light of a scene: what the sky, the sun, the distance and the near ground look like at one time of day.</summary>
/// <param name="Name">Word for the operator.</param>
/// <param name="Sky">Four colours from the zenith down to the horizon.</param>
/// <param name="Sun">The disc of sun or moon.</param>
/// <param name="Glow">The light around it, and on clouds.</param>
/// <param name="Far">Ground far away, where it is almost sky.</param>
/// <param name="Near">Ground at the viewer's feet.</param>
/// <param name="Water">Deep water.</param>
/// <param name="Accent">Lamps, flowers, sails.</param>
/// <param name="IsNight">Stars, lit windows and a moon belong to it.</param>
public sealed record Palette(string Name, Ink[] Sky, Ink Sun, Ink Glow, Ink Far, Ink Near, Ink Water, Ink Accent, bool IsNight = false)
{
    public static readonly IReadOnlyList<Palette> All =
    [
        Of("dusk", [0x2B1B4E, 0x7A3B7C, 0xE0706A, 0xFFC48A], 0xFFF0C9, 0xFF9A5A, 0xB06A86, 0x1D1233, 0x2A1F4A, 0xFFD27A),
        Of("ember", [0x3A1230, 0x8F2440, 0xE8572F, 0xFFB347], 0xFFF3D0, 0xFF7A30, 0xA8434A, 0x1F0B1C, 0x3B1430, 0xFFE08A),
        Of("dawn", [0x5C7FB8, 0x9DB3DC, 0xF3C7C4, 0xFFE7C7], 0xFFFBEA, 0xFFC9A0, 0xA9B3D0, 0x3A4569, 0x4F6A96, 0xF28C6A),
        Of("rose", [0x6A5A9A, 0xB58BB8, 0xF4B6B8, 0xFDE3D0], 0xFFF8EC, 0xFFB3A7, 0xC49BB5, 0x453259, 0x6B5B8C, 0xFFE3A8),
        Of("noon", [0x1E6FC0, 0x4E9FE0, 0x9BD0F2, 0xE3F3F8], 0xFFFFF0, 0xFFF6D0, 0x8DB4CC, 0x1F4A3A, 0x12537A, 0xF4C542),
        Of("meadow", [0x3F86C6, 0x7DB8E2, 0xBFE0EC, 0xF6F2DC], 0xFFFDE8, 0xFFF0C0, 0x9CC3B4, 0x2C5A34, 0x2A6E86, 0xE8526A),
        Of("golden", [0x4F7CA8, 0xA8B8B0, 0xF0CE90, 0xFFE2A0], 0xFFFAE0, 0xFFC45A, 0xC9A874, 0x4A3218, 0x5B6A62, 0xD9482F),
        Of("night", [0x050B1F, 0x0D1C40, 0x1E3A66, 0x44678F], 0xF4F1DE, 0x8FB4E0, 0x2E4C70, 0x050A14, 0x081A33, 0xFFCF70, night: true),
        Of("indigo", [0x0B0620, 0x1F1147, 0x44246E, 0x8A4A8C], 0xFBEFE4, 0xB58AE0, 0x4A2F6C, 0x090413, 0x160C34, 0xFFB45E, night: true),
        Of("polar", [0x04101C, 0x08283A, 0x0F4A55, 0x2F7C78], 0xEAFBF4, 0x7AE0C0, 0x1F5560, 0x030C12, 0x07222E, 0x9CFFD8, night: true),
        Of("winter", [0x7E9CC0, 0xA9C0DA, 0xD3E0EC, 0xF4F2F0], 0xFFFFFF, 0xFFE9DC, 0xB9CADC, 0x39506C, 0x4E7593, 0xD4574A),
        Of("storm", [0x2C3840, 0x4A5A64, 0x7A8A90, 0xB4BFBC], 0xF2F4EC, 0xD8DED2, 0x6E7F86, 0x161F24, 0x22343C, 0xE8C25A),
        Of("jade", [0x0F4C5C, 0x2F7F86, 0x8CC6A8, 0xF2E9B8], 0xFFFBE0, 0xF6D98A, 0x6FA79A, 0x0B2A33, 0x0E4450, 0xF2704F),
        Of("autumn", [0x6B7FA0, 0xB3B0B0, 0xEEC79C, 0xF9DDA6], 0xFFF6DC, 0xF6A95A, 0xC08A66, 0x3E1D14, 0x4A5560, 0xE4572E),
    ];

    private static Palette Of(
        string name, uint[] sky, uint sun, uint glow, uint far, uint near, uint water, uint accent, bool night = false) =>
        new(name, Array.ConvertAll(sky, Ink.Hex), Ink.Hex(sun), Ink.Hex(glow), Ink.Hex(far), Ink.Hex(near), Ink.Hex(water), Ink.Hex(accent), night);

    /// <summary>The sky's colour at a height: 0 at the zenith, 1 at the horizon.</summary>
    public Ink SkyAt(float height)
    {
        var at = Math.Clamp(height, 0, 0.9999f) * (Sky.Length - 1);
        var band = (int)at;
        var t = at - band;
        return Sky[band].To(Sky[band + 1], t * t * (3 - 2 * t));
    }
}
