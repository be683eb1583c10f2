using System.Net;
using Generation.Core;
using Generation.Core.Providers;
using Generation.Worker.Calls;
using Microsoft.Extensions.Options;

namespace Generation.Worker.Providers.Ark;

/// <summary>
/// Ark's video tasks: created with one call that may cost money and is never sent twice from here, then asked for
/// by id. Only a task that succeeds is billed.
/// <para>
/// A task whose creation was not answered cannot be found again: a create takes no token of ours, and the list filters by status, model
/// and task id alone, one call a second for the whole account. Two equal prompts could not be told apart, so nobody looks: such a task
/// is of unknown outcome, and no second one is created. Where Ark was given an address to call, the callback names the task.
/// </para>
/// </summary>
public sealed class ArkVideos : IDisposable
{
    private const string Path = "contents/generations/tasks";
    private const string TimeoutSetting = "Providers:Ark:VideoCallTimeout";
    private const int MaxTaskIdLength = 200;

    /// <summary>Before a task that Ark has dropped unexecuted is made anew.</summary>
    private static readonly TimeSpan DroppedRetryDelay = TimeSpan.FromMinutes(1);

    private readonly ArkOptions options;
    private readonly TimeProvider time;
    private readonly ILogger<ArkVideos> log;
    private readonly ProviderHttp http;

    public ArkVideos(IOptions<ArkOptions> options, TimeProvider time, ILogger<ArkVideos> log)
    {
        ArgumentNullException.ThrowIfNull(options);
        this.options = options.Value;
        this.time = time;
        this.log = log;
        http = this.options.Open(time, log);
    }

    /// <summary>Creates a task. Everything that can go wrong outside this process comes back as a failure of the reply.</summary>
    /// <param name="request">As <see cref="ArkVideoRequest.From"/> made it; its model is exchanged for the configured endpoint here.</param>
    /// <param name="clientRequestId">Ours, sent as <c>X-Client-Request-Id</c>: Ark's support finds a call by it whose answer we never saw.</param>
    /// <param name="ct">Stops waiting; a call under way is then of unknown outcome.</param>
    /// <exception cref="OperationCanceledException"><paramref name="ct"/> was cancelled after the call was sent.</exception>
    public Task<ProviderReply> CreateAsync(ArkVideoRequest request, string clientRequestId, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(request);
        return http.SendPaidAsync(
            Call(HttpMethod.Post, Path) with
            {
                Json = (request with { Model = options.IdOf(request.Model) }).ToUtf8Json(),
                Headers = [("X-Client-Request-Id", clientRequestId)],
            },
            request.Model, clientRequestId, answer => ValueTask.FromResult(Created(answer.Response!, answer.Text)), ct);
    }

    /// <summary>Asks how a task is doing.</summary>
    /// <exception cref="OperationCanceledException"><paramref name="ct"/> was cancelled.</exception>
    public async Task<TaskReport> RetrieveAsync(string taskId, CancellationToken ct)
    {
        using var answer = await http.SendAsync(Call(HttpMethod.Get, $"{Path}/{Uri.EscapeDataString(taskId)}"), ct);
        var report = answer.Response is { } response ? Report(taskId, response, answer.Text).Describing(answer)
            : new TaskReport.PollFailed(answer.TransportFailure!);
        log.LogDebug(LogEvents.ProviderResponse, "Ark answered {Status} for task {TaskId}: {Report}", (int?)answer.Response?.StatusCode, taskId,
            report.GetType().Name);
        return report;
    }

    /// <summary>
    /// Takes a task back, which works only while it is queued: a running one is refused with some 4xx (which, is not documented) and will
    /// be billed. Answers whether it was taken back; a refusal is no error.
    /// </summary>
    public async Task<bool> DeleteAsync(string taskId, CancellationToken ct)
    {
        using var answer = await http.SendAsync(Call(HttpMethod.Delete, $"{Path}/{Uri.EscapeDataString(taskId)}"), ct);
        var deleted = answer.Response?.IsSuccessStatusCode ?? false;
        log.LogInformation(
            LogEvents.ProviderResponse, "Ark answered {Status} to the cancel of task {TaskId}: {Outcome}",
            (object?)(int?)answer.Response?.StatusCode ?? "nothing", taskId, deleted ? "taken back" : answer.TransportFailure?.ProviderCode
                ?? "it runs and will be billed");
        return deleted;
    }

    public void Dispose() => http.Dispose();

    private ProviderCall Call(HttpMethod method, string path) =>
        new() { Method = method, Path = path, Timeout = options.VideoCallTimeout, TimeoutSetting = TimeoutSetting };

    private ProviderReply Created(HttpResponseMessage response, string? text)
    {
        var now = time.GetUtcNow();
        if (!response.IsSuccessStatusCode)
        {
            return ProviderReply.Failed(
                text is not null && ArkError.In(text) is { } refusal ? ArkFailures.Of(response, refusal, now, createsTask: true)
                    : ArkFailures.OfUnrecognized(response, text ?? "", now, createsTask: true));
        }

        var requestId = ArkFailures.IdOf(response.Headers);
        if (text is null || ProviderJson.Parse(text) is not { } root)
        {
            var code = text is null ? "ark.cut_reply" : "ark.malformed_reply";
            return ProviderReply.Failed(ProviderHttp.TransportFailure(
                mayHaveCost: true, code, $"The {(int)response.StatusCode} broke off or is not a JSON object.", requestId));
        }

        return ProviderJson.Text(root, "id") is { Length: > 0 and <= MaxTaskIdLength } taskId ? ProviderReply.Started(taskId, requestId)
            : ArkError.Of(root) is { } error ? ProviderReply.Failed(ArkFailures.Of(response, error, now, createsTask: true))
            : ProviderReply.Failed(ProviderHttp.TransportFailure(
                mayHaveCost: true, "ark.no_task_id", "The answer names no task, and does not say that none was created.", requestId) with
            {
                ProviderIsThere = true,
            });
    }

    private TaskReport Report(string taskId, HttpResponseMessage response, string? text)
    {
        var now = time.GetUtcNow();
        var requestId = ArkFailures.IdOf(response.Headers);
        if (!response.IsSuccessStatusCode)
        {
            var error = text is null ? null : ArkError.In(text);
            return response.StatusCode == HttpStatusCode.NotFound && error is not null && error.Code.Split('.')[0] == "NotFound"
                ? new TaskReport.Ended(new Failure(FailureKind.OutcomeUnknown, error.Code,
                    $"Ark does not know its task {taskId} any more.")
                { RequestId = requestId })
                : new TaskReport.PollFailed(error is not null ? ArkFailures.Of(response, error, now) : ArkFailures.OfUnrecognized(
                    response, text ?? "", now));
        }

        if (text is null || ProviderJson.Parse(text) is not { } root)
        {
            return new TaskReport.PollFailed(new Failure(
                FailureKind.Unavailable, "ark.malformed_reply", "The answer broke off or is not a JSON object.")
            { RequestId = requestId });
        }

        var task = ArkVideoTask.Read(root);
        var state = TaskStates.Read(task.Status);
        return state switch
        {
            TaskState.Queued => new TaskReport.Running("queued", 15),
            TaskState.Running => new TaskReport.Running("generating", 40),
            TaskState.Succeeded when task.VideoUrl is { } url => new TaskReport.Delivered(url, task.Usage) { Poster = task.LastFrameUrl },
            // and was billed
            TaskState.Succeeded => new TaskReport.OutputMissing(new Failure(
                FailureKind.OutputUnusable, "ark.no_video", "The task succeeded without an address that can be fetched.")
            { RequestId = requestId }),
            TaskState.Failed when task.Error is { } error => new TaskReport.Ended(ArkFailures.Of(response, error, now)),
            TaskState.Failed => Ended(FailureKind.Unavailable, "ark.task_failed", "The task failed and Ark did not say why."),

            // Neither was executed or billed: the first waited too long in Ark's queue, the second somebody cancelled in Ark's console.
            TaskState.Expired => Ended(FailureKind.Unavailable, "ark.task_expired", $"The task is {task.Status}.", DroppedRetryDelay),
            TaskState.Canceled => Ended(FailureKind.Unavailable, "ark.task_cancelled", $"The task is {task.Status}.", DroppedRetryDelay),
            _ => TaskReport.UnknownState("ark.unknown_status", task.Status, requestId),
        };

        TaskReport.Ended Ended(FailureKind kind, string code, string detail, TimeSpan? retryAfter = null) =>
            new(new Failure(kind, code, detail) { RequestId = requestId, RetryAfter = retryAfter });
    }
}
