using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using Generation.Worker.Calls;

namespace Generation.Worker.Providers.Ark;

/// <summary>
/// The body of <c>POST images/generations</c>. One picture a call: Ark has no <c>n</c>. In a group the model itself
/// decides how many come, up to <c>max_images</c>. What a model does not take is null and not sent: Ark refuses it.
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

    /// <summary>Pictures to go by: one address, or a list of them.</summary>
    public JsonNode? Image { get; init; }

    /// <summary><c>2K</c> or <c>2048x2048</c>; null leaves it to Ark.</summary>
    public string? Size { get; init; }

    /// <summary><c>auto</c> for a group, <c>disabled</c> for one picture; null for models that make no groups.</summary>
    public string? SequentialImageGeneration { get; init; }

    public ArkGroupOptions? SequentialImageGenerationOptions { get; init; }

    /// <summary>A group is announced picture by picture.</summary>
    public bool? Stream { get; init; }

    public string ResponseFormat { get; } = "url";

    /// <summary><c>jpeg</c> or <c>png</c>; null for models that know only JPEG.</summary>
    public string? OutputFormat { get; init; }

    /// <summary>Always sent: Ark's own default is true.</summary>
    public bool Watermark { get; init; }

    /// <summary>Of Seedream 3 alone, like <see cref="GuidanceScale"/>.</summary>
    public int? Seed { get; init; }

    public double? GuidanceScale { get; init; }

    public ArkPromptOptions? OptimizePromptOptions { get; init; }

    /// <summary>The request that a session's settings ask for; null when they have no <c>prompt</c> or no <c>providerModel</c>.</summary>
    public static ArkImageRequest? From(JsonObject settings)
    {
        ArgumentNullException.ThrowIfNull(settings);
        if (Value<string>("providerModel") is not { Length: > 0 } model || Value<string>("prompt") is not { Length: > 0 } prompt)
        {
            return null;
        }

        bool? isGroup = settings["group"] is JsonValue group && group.TryGetValue<bool>(out var said) ? said : null;
        return new ArkImageRequest
        {
            Model = model,
            Prompt = prompt,
            Image = settings["images"] switch
            {
                JsonArray { Count: 1 } one => one[0]!.DeepClone(),
                JsonArray { Count: > 1 } many =>
                many.DeepClone(),
                _ => null
            },
            Size = Value<string>("size") is { Length: > 0 } size ? size : null,
            SequentialImageGeneration = isGroup switch { true => "auto", false => "disabled", null => null },
            SequentialImageGenerationOptions = isGroup == true ? new ArkGroupOptions(Core.Catalog.Model.Outputs(settings)) : null,
            Stream = isGroup,
            OutputFormat = Value<string>("output_format"),
            Watermark = settings["watermark"] is JsonValue value && value.TryGetValue<bool>(out var watermark) && watermark,
            OptimizePromptOptions = Value<string>("optimize_prompt") is { Length: > 0 } mode ? new ArkPromptOptions(mode) : null,
        };

        T? Value<T>(string name)
            where T : class => settings[name] is JsonValue found && found.TryGetValue<T>(out var typed) ? typed : null;
    }

    /// <summary>The same, with what only Seedream 3 takes: <c>seed</c> and <c>guidance_scale</c>.</summary>
    public static ArkImageRequest? FromSeedream3(JsonObject settings) => From(settings) is { } request
        ? request with
        {
            Seed = settings["seed"] is JsonValue seed && seed.TryGetValue<int>(out var number) ? number : null,
            GuidanceScale = settings["guidance_scale"] is JsonValue scale && scale.TryGetValue<double>(out var factor) ? factor : null,
        }
        : null;

    /// <summary>The call for one of several pictures: with one seed for all they would all be the same.</summary>
    public ArkImageRequest OfCall(int ordinal) => Seed is { } seed ? this with { Seed = (int)((seed + (long)ordinal) & int.MaxValue) } : this;

    public byte[] ToUtf8Json() => JsonSerializer.SerializeToUtf8Bytes(this, Json);
}

/// <param name="MaxImages">At most so many; with the pictures to go by, at most 15.</param>
public sealed record ArkGroupOptions(int MaxImages);

/// <param name="Mode"><c>standard</c> or <c>fast</c>.</param>
public sealed record ArkPromptOptions(string Mode);

/// <summary>Ark's words for a failure, as they came: the message may hold the request id.</summary>
public sealed record ArkError(string Code, string Message)
{
    /// <summary>The error that a body holds at its top; null when it is none of Ark's (a gateway's page, a cut body).</summary>
    public static ArkError? In(string body) => ProviderJson.Parse(body) is { } root ? Of(root) : null;

    /// <summary>The <c>error</c> of an object; null without one, or when it has no code.</summary>
    internal static ArkError? Of(JsonElement parent) =>
        ProviderJson.Child(parent, "error") is { } error && ProviderJson.Text(error, "code", "type") is { Length: > 0 } code
            ? new ArkError(code, ProviderJson.Text(error, "message") ?? "")
            : null;
}

/// <summary>One picture of an answer: its address as sent, or the error in its place.</summary>
/// <param name="Index">Ark's number for it in a group.</param>
/// <param name="Address">The address of the picture as sent.</param>
/// <param name="Url">The address, when it is one that can be fetched.</param>
/// <param name="Size">Its pixels, such as <c>2720x1536</c>.</param>
/// <param name="Error">Why there is none.</param>
public sealed record ArkPicture(int? Index, string? Address, Uri? Url, string? Size, ArkError? Error)
{
    internal static ArkPicture Of(JsonElement picture) => new(
        (int?)ProviderJson.Count(picture, "image_index"),
        ProviderJson.Text(picture, "url") is { Length: > 0 } address ? address
            : ProviderJson.Text(picture, "b64_json") is { Length: > 0 } other ? other : null,
        ProviderJson.Address(picture, "url") ?? ProviderJson.Address(picture, "b64_json"),
        ProviderJson.Text(picture, "size"), ArkError.Of(picture));
}

/// <summary>
/// What a 200 says, and the end of a stream. Every field may be missing: nothing is believed that is not there.
/// </summary>
/// <param name="Pictures">In order.</param>
/// <param name="Error">Of the whole request.</param>
/// <param name="Usage">The whole numbers among <c>generated_images</c>, <c>output_tokens</c> and <c>total_tokens</c>.</param>
public sealed record ArkImagesReply(IReadOnlyList<ArkPicture> Pictures, ArkError? Error, JsonObject? Usage)
{
    /// <summary>The pictures that Ark bills; null when it does not say.</summary>
    public long? GeneratedImages => Number("generated_images");

    public long? OutputTokens => Number("output_tokens");

    /// <summary>Null when the body is not a JSON object.</summary>
    public static ArkImagesReply? Read(string body) => ProviderJson.Parse(body) is { } root ? Of(root) : null;

    internal static ArkImagesReply Of(JsonElement root) => new(
        [.. ProviderJson.Items(root, "data").Select(ArkPicture.Of)],
        ArkError.Of(root),
        ProviderJson.Usage(root, "generated_images", "output_tokens", "total_tokens"));

    private long? Number(string name) => Usage?[name]?.GetValue<long>();
}
