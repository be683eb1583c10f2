using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using System.Text.RegularExpressions;
using Generation.Worker.Calls;

namespace Generation.Worker.Providers.Ark;

/// <summary>
/// The body of <c>POST contents/generations/tasks</c>. Everything that decides the price is always said in it:
/// what a body leaves out, Ark would read from flags in the prompt, or choose itself.
/// </summary>
public sealed record ArkVideoRequest
{
    private static readonly JsonSerializerOptions Json = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    };

    /// <summary>Ark's model id, such as <c>dreamina-seedance-2-0-260128</c>, or an endpoint id.</summary>
    public required string Model { get; init; }

    /// <summary>The text first, then the pictures in their order.</summary>
    public required IReadOnlyList<ArkContent> Content { get; init; }

    /// <summary><c>480p</c>, <c>720p</c> or <c>1080p</c>.</summary>
    public required string Resolution { get; init; }

    /// <summary><c>16:9</c> and the like, or <c>adaptive</c>; null leaves it to Ark, which takes the first frame's or 16:9.</summary>
    public string? Ratio { get; init; }

    /// <summary>Seconds.</summary>
    public required int Duration { get; init; }

    /// <summary>Null for models without sound.</summary>
    public bool? GenerateAudio { get; init; }

    public int? Seed { get; init; }

    /// <summary>Always sent.</summary>
    public bool Watermark { get; init; }

    /// <summary>True to get the last frame beside the video, a PNG; else null.</summary>
    public bool? ReturnLastFrame { get; init; }

    /// <summary>Where Ark says that the task has come to another state. It does not sign: whoever is called asks for the task.</summary>
    public Uri? CallbackUrl { get; init; }

    /// <summary>Seconds in Ark's queue after which the task expires unbilled: nobody waits for it any more.</summary>
    public int? ExecutionExpiresAfter { get; init; }

    /// <summary>
    /// The request that a session's settings ask for; null when one of <c>providerModel, prompt, resolution, duration</c> is missing.
    /// </summary>
    public static ArkVideoRequest? From(JsonObject settings)
    {
        ArgumentNullException.ThrowIfNull(settings);
        string? Text(string name) => settings[name] is JsonValue value && value.TryGetValue<string>(out var text) && text.Length > 0 ? text : null;
        int? Number(string name) => settings[name] is JsonValue value && value.TryGetValue<int>(out var number) ? number : null;
        bool? Flag(string name) => settings[name] is JsonValue value && value.TryGetValue<bool>(out var flag) ? flag : null;
        if (Text("providerModel") is not { } model || Text("prompt") is not { } prompt || Text("resolution") is not { } resolution
            || Number("duration") is not { } duration)
        {
            return null;
        }

        var content = new List<ArkContent> { new("text") { Text = ArkPrompt.WithoutFlags(prompt) } };
        foreach (var role in new[] { "first_frame", "last_frame" })
        {
            if (Text(role) is { } address)
            {
                content.Add(ArkContent.Image(address, role));
            }
        }

        foreach (var reference in settings["reference_images"] is JsonArray references ? references : [])
        {
            content.Add(ArkContent.Image(reference!.GetValue<string>(), "reference_image"));
        }

        return new ArkVideoRequest
        {
            Model = model,
            Content = content,
            Resolution = resolution,
            Ratio = Text("ratio"),
            Duration = duration,
            GenerateAudio = Flag("generate_audio"),
            Seed = Number("seed"),
            Watermark = Flag("watermark") ?? false,
            ReturnLastFrame = Flag("last_frame_poster") is true ? true : null,
        };
    }

    public byte[] ToUtf8Json() => JsonSerializer.SerializeToUtf8Bytes(this, Json);
}

/// <param name="Type"><c>text</c> or <c>image_url</c>.</param>
public sealed record ArkContent(string Type)
{
    public string? Text { get; init; }

    public ArkAddress? ImageUrl { get; init; }

    /// <summary><c>first_frame</c>, <c>last_frame</c> or <c>reference_image</c>.</summary>
    public string? Role { get; init; }

    public static ArkContent Image(string url, string role) => new("image_url") { ImageUrl = new ArkAddress(url), Role = role };
}

public sealed record ArkAddress(string Url);

/// <summary>
/// Prompts for Ark's video models, which read flags out of them: <c>--dur 12 --rs 1080p</c> at the end of a text is how these parameters
/// were once set. Users must not change by it what they have paid for.
/// </summary>
public static partial class ArkPrompt
{
    /// <summary>
    /// The prompt with every run of two or more hyphens written as one dash, so that no flag is left and a sentence with dashes still reads
    /// as one. All characters that are hyphens to somebody count (a gateway may normalise), and invisible ones between them do not help.
    /// </summary>
    public static string WithoutFlags(string prompt) => Hyphens().Replace(prompt, "—");

    // Hyphen-minus, hyphens and en dash, minus, small and full-width forms, soft hyphen; between them format and control characters
    // (zero-width space and joiner, BOM) and marks (variation selectors), but no line break.
    [GeneratedRegex(@"[\-‐‑‒–−﹣－\u00AD](?:[\p{Cf}\p{Mn}\p{Cc}-[\r\n\t]]*[\-‐‑‒–−﹣－\u00AD])+", RegexOptions.CultureInvariant
        | RegexOptions.NonBacktracking)]
    private static partial Regex Hyphens();
}

/// <summary>What Ark says of a task. Every field may be missing: nothing is believed that is not there.</summary>
/// <param name="Status"><c>queued, running, succeeded, failed, cancelled, expired</c>, or whatever else comes.</param>
/// <param name="VideoUrl">The video's address, when it is one that can be fetched.</param>
/// <param name="LastFrameUrl">The last frame's address, when it was asked for.</param>
/// <param name="Error">Why it failed.</param>
/// <param name="Usage">The whole numbers among <c>completion_tokens</c> and <c>total_tokens</c>.</param>
public sealed record ArkVideoTask(string Status, Uri? VideoUrl, Uri? LastFrameUrl, ArkError? Error, JsonObject? Usage)
{
    internal static ArkVideoTask Read(JsonElement root) => new(
        ProviderJson.Text(root, "status") ?? "",
        Address(root, "video_url"),
        Address(root, "last_frame_url"),
        ArkError.Of(root),
        ProviderJson.Usage(root, "completion_tokens", "total_tokens"));

    /// <summary>The id in the body of a callback, which is the task as a question about it is answered.</summary>
    internal static string? IdInCallback(string body) => ProviderJson.Parse(body) is { } root ? ProviderJson.Text(root, "id") : null;

    private static Uri? Address(JsonElement root, string name) => ProviderJson.Address(ProviderJson.Child(root, "content"), name);
}
