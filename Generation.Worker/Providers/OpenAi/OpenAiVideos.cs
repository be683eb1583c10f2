using System.Net;
using System.Text.Json.Nodes;
using Generation.Core.Media;
using Generation.Core.Providers;
using Generation.Worker.Calls;
using Microsoft.Extensions.Options;

namespace Generation.Worker.Providers.OpenAi;

/// <summary>
/// Videos from a gateway that speaks what OpenAI's <c>/videos</c> was: created with one call that may cost money
/// and is never sent twice from here, then asked for by id, then fetched with the key. A creation takes no token of ours and a list says
/// nothing that tells two equal prompts apart, so a video whose creation was not answered is of unknown outcome.
/// </summary>
public sealed class OpenAiVideos : IDisposable
{
    private const int MaxIdLength = 200;

    /// <summary>Before a video that was dropped is made anew.</summary>
    private static readonly TimeSpan DroppedRetryDelay = TimeSpan.FromMinutes(1);

    private readonly OpenAiOptions options;
    private readonly TimeProvider time;
    private readonly ILogger<OpenAiVideos> log;
    private readonly ProviderHttp http;
    private readonly Uri root;

    public OpenAiVideos(IOptions<OpenAiOptions> options, TimeProvider time, ILogger<OpenAiVideos> log)
    {
        ArgumentNullException.ThrowIfNull(options);
        (this.options, this.time, this.log) = (options.Value, time, log);
        http = this.options.OpenVideos(time, log);
        root = new Uri((this.options.VideoBaseUrl ?? this.options.BaseUrl).TrimEnd('/') + "/");
    }

    /// <summary>Where videos are fetched from: the gateway, and where it redirects to. Only the gateway sees the key.</summary>
    public ResultSource Source => new([root.Host, .. options.VideoSourceHosts])
    {
        Credential = new SourceCredential(root, "Authorization", $"Bearer {options.VideoApiKey}"),
    };

    /// <summary>Creates a video. Everything that can go wrong outside this process comes back as a failure of the reply.</summary>
    public Task<ProviderReply> CreateAsync(OpenAiVideoRequest request, string clientRequestId, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(request);
        return options.VideoBaseUrl is null
            ? Task.FromResult(ProviderReply.Failed(new Failure(
                FailureKind.Unauthorized, "openai.no_gateway",
                    "OpenAI has shut its videos down, and Providers:OpenAi:VideoBaseUrl names no gateway; nothing was sent.")))
            : http.SendPaidAsync(
                Call(HttpMethod.Post, "videos") with
                {
                    Json = (request with { Model = options.IdOf(request.Model) }).ToUtf8Json(),
                    Headers = [("X-Client-Request-Id", clientRequestId)],
                },
                request.Model, clientRequestId, answer => ValueTask.FromResult(Created(answer.Response!, answer.Text)), ct);
    }

    /// <summary>Asks how a video is doing.</summary>
    /// <exception cref="OperationCanceledException"><paramref name="ct"/> was cancelled.</exception>
    public async Task<TaskReport> RetrieveAsync(string id, CancellationToken ct)
    {
        using var answer = await http.SendAsync(Call(HttpMethod.Get, $"videos/{Uri.EscapeDataString(id)}"), ct);
        return answer.Response is { } response ? Report(id, response, answer.Text).Describing(answer)
            : new TaskReport.PollFailed(answer.TransportFailure!);
    }

    /// <summary>Gives a video up. Whether a running one is billed all the same is the gateway's affair; a refusal is no error.</summary>
    public async Task DeleteAsync(string id, CancellationToken ct)
    {
        using var answer = await http.SendAsync(Call(HttpMethod.Delete, $"videos/{Uri.EscapeDataString(id)}"), ct);
        log.LogInformation(
            Generation.Core.LogEvents.ProviderResponse, "The gateway answered {Status} to the cancel of video {TaskId}",
            (object?)(int?)answer.Response?.StatusCode ?? answer.TransportFailure?.ProviderCode ?? "nothing", id);
    }

    public void Dispose() => http.Dispose();

    private ProviderCall Call(HttpMethod method, string path) =>
        new() { Method = method, Path = path, Timeout = options.VideoCallTimeout, TimeoutSetting = "Providers:OpenAi:VideoCallTimeout" };

    private ProviderReply Created(HttpResponseMessage response, string? text)
    {
        var now = time.GetUtcNow();
        if (!response.IsSuccessStatusCode)
        {
            return ProviderReply.Failed(OpenAiFailures.OfRefusal(response, text, now, createsTask: true));
        }

        var requestId = OpenAiFailures.IdOf(response.Headers);
        if (text is null || ProviderJson.Parse(text) is not { } video)
        {
            var code = text is null ? "openai.cut_reply" : "openai.malformed_reply";
            return ProviderReply.Failed(ProviderHttp.TransportFailure(
                mayHaveCost: true, code, $"The {(int)response.StatusCode} broke off or is not a JSON object.", requestId));
        }

        return ProviderJson.Text(video, "id") is { Length: > 0 and <= MaxIdLength } id ? ProviderReply.Started(id, requestId)
            : OpenAiError.Of(video) is { } error ? ProviderReply.Failed(OpenAiFailures.Of(response, error, now, createsTask: true))
            : ProviderReply.Failed(ProviderHttp.TransportFailure(
                mayHaveCost: true, "openai.no_video_id", "The answer names no video, and does not say that none was begun.", requestId) with
            {
                ProviderIsThere = true,
            });
    }

    private TaskReport Report(string id, HttpResponseMessage response, string? text)
    {
        var requestId = OpenAiFailures.IdOf(response.Headers);
        if (!response.IsSuccessStatusCode)
        {
            return response.StatusCode == HttpStatusCode.NotFound && text is not null && OpenAiError.In(text) is { } gone
                ? new TaskReport.Ended(new Failure(FailureKind.OutcomeUnknown, gone.Code ?? "openai.no_such_video",
                    $"The gateway does not know its video {id} any more.")
                { RequestId = requestId })
                : new TaskReport.PollFailed(OpenAiFailures.OfRefusal(response, text, time.GetUtcNow()));
        }

        if (text is null || ProviderJson.Parse(text) is not { } video)
        {
            return new TaskReport.PollFailed(new Failure(
                FailureKind.Unavailable, "openai.malformed_reply", "The answer broke off or is not a JSON object.")
            { RequestId = requestId });
        }

        var status = ProviderJson.Text(video, "status");
        switch (TaskStates.Read(status))
        {
            case TaskState.Queued:
                return new TaskReport.Running("queued", 15);
            case TaskState.Running:
                return new TaskReport.Running("generating", 15 + (int)(Math.Clamp(ProviderJson.Whole(video, "progress") ?? 0, 0, 100) * 70 / 100));
            case TaskState.Succeeded:
                var usage = ProviderJson.Count(video, "seconds") is > 0 and var seconds ? new JsonObject { ["seconds"] = seconds } : null;
                return new TaskReport.Delivered(new Uri(root, $"videos/{Uri.EscapeDataString(id)}/content"), usage);
            case TaskState.Failed:
                var error = ProviderJson.Child(video, "error");
                return new TaskReport.Ended(OpenAiFailures.OfVideo(
                    ProviderJson.Text(error, "code"), ProviderJson.Text(error, "message") ?? "The video failed, and nobody said why.", requestId));
            case TaskState.Canceled or TaskState.Expired: // as of one that failed, nothing is billed
                return new TaskReport.Ended(new Failure(FailureKind.Unavailable, "openai.video_dropped", $"The video is {status}.")
                {
                    RequestId = requestId,
                    RetryAfter = DroppedRetryDelay,
                });
            default:
                return TaskReport.UnknownState("openai.unknown_status", status, requestId);
        }
    }
}
