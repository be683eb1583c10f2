using System.Text.Json;
using System.Text.RegularExpressions;
using Generation.ProviderSim.Films;
using Generation.ProviderSim.Pictures;

namespace Generation.ProviderSim.Ark;

/// <summary>What a family of video models accepts; the numbers are Ark's documentation of late 2026.</summary>
/// <param name="Family">Model ids are this and a date.</param>
/// <param name="Resolutions">Resolution classes.</param>
/// <param name="Seconds">Shortest and longest duration.</param>
/// <param name="MaxReferences">Reference images.</param>
/// <param name="IsFirst">Of the first generation: seed, camera_fixed and frames, but no sound and no adaptive ratio for text.</param>
internal sealed record ArkVideoModel(string Family, string[] Resolutions, (int Least, int Most) Seconds, int MaxReferences, bool IsFirst)
{
    private static readonly ArkVideoModel[] All =
    [
        new("dreamina-seedance-2-0", ["480p", "720p", "1080p", "4k"], (4, 15), 9, false),
        new("dreamina-seedance-2-0-fast", ["480p", "720p"], (4, 15), 9, false),
        new("dreamina-seedance-2-0-mini", ["480p", "720p"], (4, 15), 9, false),
        new("seedance-1-0-pro", ["480p", "720p", "1080p"], (2, 12), 0, true),
        new("seedance-1-0-pro-fast", ["480p", "720p", "1080p"], (2, 12), 0, true),
    ];

    // Landscape shapes; portrait is transposed. Those of the first generation other than 16:9 are not documented and taken from the second.
    private static readonly Dictionary<(string Resolution, string Ratio), (int Width, int Height)> Sizes = new()
    {
        [("480p", "16:9")] = (864, 496),
        [("480p", "4:3")] = (752, 560),
        [("480p", "1:1")] = (640, 640),
        [("480p", "21:9")] = (992, 432),
        [("720p", "16:9")] = (1280, 720),
        [("720p", "4:3")] = (1112, 834),
        [("720p", "1:1")] = (960, 960),
        [("720p", "21:9")] = (1470, 630),
        [("1080p", "16:9")] = (1920, 1080),
        [("1080p", "4:3")] = (1664, 1248),
        [("1080p", "1:1")] = (1440, 1440),
        [("1080p", "21:9")] = (2206, 946),
        [("4k", "16:9")] = (3840, 2160),
        [("4k", "4:3")] = (3326, 2494),
        [("4k", "1:1")] = (2880, 2880),
        [("4k", "21:9")] = (4398, 1886),
    };

    public static ArkVideoModel? Find(string id)
    {
        var name = id.StartsWith("doubao-", StringComparison.Ordinal) ? id[7..] : id;
        return id.StartsWith("ep-", StringComparison.Ordinal) && id.Length > 3 ? All[0]
            : Array.Find(All, model => name.Length == model.Family.Length + 7 && name.StartsWith(model.Family + "-", StringComparison.Ordinal)
                && name[^6..].All(char.IsAsciiDigit));
    }

    public (int Width, int Height) Size(string resolution, string ratio)
    {
        if (ratio is "9:16" or "3:4")
        {
            var (height, width) = Size(resolution, ratio == "9:16" ? "16:9" : "4:3");
            return (width, height);
        }

        return (IsFirst, resolution, ratio) switch
        {
            (true, "480p", "16:9") => (864, 480),
            (true, "720p", "16:9") => (1248, 704),
            (true, "1080p", "16:9") => (1920, 1088),
            _ => Sizes[(resolution, ratio)],
        };
    }
}

/// <summary>A valid request of <c>POST /contents/generations/tasks</c>, with the flags of its text applied.</summary>
internal sealed partial record ArkVideoRequest(
    string Model, string Prompt, string Resolution, string Ratio, int Width, int Height, int Seconds, int? Seed, bool Watermark, bool? Audio,
    int ExpiresAfterSeconds, int Priority, string? SafetyIdentifier, ulong Pictures, bool LastFrame, Uri? CallbackUrl)
{
    private static readonly string[] Ratios = ["16:9", "4:3", "1:1", "3:4", "9:16", "21:9", "adaptive"];

    private static readonly string[] Fields =
    [
        "model", "content", "resolution", "ratio", "duration", "frames", "seed", "camera_fixed", "watermark", "generate_audio", "return_last_frame",
        "draft", "service_tier", "execution_expires_after", "priority", "callback_url", "safety_identifier", "output_format",
        "omni_reference_task_type", "tools",
    ];

    /// <summary>Width × height × frames / 1024, of which a part does not count: what is billed.</summary>
    public long Tokens => (long)Width * Height * Film.Frames(Seconds) / 1024;

    /// <summary>Reads a body that is a JSON object; exactly one of the two results is there.</summary>
    public static (ArkVideoRequest? Request, ArkError? Error) Read(JsonElement body)
    {
        if (!body.TryGetProperty("model", out var modelElement))
        {
            return (null, ArkError.Missing("model"));
        }

        if (modelElement.ValueKind != JsonValueKind.String)
        {
            return (null, ArkError.Invalid("model", "it must be a string"));
        }

        var id = modelElement.GetString()!;
        if (ArkVideoModel.Find(id) is not { } model)
        {
            return (null, ArkError.UnknownModel(id));
        }

        ArkError? error = null;
        foreach (var field in body.EnumerateObject().Where(field => !Fields.Contains(field.Name)))
        {
            error ??= ArkError.Invalid(field.Name, "it is not a parameter of this API");
        }

        var (text, pictures, hasFrames) = ReadContent(body, model, ref error);
        var resolution = Word("resolution", model.Resolutions) ?? (model.IsFirst ? "1080p" : "720p");
        var ratio = Word("ratio", model.IsFirst && !hasFrames ? Ratios[..^1] : Ratios) ?? (model.IsFirst && !hasFrames ? "16:9" : "adaptive");
        var seconds = Whole("duration", model.Seconds.Least, model.Seconds.Most) ?? 5;
        var seed = Whole("seed", -1, int.MaxValue);
        var watermark = Flag("watermark") ?? false;
        var audio = model.IsFirst ? (bool?)null : Flag("generate_audio") ?? true;
        if (model.IsFirst)
        {
            Absent("generate_audio", "priority", "tools");
        }
        else
        {
            Absent("frames", "camera_fixed", "service_tier");
        }

        Absent("draft", "output_format", "omni_reference_task_type", "tools"); // not simulated, or not of these models
        var expiresAfter = Whole("execution_expires_after", 3_600, 259_200) ?? 172_800;
        var priority = Whole("priority", 0, 9) ?? 0;
        var safety = ArkEntrance.Text(body, "safety_identifier");
        if (safety is { Length: > 64 })
        {
            error ??= ArkError.Invalid("safety_identifier", "it must have at most 64 characters");
        }

        var lastFrame = Flag("return_last_frame") ?? false;
        var callbackUrl = ReadCallbackUrl(body, ref error);
        if (error is not null)
        {
            return (null, error);
        }

        // Flags win over the body, and a bad one is ignored: an application should remove them from its users' prompts.
        foreach (Match flag in TextFlags().Matches(text))
        {
            var value = flag.Groups["value"].Value;
            switch (flag.Groups["name"].Value)
            {
                case "rs" or "resolution" when model.Resolutions.Contains(value): resolution = value; break;
                case "rt" or "ratio" when Ratios.Contains(value): ratio = value; break;
                case "dur" or "duration" when int.TryParse(value, out var number) && number >= model.Seconds.Least
                    && number <= model.Seconds.Most:
                    seconds = number; break;
                case "seed" when int.TryParse(value, out var number) && number >= -1: seed = number; break;
                case "wm" or "watermark" when bool.TryParse(value, out var flagged): watermark = flagged; break;
            }
        }

        if (ratio == "adaptive")
        {
            ratio = "16:9"; // the pictures are not fetched
        }

        var (width, height) = model.Size(resolution, ratio);
        return (new ArkVideoRequest(
            id, text, resolution, ratio, width, height, seconds, seed is >= 0 ? seed
                : null, watermark, audio, expiresAfter, priority, safety, pictures, lastFrame, callbackUrl),
            null);

        void Absent(params string[] names)
        {
            foreach (var name in names.Where(name => body.TryGetProperty(name, out _)))
            {
                error ??= ArkError.Unsupported(name, id);
            }
        }

        int? Whole(string name, int least, int most)
        {
            if (!body.TryGetProperty(name, out var value))
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
            if (!body.TryGetProperty(name, out var value))
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
            if (!body.TryGetProperty(name, out var value))
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

    private static Uri? ReadCallbackUrl(JsonElement body, ref ArkError? error)
    {
        if (!body.TryGetProperty("callback_url", out var value))
        {
            return null;
        }

        if (value.ValueKind == JsonValueKind.String && Uri.TryCreate(value.GetString(), UriKind.Absolute, out var url)
            && url.Scheme is "http" or "https")
        {
            return url;
        }

        error ??= ArkError.Invalid("callback_url", "it must be an http or https URL");
        return null;
    }

    /// <summary>The text and the pictures; which of the modes (text, first frame, first and last frame, references) it is must be clear.</summary>
    private static (string Text, ulong Pictures, bool HasFrames) ReadContent(JsonElement body, ArkVideoModel model, ref ArkError? error)
    {
        if (!body.TryGetProperty("content", out var content))
        {
            error ??= ArkError.Missing("content");
        }

        if (content.ValueKind != JsonValueKind.Array || content.GetArrayLength() == 0)
        {
            error ??= ArkError.Invalid("content", "it must be an array with at least one item");
            return ("", 0, false);
        }

        var (texts, mixed) = (new List<string>(), 0ul);
        var roles = new Dictionary<string, int> { ["first_frame"] = 0, ["last_frame"] = 0, ["reference_image"] = 0 };
        foreach (var item in content.EnumerateArray())
        {
            switch (item.ValueKind == JsonValueKind.Object ? ArkEntrance.Text(item, "type") : null)
            {
                case "text" when ArkEntrance.Text(item, "text") is { } text: texts.Add(text); break;
                case "image_url" when item.TryGetProperty("image_url", out var image) && image.ValueKind == JsonValueKind.Object
                    && ArkEntrance.Text(image, "url") is { } url:
                    var role = ArkEntrance.Text(item, "role") is { Length: > 0 } said ? said : "first_frame";
                    if (!roles.TryGetValue(role, out var count))
                    {
                        error ??= ArkError.Invalid(
                        "content.role", "it must be first_frame, last_frame or reference_image");
                    }

                    if (url.Length == 0)
                    {
                        error ??= new ArkError(
                        400, "BadRequest", "InvalidImageURL.EmptyURL", "The image URL is empty.", "content.image_url");
                    }
                    else if (!ArkRequest.IsImage(url))
                    {
                        error ??= new ArkError(400, "BadRequest", "InvalidImageURL.InvalidFormat", "The image URL or its Base64 data is not valid.",
                            "content.image_url");
                    }

                    roles[role] = count + 1;
                    mixed = Mixed(mixed, role, url);
                    break;
                default: error ??= ArkError.Invalid("content", "each item must be a text or an image_url with its field"); break;
            }
        }

        if (texts.Count > 1)
        {
            error ??= ArkError.Invalid("content", "at most one text is supported");
        }

        if (roles["first_frame"] > 1 || roles["last_frame"] > 1 || roles["last_frame"] > roles["first_frame"])
        {
            error ??= ArkError.Invalid("content", "one first_frame, or one first_frame and one last_frame are supported");
        }

        if (roles["reference_image"] > model.MaxReferences)
        {
            error ??= ArkError.Invalid(
            "content", $"at most {model.MaxReferences} reference images are supported");
        }

        if (roles["reference_image"] > 0 && roles["first_frame"] > 0)
        {
            error ??= new ArkError(400, "BadRequest", "InvalidParameter.TaskTypeConstraint",
                "First and last frames cannot be mixed with reference media.", "content");
        }

        if (texts.Count == 0 && mixed == 0)
        {
            error ??= ArkError.Missing("content");
        }

        return (texts.FirstOrDefault() ?? "", mixed, roles["first_frame"] > 0);
    }

    private static ulong Mixed(ulong mixed, string role, string url) => Dice.Mix(mixed ^ Recipe.Hash(role + url));

    [GeneratedRegex(@"--(?<name>[a-z]+)[ =]+(?<value>\S+)", RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 1000)]
    private static partial Regex TextFlags();
}
