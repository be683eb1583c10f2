using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using System.Text.RegularExpressions;

namespace Generation.ProviderSim.Pictures;

/// <summary>What a picture shows.</summary>
public enum SceneKind : byte { Mountains, Sea, Forest, Desert, City, Lake, Meadow, Space, Silk }

/// <summary>What else is in it.</summary>
[Flags]
public enum SceneDetails
{
    None = 0,
    Moon = 1,
    Stars = 2,
    Clouds = 4,
    Snow = 8,
    Rain = 16,
    Birds = 32,
    Boat = 64,
    Lighthouse = 128,
    Balloon = 256,
    Aurora = 512,
    Mist = 1024,
    Ring = 2048,
}

/// <summary>The file a picture is delivered as.</summary>
public enum PictureFormat : byte { Jpeg, Png, WebP }

internal static class PictureFormats
{
    /// <summary>As requests, file names and content types have it.</summary>
    public static string Name(this PictureFormat format) => format switch { PictureFormat.Png => "png", PictureFormat.WebP => "webp", _ => "jpeg" };
}

/// <summary>
/// Everything a picture is drawn from, in a few bytes: they travel in its address, so that the simulator remembers no picture and can
/// draw each again after a restart, to the byte.
/// </summary>
public sealed record Recipe(
    ulong Seed, SceneKind Kind, byte PaletteIndex, SceneDetails Details, int Width, int Height, bool Watermark, PictureFormat Format)
{
    /// <summary>Length of <see cref="Write"/>'s bytes.</summary>
    public const int EncodedBytes = 17;

    private static readonly SceneKind[] Kinds = Enum.GetValues<SceneKind>();

    private static readonly (string Words, SceneKind Kind)[] KindWords =
    [
        ("sea ocean beach coast wave waves lighthouse harbor harbour ship boat sail sailing island surf whale fish pirate", SceneKind.Sea),
        ("forest wood woods trees tree pine jungle deer fox wolf bear owl fairy", SceneKind.Forest),
        ("desert dune dunes sahara sand camel oasis cactus egypt pyramid", SceneKind.Desert),
        ("city skyline street town tokyo york london skyscraper neon urban cyberpunk building office car", SceneKind.City),
        ("lake reflection aurora fjord river pond calm mirror swan", SceneKind.Lake),
        ("meadow flower flowers garden field spring tulip poppy rose summer village farm cat dog rabbit bee butterfly", SceneKind.Meadow),
        ("space galaxy planet nebula cosmos astronaut rocket star universe saturn orbit robot alien", SceneKind.Space),
        ("abstract pattern silk marble fluid paint texture art logo wallpaper gradient portrait face", SceneKind.Silk),
        ("mountain mountains alps peak hill hills valley snow snowy cliff castle dragon eagle volcano", SceneKind.Mountains),
    ];

    private static readonly (string Words, string Palettes)[] PaletteWords =
    [
        ("night midnight moon moonlit stars starry dark aurora", "night indigo polar"),
        ("dusk sunset evening twilight romantic", "dusk ember"),
        ("dawn sunrise morning pastel soft pink", "dawn rose"),
        ("noon day sunny bright blue summer spring", "noon meadow"),
        ("winter snow snowy ice cold frozen", "winter"),
        ("storm stormy rain rainy fog foggy grey gray thunder noir", "storm"),
        ("autumn fall october", "autumn golden"),
        ("golden gold warm desert", "golden autumn"),
        ("fire ember lava volcano red sunset", "ember"),
        ("green jade teal emerald jungle", "jade meadow"),
        ("neon cyberpunk space galaxy nebula purple violet", "indigo night"),
    ];

    private static readonly (string Words, SceneDetails Detail)[] DetailWords =
    [
        ("moon moonlit crescent", SceneDetails.Moon), ("stars starry star", SceneDetails.Stars), ("cloud clouds cloudy stormy", SceneDetails.Clouds),
        ("snow snowy snowfall snowing winter", SceneDetails.Snow), ("rain rainy raining storm thunder", SceneDetails.Rain),
        ("bird birds gull gulls geese crane cranes eagle", SceneDetails.Birds), ("boat ship sail sailing sailboat yacht pirate", SceneDetails.Boat),
        ("lighthouse beacon", SceneDetails.Lighthouse), ("balloon balloons", SceneDetails.Balloon), ("aurora northern", SceneDetails.Aurora),
        ("mist misty fog foggy haze hazy", SceneDetails.Mist), ("ring ringed saturn", SceneDetails.Ring),
    ];

    /// <summary>Chooses what to draw: by the prompt's words where they say it, else by its hash.</summary>
    /// <param name="prompt">The prompt without the simulator's own words.</param>
    /// <param name="seed">Whatever tells two calls with one prompt apart.</param>
    public static Recipe For(string prompt, ulong seed, int width, int height, bool watermark, PictureFormat format)
    {
        var mixed = Dice.Mix(Hash(prompt) ^ Dice.Mix(seed));
        var dice = new Dice(mixed);
        var words = Regex.Matches(prompt.ToLowerInvariant(), "[a-z]+", RegexOptions.ExplicitCapture, TimeSpan.FromSeconds(1))
            .Select(match => match.Value).ToHashSet(StringComparer.Ordinal);

        var (votes, named) = KindWords.Select(entry => (Votes: entry.Words.Split(' ').Count(words.Contains), entry.Kind)).MaxBy(entry => entry.Votes);
        var kind = votes > 0 ? named : dice.Pick(Kinds);
        var palettes = PaletteWords.Where(entry => Named(entry.Words)).SelectMany(entry => entry.Palettes.Split(' ')).ToArray();
        var palette = palettes.Length > 0
            ? IndexOf(dice.Pick(palettes))
            : dice.Whole(0, Palette.All.Count - 1);
        if (palettes.Length == 0 && kind == SceneKind.Space)
        {
            palette = IndexOf(dice.Pick(["night", "indigo", "polar"]));
        }

        if (palettes.Length == 0 && kind == SceneKind.Desert)
        {
            palette = IndexOf(dice.Pick(["golden", "dusk", "ember", "rose", "autumn", "indigo"]));
        }

        var details = DetailWords.Where(entry => Named(entry.Words)).Aggregate(SceneDetails.None, (all, entry) => all | entry.Detail);
        if (Palette.All[palette].IsNight)
        {
            details |= SceneDetails.Stars | (dice.Chance(0.8f) ? SceneDetails.Moon : SceneDetails.None);
        }

        if (dice.Chance(0.6f))
        {
            details |= SceneDetails.Clouds;
        }

        if (dice.Chance(0.35f))
        {
            details |= SceneDetails.Birds;
        }

        if (dice.Chance(0.4f))
        {
            details |= SceneDetails.Mist;
        }

        if (dice.Chance(0.45f))
        {
            details |= SceneDetails.Ring;
        }

        if (kind == SceneKind.Sea && dice.Chance(0.4f))
        {
            details |= SceneDetails.Boat;
        }

        if (kind is SceneKind.Mountains or SceneKind.Meadow or SceneKind.Desert && dice.Chance(0.2f))
        {
            details |= SceneDetails.Balloon;
        }

        if (kind == SceneKind.Lake && Palette.All[palette].IsNight)
        {
            details |= SceneDetails.Aurora;
        }

        return new Recipe(dice.Next(), kind, (byte)palette, details, width, height, watermark, format);

        bool Named(string list) => list.Split(' ').Any(words.Contains);

        static int IndexOf(string name) => Palette.All.TakeWhile(palette => palette.Name != name).Count();
    }

    /// <summary>The first eight bytes of SHA-256: stable across processes, unlike string.GetHashCode.</summary>
    public static ulong Hash(string text) => BinaryPrimitives.ReadUInt64BigEndian(SHA256.HashData(Encoding.UTF8.GetBytes(text)));

    /// <summary>Writes <see cref="EncodedBytes"/> bytes.</summary>
    public void Write(Span<byte> bytes)
    {
        BinaryPrimitives.WriteUInt64BigEndian(bytes, Seed);
        bytes[8] = (byte)Kind;
        bytes[9] = PaletteIndex;
        BinaryPrimitives.WriteUInt16BigEndian(bytes[10..], (ushort)Details);
        BinaryPrimitives.WriteUInt16BigEndian(bytes[12..], (ushort)Width);
        BinaryPrimitives.WriteUInt16BigEndian(bytes[14..], (ushort)Height);
        bytes[16] = (byte)((Watermark ? 1 : 0) | (int)Format << 1);
    }

    /// <summary>Reads what <see cref="Write"/> wrote; null when it cannot have written that.</summary>
    public static Recipe? Read(ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length < EncodedBytes || bytes[8] >= Kinds.Length || bytes[9] >= Palette.All.Count
            || bytes[16] >> 1 > (int)PictureFormat.WebP)
        {
            return null;
        }

        var recipe = new Recipe(
            BinaryPrimitives.ReadUInt64BigEndian(bytes), (SceneKind)bytes[8], bytes[9],
            (SceneDetails)BinaryPrimitives.ReadUInt16BigEndian(bytes[10..]),
            BinaryPrimitives.ReadUInt16BigEndian(bytes[12..]), BinaryPrimitives.ReadUInt16BigEndian(bytes[14..]),
            (bytes[16] & 1) == 1, (PictureFormat)(bytes[16] >> 1));
        return recipe.Width is >= 16 and <= 16384 && recipe.Height is >= 16 and <= 16384 ? recipe : null;
    }
}
