using System.Text.Json;
using System.Text.RegularExpressions;
using Generation.ProviderSim.Pictures;

namespace Generation.ProviderSim.Ark;

/// <summary>What a family of models accepts; the numbers are Ark's documentation of late 2026.</summary>
/// <param name="Family">Model ids are this, with or without a date, or <c>doubao-</c> before it.</param>
/// <param name="Keywords">Size keywords with the side of their square.</param>
/// <param name="MinPixels">Fewest pixels of a size.</param>
/// <param name="DefaultSide">Side of the square that is drawn without a size.</param>
/// <param name="SideLimits">Shortest and longest side, where the model has such limits.</param>
/// <param name="TakesSeed">seed and guidance_scale.</param>
/// <param name="TakesGroup">sequential_image_generation and stream.</param>
/// <param name="TakesFormat">output_format.</param>
/// <param name="MaxReferences">Reference images.</param>
internal sealed record ArkModel(
    string Family, Dictionary<string, int> Keywords, int MinPixels, int DefaultSide, (int Min, int Max)? SideLimits,
    bool TakesSeed, bool TakesGroup, bool TakesFormat, int MaxReferences)
{
    public const int MaxPixels = 16_777_216;

    private static readonly Dictionary<string, int> K1To4 = new() { ["1K"] = 1024, ["2K"] = 2048, ["4K"] = 4096 };
    private static readonly Dictionary<string, int> K2And4 = new() { ["2K"] = 2048, ["4K"] = 4096 };
    private static readonly Dictionary<string, int> K2To4 = new() { ["2K"] = 2048, ["3K"] = 3072, ["4K"] = 4096 };

    private static readonly ArkModel Seedream4 = new("seedream-4-0", K1To4, 921_600, 2048, null, false, true, false, 14);

    private static readonly ArkModel[] All =
    [
        Seedream4,
        new("seedream-4-5", K2And4, 3_686_400, 2048, null, false, true, false, 14),
        new("seedream-5-0-lite", K2To4, 3_686_400, 2048, null, false, true, true, 14),
        new("seedream-5-0-pro", K2And4, 3_686_400, 2048, null, false, false, true, 10),
        new("seedream-5-0-flash", K2And4, 3_686_400, 2048, null, false, false, true, 10),
        new("seedream-3-0-t2i", [], 262_144, 1024, (512, 2048), true, false, false, 0),
    ];

    /// <summary>By id; an endpoint id <c>ep-…</c> stands for Seedream 4.0. Null: no such model.</summary>
    public static ArkModel? Find(string id)
    {
        if (id.StartsWith("ep-", StringComparison.Ordinal) && id.Length > 3)
        {
            return Seedream4;
        }

        var name = id.StartsWith("doubao-", StringComparison.Ordinal) ? id[7..] : id;
        return All.FirstOrDefault(model => name == model.Family
            || (name.StartsWith(model.Family + "-", StringComparison.Ordinal) && name[(model.Family.Length + 1)..].All(char.IsAsciiDigit)));
    }
}

/// <summary>A valid request of <c>POST /images/generations</c>.</summary>
internal sealed partial record ArkRequest(
    string Model, string Prompt, int Width, int Height, bool Base64, bool Watermark, PictureFormat Format, bool Stream, int MaxImages, int? Seed,
    ulong References)
{
    /// <summary>Recommended sizes for a 2048 square, with the words that ask for their ratio.</summary>
    private static readonly (string Words, int Width, int Height)[] Ratios =
    [
        ("21:9|panorama|panoramic|ultrawide|banner", 3024, 1296),
        ("9:16|vertical|phone wallpaper|story", 1440, 2560),
        ("16:9|widescreen|landscape format|cinematic|wide", 2560, 1440),
        ("4:3", 2304, 1728),
        ("3:4|portrait", 1728, 2304),
        ("3:2|photograph", 2496, 1664),
        ("2:3|poster|book cover", 1664, 2496),
    ];

    /// <summary>Reads a body that is a JSON object; exactly one of the two results is there.</summary>
    public static (ArkRequest? Request, ArkError? Error) Read(JsonElement body)
    {
        if (!Has(body, "model", out var modelElement))
        {
            return (null, ArkError.Missing("model"));
        }

        if (modelElement.ValueKind != JsonValueKind.String)
        {
            return (null, ArkError.Invalid("model", "it must be a string"));
        }

        if (!Has(body, "prompt", out var promptElement))
        {
            return (null, ArkError.Missing("prompt"));
        }

        if (promptElement.ValueKind != JsonValueKind.String)
        {
            return (null, ArkError.Invalid("prompt", "it must be a string"));
        }

        var (id, prompt) = (modelElement.GetString()!, promptElement.GetString()!);
        if (string.IsNullOrWhiteSpace(prompt))
        {
            return (null, ArkError.Missing("prompt"));
        }

        if (ArkModel.Find(id) is not { } model)
        {
            return (null, ArkError.UnknownModel(id));
        }

        ArkError? error = null;
        var seed = model.TakesSeed ? Whole("seed", -1, int.MaxValue) : Absent("seed");
        if (!model.TakesSeed)
        {
            Absent("guidance_scale");
        }
        else if (Has(body, "guidance_scale", out var scale) && !(scale.ValueKind == JsonValueKind.Number && scale.GetDouble() is >= 1 and <= 10))
        {
            error ??= ArkError.Invalid("guidance_scale", "it must be a number from 1 to 10");
        }

        var base64 = Word("response_format", ["url", "b64_json"]) == "b64_json";
        var watermark = Flag("watermark") ?? true;
        var format = PictureFormat.Jpeg;
        if (!model.TakesFormat)
        {
            Absent("output_format");
        }
        else if (Word("output_format", ["jpeg", "png"]) == "png")
        {
            format = PictureFormat.Png;
        }

        var stream = model.TakesGroup ? Flag("stream") ?? false : Absent("stream") is not null;
        var isGroup = model.TakesGroup ? Word("sequential_image_generation", ["disabled", "auto"]) == "auto"
            : Absent("sequential_image_generation") is not null;
        var maxImages = 1;
        if (isGroup)
        {
            maxImages = 15;
            if (Has(body, "sequential_image_generation_options", out var group))
            {
                if (group.ValueKind != JsonValueKind.Object)
                {
                    error ??= ArkError.Invalid("sequential_image_generation_options", "it must be an object");
                }
                else if (Has(group, "max_images", out var most))
                {
                    if (most.ValueKind != JsonValueKind.Number || !most.TryGetInt32(out maxImages) || maxImages is < 1 or > 15)
                    {
                        error ??= ArkError.Invalid("sequential_image_generation_options.max_images", "it must be an integer from 1 to 15");
                    }
                }
            }
        }

        var references = ReadReferences(body, model, ref error, out var referenceCount);
        if (isGroup && referenceCount > 0)
        {
            maxImages = Math.Max(1, Math.Min(maxImages, 15 - referenceCount));
        }

        var chosen = (Width: model.DefaultSide, Height: model.DefaultSide);
        if (Has(body, "size", out var size))
        {
            if (size.ValueKind != JsonValueKind.String)
            {
                error ??= ArkError.Invalid("size", "it must be a string");
            }
            else if (Size(size.GetString()!, prompt, model, out chosen) is { } why)
            {
                error ??= ArkError.Invalid("size", why);
            }
        }

        if (error is not null)
        {
            return (null, error);
        }

        return (new ArkRequest(
            id, prompt, chosen.Width, chosen.Height, base64, watermark, format, stream, maxImages, seed is >= 0 ? seed : null, references), null);

        int? Absent(string name)
        {
            if (!Has(body, name, out _))
            {
                return null;
            }

            error ??= ArkError.Unsupported(name, id);
            return null;
        }

        int? Whole(string name, int least, int most)
        {
            if (!Has(body, name, out var value))
            {
                return null;
            }

            if (value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var number) && number >= least && number <= most)
            {
                return number;
            }

            error ??= ArkError.Invalid(name, $"it must be an integer from {least} to {most}");
            return null;
        }

        bool? Flag(string name)
        {
            if (!Has(body, name, out var value))
            {
                return null;
            }

            if (value.ValueKind is JsonValueKind.True or JsonValueKind.False)
            {
                return value.GetBoolean();
            }

            error ??= ArkError.Invalid(name, "it must be a boolean");
            return null;
        }

        string? Word(string name, string[] words)
        {
            if (!Has(body, name, out var value))
            {
                return null;
            }

            if (value.ValueKind == JsonValueKind.String && words.Contains(value.GetString()))
            {
                return value.GetString();
            }

            error ??= ArkError.Invalid(name, $"it must be one of: {string.Join(", ", words)}");
            return null;
        }
    }

    private static bool Has(JsonElement body, string name, out JsonElement value) =>
        body.TryGetProperty(name, out value) && value.ValueKind != JsonValueKind.Null;

    private static ulong ReadReferences(JsonElement body, ArkModel model, ref ArkError? error, out int count)
    {
        count = 0;
        if (!Has(body, "image", out var image))
        {
            return 0;
        }

        var images = image.ValueKind == JsonValueKind.Array ? [.. image.EnumerateArray()] : new[] { image };
        if (model.MaxReferences == 0)
        {
            error ??= ArkError.Unsupported("image", model.Family);
        }

        if (images.Length > model.MaxReferences)
        {
            error ??= ArkError.Invalid("image", $"at most {model.MaxReferences} images are supported");
        }

        var mixed = 0ul;
        foreach (var element in images)
        {
            if (element.ValueKind != JsonValueKind.String || element.GetString() is not { } text)
            {
                error ??= ArkError.Invalid("image", "it must be a string or an array of strings");
            }
            else if (text.Length == 0)
            {
                error ??= new ArkError(400, "BadRequest", "InvalidImageURL.EmptyURL", "The image URL is empty.", "image");
            }
            else if (!IsImage(text))
            {
                error ??= new ArkError(400, "BadRequest", "InvalidImageURL.InvalidFormat", "The image URL or its Base64 data is not valid.", "image");
            }
            else
            {
                mixed = Dice.Mix(mixed ^ Recipe.Hash(text));
            }
        }

        count = images.Length;
        return mixed;
    }

    internal static bool IsImage(string text)
    {
        if (DataUri().Match(text) is { Success: true } match)
        {
            return text.Length > match.Length && System.Buffers.Text.Base64.IsValid(text.AsSpan(match.Length));
        }

        return Uri.TryCreate(text, UriKind.Absolute, out var uri) && uri.Scheme is "http" or "https";
    }

    /// <summary>What is wrong with a size; null: nothing.</summary>
    private static string? Size(string size, string prompt, ArkModel model, out (int Width, int Height) result)
    {
        result = default;
        if (model.Keywords.TryGetValue(size, out var side))
        {
            var (_, width, height) = Ratios.FirstOrDefault(ratio => Asks(ratio.Words), (Words: "", Width: 2048, Height: 2048));
            // The table is for 2K; 1K rounds down to a multiple of 8, which keeps 1280x720 and its neighbours.
            result = (width * side / 2048 / 8 * 8, height * side / 2048 / 8 * 8);
            return null;
        }

        if (Pixels().Match(size) is not { Success: true } match)
        {
            return model.Keywords.Count > 0
                ? $"it must be {string.Join(", ", model.Keywords.Keys)} or a width and a height in pixels such as 2048x2048"
                : "it must be a width and a height in pixels such as 1024x1024";
        }

        result = (int.Parse(match.Groups["width"].Value), int.Parse(match.Groups["height"].Value));
        var (w, h) = result;
        if (model.SideLimits is { } sides && (Math.Min(w, h) < sides.Min || Math.Max(w, h) > sides.Max))
        {
            return $"both sides must be between {sides.Min} and {sides.Max} pixels";
        }

        if ((long)w * h < model.MinPixels)
        {
            return $"image size must be at least {model.MinPixels} pixels";
        }

        if ((long)w * h > ArkModel.MaxPixels)
        {
            return $"image size must be at most {ArkModel.MaxPixels} pixels";
        }

        return w > h * 16L || h > w * 16L ? "the aspect ratio must be between 1/16 and 16" : null;

        bool Asks(string words) => words.Split('|').Any(
            word => Regex.IsMatch(prompt, $@"(?<![\w:]){word}(?![\w:])", RegexOptions.IgnoreCase | RegexOptions.ExplicitCapture,
                TimeSpan.FromSeconds(1)));
    }

    [GeneratedRegex("^(?<width>[1-9][0-9]{1,4})x(?<height>[1-9][0-9]{1,4})$", RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 1000)]
    private static partial Regex Pixels();

    [GeneratedRegex("^data:image/(jpeg|jpg|png|webp|bmp|tiff|gif|heic|heif);base64,", RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 1000)]
    private static partial Regex DataUri();
}
