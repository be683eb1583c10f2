using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using Generation.Worker.Calls;

namespace Generation.Worker.Providers.Kie;

/// <summary>
/// The body of <c>POST api/v1/jobs/createTask</c>: what to make in the words of its model, and where to call back.
/// </summary>
/// <param name="Model">Kie's model id.</param>
/// <param name="Input">That model's fields.</param>
public sealed record KieRequest(string Model, JsonObject Input)
{
    private static readonly JsonSerializerOptions Json = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>
    /// The request that a session's settings ask for; null when they lack something, or name a model that is not known here. A model with
    /// a sister for pictures (<c>-edit</c>, <c>image-to-video</c>) is exchanged for it when pictures are given.
    /// </summary>
    /// <param name="settings">The session's; pictures are addresses that Kie fetches by itself.</param>
    public static KieRequest? From(JsonObject settings)
    {
        ArgumentNullException.ThrowIfNull(settings);
        var take = new Fields(settings);
        var pictures = settings["reference_images"] is JsonArray { Count: > 0 } references ? references : null;
        switch (take.Text("providerModel"))
        {
            case "google/nano-banana" when take.Text("prompt") is { } prompt:
                var banana = new JsonObject { ["prompt"] = prompt }.With("image_size", take.Text("ratio"))
                    .With("output_format", take.Text("output_format"));
                return pictures is null ? new("google/nano-banana", banana)
                    : new("google/nano-banana-edit", banana.With("image_urls", pictures.DeepClone()));

            case "flux-2/pro-text-to-image" when take.Text("prompt") is { } prompt && take.Text("resolution") is { } resolution:
                return new("flux-2/pro-text-to-image", new()
                {
                    ["prompt"] = prompt,
                    ["aspect_ratio"] = take.Text("ratio") ?? "1:1",
                    ["resolution"] =
                    resolution
                });

            case "kling-2.6/text-to-video" when take.Text("prompt") is { } prompt && take.Seconds("duration") is { } seconds:
                var kling = new JsonObject { ["prompt"] = prompt, ["sound"] = take.Flag("generate_audio") ?? false, ["duration"] = seconds };
                return take.Text("first_frame") is { } frame
                    ? new("kling-2.6/image-to-video", kling.With("image_urls", new JsonArray(frame)))
                    : new("kling-2.6/text-to-video", kling.With("aspect_ratio", take.Text("ratio") ?? "16:9"));

            case "wan/2-6-text-to-video" when take.Text("prompt") is { } prompt && take.Text("resolution") is { } resolution
                && take.Seconds("duration") is { } seconds:
                return new("wan/2-6-text-to-video", new() { ["prompt"] = prompt, ["duration"] = seconds, ["resolution"] = resolution });

            case "elevenlabs/sound-effect-v2" when take.Text("prompt") is { } prompt:
                var effect = new JsonObject { ["text"] = prompt }.With("loop", take.Flag("loop")).With("duration_seconds", take.Number("duration"));
                return new("elevenlabs/sound-effect-v2", effect.With("prompt_influence", take.Number("prompt_influence")).With("output_format",
                    "mp3_44100_128"));

            case "elevenlabs/text-to-speech-multilingual-v2" when take.Text("prompt") is { } prompt:
                var speech = new JsonObject { ["text"] = prompt }.With("voice", take.Text("voice"));
                foreach (var dial in new[] { "stability", "similarity_boost", "style", "speed" })
                {
                    speech = speech.With(dial, take.Number(dial));
                }

                return new("elevenlabs/text-to-speech-multilingual-v2", speech);

            default:
                return null;
        }
    }

    /// <param name="callbackUrl">Where Kie may tell of the end; null: it is asked.</param>
    /// <param name="modelId">What is sent as the model.</param>
    public byte[] ToUtf8Json(Uri? callbackUrl, string modelId) => JsonSerializer.SerializeToUtf8Bytes(
        new JsonObject { ["model"] = modelId }.With("callBackUrl", callbackUrl?.AbsoluteUri).With("input", Input.DeepClone()), Json);

    private readonly struct Fields(JsonObject settings)
    {
        public string? Text(string name) => settings[name] is JsonValue value && value.TryGetValue<string>(out var text) && text.Length > 0 ? text
            : null;

        public bool? Flag(string name) => settings[name] is JsonValue value && value.TryGetValue<bool>(out var flag) ? flag : null;

        public double? Number(string name) =>
            settings[name] is JsonValue value && value.GetValueKind() == JsonValueKind.Number ? JsonSerializer.Deserialize<double>(value) : null;

        /// <summary>Kie wants whole seconds as a string.</summary>
        public string? Seconds(string name) => Number(name)?.ToString(CultureInfo.InvariantCulture);
    }
}

/// <summary>An answer of Kie's: the code is in the body, whatever the HTTP status says.</summary>
/// <param name="Code">200, or why not.</param>
/// <param name="Text">From <c>msg</c> or <c>message</c>, which Kie's pages use alike.</param>
/// <param name="Data">Null when there is none.</param>
public sealed record KieReply(int Code, string Text, JsonElement? Data)
{
    /// <summary>Null when the text is no answer of Kie's: a gateway's page, half of something.</summary>
    public static KieReply? Read(string? body) => ProviderJson.Parse(body) is { } root && ProviderJson.Whole(root, "code") is >= int.MinValue
        and <= int.MaxValue and var code
        ? new KieReply((int)code, ProviderJson.Text(root, "msg", "message") ?? "", ProviderJson.Child(root, "data"))
        : null;
}

/// <summary>What Kie says of a task. Every field may be missing: nothing is believed that is not there.</summary>
/// <param name="State"><c>waiting, queuing, generating, success, fail</c>, or whatever else comes.</param>
/// <param name="Result">The first address in <c>resultJson</c>, when it is one that can be fetched.</param>
/// <param name="FailCode">A number as text, or text; empty: none.</param>
/// <param name="FailText">What went wrong.</param>
/// <param name="Progress">Per cent; newer answers have it.</param>
/// <param name="CreditsConsumed">Kie's credits; newer answers have it. Null also when it cannot be.</param>
public sealed record KieTask(string State, Uri? Result, string FailCode, string FailText, int? Progress, decimal? CreditsConsumed)
{
    /// <summary>For the record: the credits, or what stood in their place.</summary>
    public JsonObject? Usage { get; private init; }

    public static KieTask Read(JsonElement data) => new(
        ProviderJson.Text(data, "state") ?? "",
        FirstAddress(data),
        ProviderJson.Text(data, "failCode") ?? "",
        ProviderJson.Text(data, "failMsg") ?? "",
        ProviderJson.Whole(data, "progress") is { } percent ? (int)Math.Clamp(percent, 0, 100) : null,
        ProviderJson.Amount(data, "creditsConsumed"))
    {
        Usage = ProviderJson.UsageOfAmount(data, "creditsConsumed"),
    };

    /// <summary>The id in the body of a callback, which Kie's own sample calls <c>task_id</c>.</summary>
    public static string? IdInCallback(string body) => ProviderJson.Parse(body) is { } root && ProviderJson.Child(root, "data") is { } data
        ? ProviderJson.Text(data, "taskId", "task_id")
        : null;

    /// <summary><c>resultJson</c> is JSON inside of a string; an object is taken as well.</summary>
    private static Uri? FirstAddress(JsonElement data)
    {
        var result = ProviderJson.Child(data, "resultJson") ?? data;
        return ProviderJson.Address(result, "resultUrls") ?? ProviderJson.Address(result, "resultUrl");
    }
}

/// <summary>Writing only what is there.</summary>
internal static class KieJson
{
    /// <summary>Adds a field that has a value.</summary>
    public static JsonObject With(this JsonObject target, string name, JsonNode? value)
    {
        if (value is not null)
        {
            target[name] = value;
        }

        return target;
    }
}
