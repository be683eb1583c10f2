using System.Buffers.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using Generation.ProviderSim.Pictures;

namespace Generation.ProviderSim.Google;

/// <summary>A valid request of <c>predictLongRunning</c> for Veo 3.1 (the limits are the documentation's of late 2026).</summary>
/// <param name="Prompt">As sent.</param>
/// <param name="Width">Pixels.</param>
/// <param name="Height">Pixels.</param>
/// <param name="Seconds">4, 6 or 8.</param>
/// <param name="Pictures">Hash of the pictures it is to show; 0: none.</param>
internal sealed partial record VeoRequest(string Prompt, int Width, int Height, int Seconds, ulong Pictures)
{
    private const int MaxPromptTokens = 1_024;
    private const int MaxPictureBytes = 20 << 20;

    private static readonly string[] InstanceFields = ["prompt", "image", "lastFrame", "referenceImages", "video"];
    private static readonly string[] ParameterFields = ["aspectRatio", "durationSeconds", "resolution", "personGeneration", "negativePrompt",
        "sampleCount", "enhancePrompt"];

    /// <summary>Whether a model of that name is there.</summary>
    public static bool IsModel(string model) => Models().IsMatch(model);

    /// <summary>Reads a body that is a JSON object; exactly one of the two results is there.</summary>
    public static (VeoRequest? Request, GoogleError? Error) Read(JsonElement body)
    {
        string? problem = null;
        void Check(bool holds, string otherwise) => problem ??= holds ? null : otherwise;

        foreach (var field in body.EnumerateObject())
        {
            Check(field.Name is "instances" or "parameters" or "webhookConfig",
                $"Invalid JSON payload received. Unknown name \"{field.Name}\": Cannot find field.");
        }

        if (!body.TryGetProperty("instances", out var instances) || instances.ValueKind != JsonValueKind.Array || instances.GetArrayLength() != 1
            || instances[0].ValueKind != JsonValueKind.Object)
        {
            return (null, GoogleError.Invalid(problem ?? "instances must be a list of one object."));
        }

        var instance = instances[0];
        foreach (var field in instance.EnumerateObject())
        {
            Check(InstanceFields.Contains(field.Name), Unsupported(field.Name));
        }

        var parameters = body.TryGetProperty("parameters", out var given) && given.ValueKind == JsonValueKind.Object ? given
            : JsonElement.Parse("{}");
        foreach (var field in parameters.EnumerateObject())
        {
            Check(ParameterFields.Contains(field.Name), Unsupported(field.Name));
        }

        var prompt = instance.TryGetProperty("prompt", out var text) && text.ValueKind == JsonValueKind.String ? text.GetString()! : "";
        var pictures = 0ul;
        var hasImage = Picture(instance, "image");
        var hasLast = Picture(instance, "lastFrame");
        Check(!hasLast || hasImage, "`lastFrame` needs an `image` to begin with.");
        var references = instance.TryGetProperty("referenceImages", out var list) && list.ValueKind == JsonValueKind.Array
            ? list.EnumerateArray().ToList() : [];
        Check(references.Count <= 3, "At most 3 reference images are supported.");
        Check(references.Count == 0 || !hasImage, "`referenceImages` and `image` cannot be used together.");
        foreach (var reference in references)
        {
            Check(reference.ValueKind == JsonValueKind.Object && reference.TryGetProperty("referenceType", out var type)
                && type.ValueKind == JsonValueKind.String && type.GetString() == "asset",
                "`referenceType` must be `asset`.");
            Check(reference.ValueKind == JsonValueKind.Object && Picture(reference, "image"), "A reference image needs an `image`.");
        }

        Check(!instance.TryGetProperty("video", out _), "Video extension is not supported by this simulator.");
        Check(prompt.Length > 0 || hasImage, "Text prompt or image must be provided.");
        Check(prompt.Length <= MaxPromptTokens * 4, $"The prompt is longer than {MaxPromptTokens} tokens.");

        var aspectRatio = Word("aspectRatio", "16:9", "9:16");
        var resolution = Word("resolution", "720p", "1080p", "4k");
        var seconds = Number("durationSeconds") ?? 8;
        Check(seconds is 4 or 6 or 8,
            $"The number value for `durationSeconds` is out of bound. Please provide a value between 4 and 8, inclusive. Provided value: {seconds}.");
        Check(seconds == 8 || (resolution is null or "720p" && references.Count == 0),
            $"`durationSeconds` must be 8 for {(references.Count > 0 ? "reference images" : resolution)}.");
        var people = Word("personGeneration", "allow_all", "allow_adult", "dont_allow");
        var allowed = hasImage || references.Count > 0 ? "allow_adult" : "allow_all";
        Check(people is null || people == allowed, $"`personGeneration` must be {allowed} here. Your current setting is {people}.");
        Check((Number("sampleCount") ?? 1) == 1, "`sampleCount` must be 1.");
        if (parameters.TryGetProperty("negativePrompt", out var negative))
        {
            Check(
            negative.ValueKind == JsonValueKind.String, "The value type for `negativePrompt` needs to be a string.");
        }

        if (parameters.TryGetProperty("enhancePrompt", out var enhance))
        {
            Check(
            enhance.ValueKind == JsonValueKind.True, "`enhancePrompt` cannot be disabled for this model.");
        }

        if (problem is not null)
        {
            return (null, GoogleError.Invalid(problem));
        }

        var (longSide, shortSide) = resolution switch { "1080p" => (1920, 1080), "4k" => (3840, 2160), _ => (1280, 720) };
        return (aspectRatio == "9:16" ? new VeoRequest(prompt, shortSide, longSide, seconds, pictures)
            : new VeoRequest(prompt, longSide, shortSide, seconds, pictures), null);

        static string Unsupported(string name) =>
            $"`{name}` isn't supported by this model. Please remove it or refer to the Gemini API documentation for supported usage.";

        string? Word(string name, params string[] words)
        {
            if (!parameters.TryGetProperty(name, out var value))
            {
                return null;
            }

            var word = value.ValueKind == JsonValueKind.String ? value.GetString() : null;
            Check(words.Contains(word), $"`{name}` must be one of {string.Join(", ", words)}.");
            return word;
        }

        int? Number(string name)
        {
            if (!parameters.TryGetProperty(name, out var value))
            {
                return null;
            }

            var number = 0;
            Check(value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out number), $"The value type for `{name}` needs to be a number.");
            return number;
        }

        // The REST page writes inlineData{mimeType,data}, the SDK sends bytesBase64Encoded: either is taken.
        bool Picture(JsonElement parent, string name)
        {
            if (!parent.TryGetProperty(name, out var image))
            {
                return false;
            }

            var (data, type) = image.ValueKind != JsonValueKind.Object ? (null, null)
                : image.TryGetProperty("inlineData", out var inline) && inline.ValueKind == JsonValueKind.Object
                    ? (Text(inline, "data"), Text(inline, "mimeType"))
                : (Text(image, "bytesBase64Encoded"), Text(image, "mimeType"));
            Check(data is not null && type is not null, $"`{name}` needs `bytesBase64Encoded` and `mimeType`.");
            Check(type is null or "image/png" or "image/jpeg" or "image/webp", $"Unsupported mime type {type} of `{name}`.");
            Check(data is null || (Base64.IsValid(data, out var length) && length is > 0 and <= MaxPictureBytes),
                $"`{name}` holds no Base64 of a picture, or is larger than 20 MB.");
            if (data is not null)
            {
                pictures = Dice.Mix(pictures ^ Recipe.Hash(data));
            }

            return true;
        }

        static string? Text(JsonElement parent, string name) =>
            parent.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;
    }

    [GeneratedRegex(@"^veo-3\.1-((fast|lite)-)?generate-(preview|\d{3})$", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Models();
}
