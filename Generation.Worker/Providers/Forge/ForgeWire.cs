using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using Generation.Core.Catalog;
using Generation.Worker.Calls;

namespace Generation.Worker.Providers.Forge;

/// <summary>
/// The body of <c>POST /sdapi/v1/txt2img</c>. One picture a call: each is stored as it comes, and after a crash only
/// what is missing is made again. Nothing is saved on the WebUI's own disk, which also keeps it from making a grid of the pictures.
/// </summary>
public sealed record ForgeImageRequest
{
    private static readonly JsonSerializerOptions Json = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    };

    public required string Prompt { get; init; }

    public string NegativePrompt { get; init; } = "";

    public required int Width { get; init; }

    public required int Height { get; init; }

    public int Steps { get; init; }

    public double CfgScale { get; init; }

    public required string SamplerName { get; init; }

    public string? Scheduler { get; init; }

    /// <summary>Of this picture.</summary>
    public long Seed { get; init; }

    public int BatchSize { get; } = 1;

    public int NIter { get; } = 1;

    public bool SendImages { get; } = true;

    public bool SaveImages { get; }

    /// <summary>Our name for the task, by which the WebUI says how far it is.</summary>
    public required string ForceTaskId { get; init; }

    /// <summary><c>sd_model_checkpoint</c>; null leaves the WebUI with the one that it has.</summary>
    public Dictionary<string, string>? OverrideSettings { get; init; }

    /// <summary>False: the checkpoint stays for the next picture, which most likely wants the same.</summary>
    public bool OverrideSettingsRestoreAfterwards { get; }

    /// <summary>The picture that a session's settings ask for; null when a setting is missing.</summary>
    /// <param name="settings">Of the session.</param>
    /// <param name="firstSeed">What seed 0 of the session is when none was asked for.</param>
    /// <param name="ordinal">Each picture of a session has the next seed.</param>
    /// <param name="taskId">See <see cref="ForceTaskId"/>.</param>
    /// <param name="checkpointOf">From our model's name to the checkpoint's.</param>
    public static ForgeImageRequest? From(JsonObject settings, long firstSeed, int ordinal, string taskId, Func<string, string?> checkpointOf)
    {
        ArgumentNullException.ThrowIfNull(settings);
        ArgumentNullException.ThrowIfNull(checkpointOf);
        if (Text("providerModel") is not { } model || Text("prompt") is not { } prompt || Text("sampler") is not { } sampler
            || Text("size") is not { } size || !SizeParameter.TryParsePixels(size, out var width, out var height)
            || Number("steps") is not { } steps || Number("cfg_scale") is not { } scale)
        {
            return null;
        }

        return new ForgeImageRequest
        {
            Prompt = prompt,
            NegativePrompt = Text("negative_prompt") ?? "",
            Width = width,
            Height = height,
            Steps = (int)steps,
            CfgScale = scale,
            SamplerName = sampler,
            Scheduler = Text("scheduler"),
            Seed = (long)(Number("seed") ?? firstSeed) + ordinal,
            ForceTaskId = taskId,
            OverrideSettings = checkpointOf(model) is { } checkpoint ? new() { ["sd_model_checkpoint"] = checkpoint } : null,
        };

        string? Text(string name) => settings[name] is JsonValue value && value.TryGetValue<string>(out var text) && text.Length > 0 ? text : null;

        double? Number(string name) => settings[name] is JsonValue value && value.GetValueKind() == JsonValueKind.Number
            ? value.Deserialize<double>() : null;
    }

    public byte[] ToUtf8Json() => JsonSerializer.SerializeToUtf8Bytes(this, Json);
}

/// <summary>What <c>POST /internal/progress</c> says of one task.</summary>
/// <param name="IsActive">It is the one that was started last; after a failure it stays that until another begins.</param>
/// <param name="IsQueued">It waits for the GPU.</param>
/// <param name="Progress">0 to 1; null unless active.</param>
/// <param name="PreviewId">Of the newest preview; −1: none.</param>
public sealed record ForgeTaskState(bool IsActive, bool IsQueued, double? Progress, int PreviewId)
{
    /// <summary>Null when the document is something else.</summary>
    public static ForgeTaskState? Read(JsonElement document) => ProviderJson.Flag(document, "active") is { } isActive
        ? new ForgeTaskState(
            isActive, ProviderJson.Flag(document, "queued") ?? false, ProgressIn(document),
            ProviderJson.Whole(document, "id_live_preview") is >= 0 and <= int.MaxValue and var id ? (int)id : -1)
        : null;

    /// <summary>
    /// The same from <c>GET /sdapi/v1/progress</c>, which is of whatever runs; null when it does not say whose it is. Its progress begins
    /// at 0.01.
    /// </summary>
    public static ForgeTaskState? ReadGlobal(JsonElement document, string taskId) => ProviderJson.Has(document, "current_task")
        ? new ForgeTaskState(ProviderJson.Text(document, "current_task") == taskId, IsQueued: false, ProgressIn(document), PreviewId: -1)
        : null;

    private static double? ProgressIn(JsonElement document) =>
        ProviderJson.Share(document, "progress") is { } share ? Math.Clamp(share, 0, 1) : null;
}

/// <summary>A WebUI's words for a failure, in either dialect.</summary>
/// <param name="Exception">The exception's type; empty where FastAPI speaks.</param>
/// <param name="Detail">What was foreseen; of a validation, the first field and what is wrong with it.</param>
/// <param name="Text">The exception's text.</param>
public sealed record ForgeError(string Exception, string Detail, string Text)
{
    /// <summary>The error in a body; null when it is none of a WebUI's (a gateway's page, a cut body, plain text).</summary>
    public static ForgeError? In(string? body) =>
        ProviderJson.Parse(body) is { } root && (ProviderJson.Has(root, "detail") || ProviderJson.Has(root, "error"))
            ? new ForgeError(ProviderJson.Text(root, "error") ?? "", DetailOf(root), ProviderJson.Text(root, "errors") ?? "")
            : null;

    private static string DetailOf(JsonElement root)
    {
        if (ProviderJson.Text(root, "detail") is { } said)
        {
            return said;
        }

        var first = ProviderJson.Items(root, "detail").FirstOrDefault(item => item.ValueKind == JsonValueKind.Object);
        return first.ValueKind != JsonValueKind.Object ? ""
            : string.Join('.', ProviderJson.Items(first, "loc").Select(ProviderJson.TextOf)) + $": {ProviderJson.Text(first, "msg")}";
    }
}
