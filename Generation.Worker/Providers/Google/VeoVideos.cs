using System.Net;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using System.Text.RegularExpressions;
using Generation.Core.Media;
using Generation.Core.Providers;
using Generation.Worker.Calls;
using Microsoft.Extensions.Options;

namespace Generation.Worker.Providers.Google;

/// <summary>
/// The body of <c>predictLongRunning</c>. Everything that decides the price is always said in it.
/// <c>personGeneration</c> is left out: the only value that is allowed differs by region, and is the default there.
/// </summary>
public sealed record VeoRequest(IReadOnlyList<VeoInstance> Instances, VeoParameters Parameters)
{
    private static readonly JsonSerializerOptions Options = new(JsonSerializerDefaults.Web)
    {
        DefaultIgnoreCondition =
        JsonIgnoreCondition.WhenWritingNull
    };

    /// <summary>Google's model id: it stands in the address.</summary>
    [JsonIgnore]
    public string Model { get; private init; } = "";

    /// <summary>
    /// The request that a session's settings ask for; null when one of <c>providerModel, prompt, resolution, duration</c> is missing.
    /// </summary>
    public static VeoRequest? From(JsonObject settings) =>
        ProviderJson.Text(settings, "providerModel") is { Length: > 0 } model && ProviderJson.Text(settings, "prompt") is { Length: > 0 } prompt
        && ProviderJson.Text(settings, "resolution") is { Length: > 0 } resolution && ProviderJson.Whole(settings, "duration") is { } seconds
            ? new VeoRequest([new VeoInstance(prompt)], new VeoParameters(ProviderJson.Text(settings, "ratio") ?? "16:9", (int)seconds, resolution,
                ProviderJson.Text(settings, "negative_prompt")))
            { Model = model }
            : null;

    public byte[] ToUtf8Json() => JsonSerializer.SerializeToUtf8Bytes(this, Options);
}

public sealed record VeoInstance(string Prompt);

/// <param name="AspectRatio"><c>16:9</c> or <c>9:16</c>.</param>
/// <param name="DurationSeconds">4, 6 or 8, as a number: Google refuses it in a string, although its page writes it so.</param>
/// <param name="Resolution"><c>720p</c>, <c>1080p</c> or <c>4k</c>.</param>
/// <param name="NegativePrompt">What is not to be seen.</param>
public sealed record VeoParameters(string AspectRatio, int DurationSeconds, string Resolution, string? NegativePrompt);

/// <summary>
/// Veo on the Gemini API: an operation is begun with one call that may cost money and is never sent twice from here, then asked for by name,
/// and its file is fetched with the key. Nothing tells its progress, nothing cancels it, and nothing says what it cost: that follows from the
/// seconds asked for. A start takes no token of ours, so one that was not answered is of unknown outcome.
/// </summary>
public sealed partial class VeoVideos : IDisposable
{
    private readonly GoogleOptions options;
    private readonly TimeProvider time;
    private readonly ProviderHttp http;

    public VeoVideos(IOptions<GoogleOptions> options, TimeProvider time, ILogger<VeoVideos> log)
    {
        ArgumentNullException.ThrowIfNull(options);
        (this.options, this.time) = (options.Value, time);
        http = this.options.Open(time, log);
        if (this.options.ApiKey.Length == 0)
        {
            log.LogWarning("Providers:Google:ApiKey is not set: every call to Google will fail as Unauthorized; mock runs do not need it");
        }
    }

    /// <summary>Where videos are fetched from, over redirects. Only the API's own host sees the key.</summary>
    public ResultSource Source => new(options.SourceHosts)
    {
        Credential =
        new SourceCredential(new Uri(options.BaseUrl), "x-goog-api-key", options.ApiKey)
    };

    /// <summary>Begins an operation. Everything that can go wrong outside this process comes back as a failure of the reply.</summary>
    /// <param name="request">As <see cref="VeoRequest.From"/> made it; its model is exchanged for the configured id here.</param>
    /// <param name="name">Ours for the call, for the log: Google takes none.</param>
    /// <param name="ct">Stops waiting; a call under way is then of unknown outcome.</param>
    public Task<ProviderReply> StartAsync(VeoRequest request, string name, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(request);
        var model = options.IdOf(request.Model);
        return http.SendPaidAsync(
            Call(HttpMethod.Post, $"models/{Uri.EscapeDataString(model)}:predictLongRunning") with { Json = request.ToUtf8Json() },
            model, name, answer => ValueTask.FromResult(Started(answer.Response!, answer.Text)), ct);
    }

    /// <summary>Asks how an operation is doing.</summary>
    /// <param name="operation">Its name, as Google gave it.</param>
    /// <param name="seconds">That were asked for: what it costs.</param>
    /// <param name="ct">Stops.</param>
    /// <exception cref="OperationCanceledException"><paramref name="ct"/> was cancelled.</exception>
    public async Task<TaskReport> RetrieveAsync(string operation, int seconds, CancellationToken ct)
    {
        using var answer = await http.SendAsync(Call(HttpMethod.Get, operation), ct);
        return answer.Response is { } response ? Report(operation, seconds, response, answer.Text).Describing(answer)
            : new TaskReport.PollFailed(answer.TransportFailure!);
    }

    public void Dispose() => http.Dispose();

    private ProviderCall Call(HttpMethod method, string path) =>
        new() { Method = method, Path = path, Timeout = options.CallTimeout, TimeoutSetting = "Providers:Google:CallTimeout" };

    private ProviderReply Started(HttpResponseMessage response, string? text)
    {
        if (!response.IsSuccessStatusCode)
        {
            return ProviderReply.Failed(GoogleFailures.OfRefusal(response, text, time.GetUtcNow(), createsTask: true));
        }

        if (text is null || ProviderJson.Parse(text) is not { } operation)
        {
            var code = text is null ? "google.cut_reply" : "google.malformed_reply";
            return ProviderReply.Failed(ProviderHttp.TransportFailure(
                mayHaveCost: true, code, $"The {(int)response.StatusCode} broke off or is not a JSON object."));
        }

        return ProviderJson.Text(operation, "name") is { } name && OperationName().IsMatch(name) ? ProviderReply.Started(name, null)
            : GoogleError.Of(ProviderJson.Child(operation, "error")) is not null
                ? ProviderReply.Failed(GoogleFailures.OfRefusal(response, text, time.GetUtcNow(), createsTask: true))
            : ProviderReply.Failed(ProviderHttp.TransportFailure(
                mayHaveCost: true, "google.no_operation", "The answer names no operation, and does not say that none was begun.") with
            {
                ProviderIsThere = true,
            });
    }

    private TaskReport Report(string name, int seconds, HttpResponseMessage response, string? text)
    {
        if (!response.IsSuccessStatusCode)
        {
            return response.StatusCode == HttpStatusCode.NotFound && text is not null && GoogleError.In(text) is { } gone
                ? new TaskReport.Ended(new Failure(FailureKind.OutcomeUnknown, gone.Status, $"Google does not know its operation {name} any more."))
                : new TaskReport.PollFailed(GoogleFailures.OfRefusal(response, text, time.GetUtcNow()));
        }

        if (text is null || ProviderJson.Parse(text) is not { } operation)
        {
            return new TaskReport.PollFailed(new Failure(
                FailureKind.Unavailable, "google.malformed_reply", "The answer broke off or is not a JSON object."));
        }

        if (ProviderJson.Flag(operation, "done") != true) // absent while it runs
        {
            return new TaskReport.Running("generating", 40);
        }

        if (GoogleError.Of(ProviderJson.Child(operation, "error")) is { } error)
        {
            return new TaskReport.Ended(GoogleFailures.OfOperation(error));
        }

        var videos = ProviderJson.Child(ProviderJson.Child(operation, "response"), "generateVideoResponse");
        var samples = ProviderJson.Items(videos, "generatedSamples").Concat(ProviderJson.Items(videos, "generatedVideos"));
        if (samples.Select(s => ProviderJson.Address(s, "video")).FirstOrDefault(found => found is not null) is { } uri)
        {
            return new TaskReport.Delivered(uri, new JsonObject { ["seconds"] = seconds });
        }

        var reasons = ProviderJson.Items(videos, "raiMediaFilteredReasons").Select(ProviderJson.TextOf).OfType<string>().ToList();
        return reasons.Count > 0 || ProviderJson.Whole(videos, "raiMediaFilteredCount") > 0
            ? new TaskReport.Ended(GoogleFailures.OfFilter(reasons))
            // and may have been billed
            : new TaskReport.OutputMissing(new Failure(FailureKind.OutputUnusable, "google.no_video",
                "The operation is done without a video that can be fetched, and without a reason."));
    }

    [GeneratedRegex(@"^models/[\w.-]{1,100}/operations/[\w.-]{1,200}$", RegexOptions.CultureInvariant, 1000)]
    private static partial Regex OperationName();
}
