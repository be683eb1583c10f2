using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using Generation.Worker.Calls;

namespace Generation.Worker.Providers.OpenAi;

/// <summary>
/// The body of <c>POST images/generations</c>. One picture a call: so one that is refused takes no other with it,
/// and a stream is always of one. There is no <c>response_format</c>: these models refuse it and always answer in base64.
/// </summary>
public sealed record OpenAiImageRequest
{
    internal static readonly JsonSerializerOptions Json = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    };

    /// <summary>OpenAI's model id, such as <c>gpt-image-2</c>.</summary>
    public required string Model { get; init; }

    public required string Prompt { get; init; }

    /// <summary><c>1024x1024</c>.</summary>
    public string? Size { get; init; }

    /// <summary><c>low</c>, <c>medium</c> or <c>high</c>: it decides the price, and is not left to OpenAI.</summary>
    public string? Quality { get; init; }

    /// <summary><c>png</c> or <c>jpeg</c>.</summary>
    public string? OutputFormat { get; init; }

    /// <summary><c>opaque</c> or <c>transparent</c>.</summary>
    public string? Background { get; init; }

    /// <summary>Null when nobody wants previews: a whole answer is one object.</summary>
    public bool? Stream { get; init; }

    /// <summary>Previews, 1 to 3.</summary>
    public int? PartialImages { get; init; }

    /// <summary>The request that a session's settings ask for; null when they have no <c>prompt</c> or no <c>providerModel</c>.</summary>
    public static OpenAiImageRequest? From(JsonObject settings)
    {
        if (ProviderJson.Text(settings, "providerModel") is not { Length: > 0 } model
            || ProviderJson.Text(settings, "prompt") is not { Length: > 0 } prompt)
        {
            return null;
        }

        var previews = ProviderJson.Whole(settings, "previews") is { } count and > 0 ? (int?)count : null;
        return new OpenAiImageRequest
        {
            Model = model,
            Prompt = prompt,
            Size = ProviderJson.Text(settings, "size"),
            Quality = ProviderJson.Text(settings, "quality"),
            OutputFormat = ProviderJson.Text(settings, "output_format"),
            Background = ProviderJson.Text(settings, "background"),
            Stream = previews is null ? null : true,
            PartialImages = previews,
        };
    }

    public byte[] ToUtf8Json() => JsonSerializer.SerializeToUtf8Bytes(this, Json);
}

/// <summary>What OpenAI counts for a picture.</summary>
internal static class OpenAiUsage
{
    /// <summary>
    /// The whole numbers among <c>total_tokens, input_tokens, output_tokens</c>; null when there is none. Previews are among the output.
    /// </summary>
    public static JsonObject? In(JsonElement answer) => ProviderJson.Usage(answer, "total_tokens", "input_tokens", "output_tokens");
}

/// <summary>The body of <c>POST videos</c>.</summary>
public sealed record OpenAiVideoRequest
{
    /// <summary><c>sora-2</c>, or what a gateway calls it.</summary>
    public required string Model { get; init; }

    public required string Prompt { get; init; }

    /// <summary>A number in a string: <c>4</c>, <c>8</c> or <c>12</c>.</summary>
    public required string Seconds { get; init; }

    /// <summary><c>1280x720</c> or <c>720x1280</c>.</summary>
    public required string Size { get; init; }

    public OpenAiReference? InputReference { get; init; }

    /// <summary>The request that a session's settings ask for; null when one of <c>providerModel, prompt, duration</c> is missing.</summary>
    public static OpenAiVideoRequest? From(JsonObject settings) =>
        ProviderJson.Text(settings, "providerModel") is { Length: > 0 } model && ProviderJson.Text(settings, "prompt") is { Length: > 0 } prompt
            && ProviderJson.Whole(settings, "duration") is { } seconds
            ? new OpenAiVideoRequest
            {
                Model = model,
                Prompt = prompt,
                Seconds = seconds.ToString(System.Globalization.CultureInfo.InvariantCulture),
                Size = ProviderJson.Text(settings, "ratio") == "9:16" ? "720x1280" : "1280x720",
                InputReference = ProviderJson.Text(settings, "first_frame") is { Length: > 0 } address ? new OpenAiReference(address) : null,
            }
            : null;

    public byte[] ToUtf8Json() => JsonSerializer.SerializeToUtf8Bytes(this, OpenAiImageRequest.Json);
}

/// <param name="ImageUrl">A picture that the provider fetches.</param>
public sealed record OpenAiReference(string ImageUrl);
