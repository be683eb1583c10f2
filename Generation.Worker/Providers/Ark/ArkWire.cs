using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;

namespace Generation.Worker.Providers.Ark;

/// <summary>
/// The body of <c>POST images/generations</c> (provider-apis.md §1.1). One picture a call: Ark has no <c>n</c>, and with
/// <c>sequential_image_generation</c> the model itself would decide how many come. <c>seed</c> and <c>guidance_scale</c> are not here
/// because no model that is left takes them.
/// </summary>
public sealed record ArkImageRequest
{
    private static readonly JsonSerializerOptions Json = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    };

    /// <summary>Ark's model id, such as <c>seedream-4-0-250828</c>, or an endpoint id.</summary>
    public required string Model { get; init; }

    public required string Prompt { get; init; }

    /// <summary><c>2K</c> or <c>2048x2048</c>; null leaves it to Ark.</summary>
    public string? Size { get; init; }

    public string SequentialImageGeneration { get; } = "disabled";

    public bool Stream { get; }

    public string ResponseFormat { get; } = "url";

    /// <summary>Always sent: Ark's own default is true.</summary>
    public bool Watermark { get; init; }

    public ArkPromptOptions? OptimizePromptOptions { get; init; }

    /// <summary>The request that a session's settings ask for; null when they have no <c>prompt</c> or no <c>providerModel</c>.</summary>
    public static ArkImageRequest? From(JsonObject settings)
    {
        ArgumentNullException.ThrowIfNull(settings);
        string? Text(string name) => settings[name] is JsonValue value && value.TryGetValue<string>(out var text) && text.Length > 0 ? text : null;
        return Text("providerModel") is { } model && Text("prompt") is { } prompt
            ? new ArkImageRequest
            {
                Model = model,
                Prompt = prompt,
                Size = Text("size"),
                Watermark = settings["watermark"] is JsonValue value && value.TryGetValue<bool>(out var watermark) && watermark,
                OptimizePromptOptions = Text("optimize_prompt") is { } mode ? new ArkPromptOptions(mode) : null,
            }
            : null;
    }

    public byte[] ToUtf8Json() => JsonSerializer.SerializeToUtf8Bytes(this, Json);
}

/// <param name="Mode"><c>standard</c> or <c>fast</c>.</param>
public sealed record ArkPromptOptions(string Mode);

/// <summary>Ark's words for a failure, as they came: the message may hold the request id.</summary>
public sealed record ArkError(string Code, string Message)
{
    /// <summary>The error that a body holds at its top; null when it is none of Ark's (a gateway's page, a cut body).</summary>
    public static ArkError? In(string body) => ArkJson.Parse(body) is { } root ? Of(root) : null;

    /// <summary>The <c>error</c> of an object; null without one, or when it has no code.</summary>
    internal static ArkError? Of(JsonElement parent) =>
        ArkJson.Object(parent, "error") is { } error && (ArkJson.Text(error, "code") ?? ArkJson.Text(error, "type")) is { Length: > 0 } code
            ? new ArkError(code, ArkJson.Text(error, "message") ?? "")
            : null;
}

/// <summary>What a 200 says (provider-apis.md §1.2). Every field may be missing: nothing is believed that is not there.</summary>
/// <param name="Address">The address of the picture as sent.</param>
/// <param name="Size">Its pixels, such as <c>2720x1536</c>.</param>
/// <param name="Error">Of the picture, else of the whole request.</param>
/// <param name="Usage">The whole numbers among <c>generated_images</c>, <c>output_tokens</c> and <c>total_tokens</c>.</param>
public sealed record ArkImagesReply(string? Address, string? Size, ArkError? Error, JsonObject? Usage)
{
    /// <summary>The address, when it is one that can be fetched.</summary>
    public Uri? Url => Uri.TryCreate(Address, UriKind.Absolute, out var url) && url.Scheme is "http" or "https" ? url : null;

    /// <summary>The pictures that Ark bills; null when it does not say.</summary>
    public long? GeneratedImages => Number("generated_images");

    public long? OutputTokens => Number("output_tokens");

    /// <summary>Null when the body is not a JSON object.</summary>
    public static ArkImagesReply? Read(string body)
    {
        if (ArkJson.Parse(body) is not { } root)
        {
            return null;
        }

        var images = root.TryGetProperty("data", out var data) && data.ValueKind == JsonValueKind.Array ? data.EnumerateArray().ToArray() : [];
        var made = Array.Find(images, image => ArkJson.Text(image, "url") is { Length: > 0 });
        return new ArkImagesReply(
            ArkJson.Text(made, "url"),
            ArkJson.Text(made, "size"),
            images.Select(ArkError.Of).FirstOrDefault(error => error is not null) ?? ArkError.Of(root),
            ArkJson.Usage(root, "generated_images", "output_tokens", "total_tokens"));
    }

    private long? Number(string name) => Usage?[name]?.GetValue<long>();
}

/// <summary>Reading JSON that may be anything.</summary>
internal static class ArkJson
{
    /// <summary>The object in the text; null when there is none.</summary>
    public static JsonElement? Parse(string text)
    {
        try
        {
            var root = JsonElement.Parse(text);
            return root.ValueKind == JsonValueKind.Object ? root : null;
        }
        catch (JsonException)
        {
            return null;
        }
    }

    public static JsonElement? Object(JsonElement parent, string name) =>
        parent.ValueKind == JsonValueKind.Object && parent.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.Object ? value : null;

    /// <summary>The whole numbers among these fields of <c>usage</c>; null when there is none.</summary>
    public static JsonObject? Usage(JsonElement root, params string[] names)
    {
        var counted = new JsonObject();
        foreach (var name in Object(root, "usage") is null ? [] : names)
        {
            if (root.GetProperty("usage").TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.Number && value.TryGetInt64(out var number))
            {
                counted[name] = number;
            }
        }

        return counted.Count == 0 ? null : counted;
    }

    public static string? Text(JsonElement parent, string name)
    {
        if (parent.ValueKind != JsonValueKind.Object || !parent.TryGetProperty(name, out var value) || value.ValueKind != JsonValueKind.String)
        {
            return null;
        }

        try
        {
            return value.GetString();
        }
        catch (InvalidOperationException) // half a surrogate pair, which JSON can write and a string cannot hold
        {
            return null;
        }
    }
}
