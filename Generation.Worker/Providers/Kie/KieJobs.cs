using Generation.Core;
using Generation.Core.Providers;
using Generation.Worker.Calls;
using Microsoft.Extensions.Options;

namespace Generation.Worker.Providers.Kie;

/// <summary>
/// Kie's tasks: created with one call that may cost money and is never sent twice from here, then asked for by id.
/// Nothing takes a task back, and none can be found without its id: one whose creation was not answered is of unknown outcome, unless its
/// callback names it.
/// </summary>
public sealed class KieJobs : IDisposable
{
    private const string CreatePath = "api/v1/jobs/createTask";
    private const string ReadPath = "api/v1/jobs/recordInfo";
    private const int MaxTaskIdLength = 200;

    private readonly KieOptions options;
    private readonly TimeProvider time;
    private readonly ILogger<KieJobs> log;
    private readonly ProviderHttp http;

    public KieJobs(IOptions<KieOptions> options, TimeProvider time, ILogger<KieJobs> log)
    {
        ArgumentNullException.ThrowIfNull(options);
        this.options = options.Value;
        this.time = time;
        this.log = log;
        http = this.options.Open(time, log);
    }

    /// <summary>Creates a task. Everything that can go wrong outside this process comes back as a failure of the reply.</summary>
    /// <param name="request">As <see cref="KieRequest.From"/> made it; its model is exchanged for the configured id here.</param>
    /// <param name="callbackUrl">Where Kie may tell of the end.</param>
    /// <param name="callName">Ours, for log and span: Kie takes none.</param>
    /// <param name="ct">Stops waiting; a call under way is then of unknown outcome.</param>
    /// <exception cref="OperationCanceledException"><paramref name="ct"/> was cancelled after the call was sent.</exception>
    public Task<ProviderReply> CreateAsync(KieRequest request, Uri? callbackUrl, string callName, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(request);
        var call = Call(HttpMethod.Post, CreatePath) with { Json = request.ToUtf8Json(callbackUrl, options.IdOf(request.Model)) };
        return http.SendPaidAsync(call, request.Model, callName, answer => ValueTask.FromResult(Created(answer.Response!, answer.Text)), ct);
    }

    /// <summary>Asks how a task is doing.</summary>
    /// <exception cref="OperationCanceledException"><paramref name="ct"/> was cancelled.</exception>
    public async Task<TaskReport> RetrieveAsync(string taskId, CancellationToken ct)
    {
        using var answer = await http.SendAsync(Call(HttpMethod.Get, $"{ReadPath}?taskId={Uri.EscapeDataString(taskId)}"), ct);
        var report = answer.Response is { } response ? Report(taskId, response, answer.Text).Describing(answer)
            : new TaskReport.PollFailed(answer.TransportFailure!);
        log.LogDebug(LogEvents.ProviderResponse, "Kie answered {Status} for task {TaskId}: {Report}", (int?)answer.Response?.StatusCode, taskId,
            report.GetType().Name);
        return report;
    }

    public void Dispose() => http.Dispose();

    private ProviderCall Call(HttpMethod method, string path) =>
        new() { Method = method, Path = path, Timeout = options.CallTimeout, TimeoutSetting = $"{KieOptions.Section}:CallTimeout" };

    private ProviderReply Created(HttpResponseMessage response, string? text)
    {
        var now = time.GetUtcNow();
        if (KieReply.Read(text) is not { } reply || (reply.Code == 200 && !response.IsSuccessStatusCode))
        {
            return ProviderReply.Failed(KieFailures.OfUnrecognized(response, mayHaveCost: true, now));
        }

        return reply.Code != 200 ? ProviderReply.Failed(KieFailures.Of(reply, response.Headers, now, createsTask: true))
            : reply.Data is { } data && ProviderJson.Text(data, "taskId", "task_id") is { Length: > 0 and <= MaxTaskIdLength } taskId
                ? ProviderReply.Started(taskId, null)
            : ProviderReply.Failed(new Failure(FailureKind.OutcomeUnknown, "kie.no_task_id",
                "The answer names no task, and does not say that none was created.")
            { ProviderIsThere = true });
    }

    private TaskReport Report(string taskId, HttpResponseMessage response, string? text)
    {
        var now = time.GetUtcNow();
        if (KieReply.Read(text) is not { } reply || (reply.Code == 200 && !response.IsSuccessStatusCode))
        {
            return new TaskReport.PollFailed(KieFailures.OfUnrecognized(response, mayHaveCost: false, now));
        }

        if (reply.Code == 404)
        {
            return new TaskReport.Ended(new Failure(FailureKind.OutcomeUnknown, "404", $"Kie does not know its task {taskId} any more."));
        }

        if (reply.Code != 200 || reply.Data is not { } data)
        {
            return new TaskReport.PollFailed(reply.Code != 200
                ? KieFailures.Of(reply, response.Headers, now)
                : new Failure(FailureKind.Unavailable, "kie.no_data", "The answer says nothing of the task.") { ProviderIsThere = true });
        }

        var task = KieTask.Read(data);
        return TaskStates.Read(task.State) switch
        {
            TaskState.Queued => new TaskReport.Running("queued", 15),
            TaskState.Running => new TaskReport.Running("generating", task.Progress is { } percent ? 20 + (percent * 65 / 100) : 40),
            TaskState.Succeeded when task.Result is { } url => new TaskReport.Delivered(url, task.Usage?.DeepClone().AsObject()),
            // and was billed; resultJson may be filled later than the state
            TaskState.Succeeded => new TaskReport.OutputMissing(new Failure(
                FailureKind.OutputUnusable, "kie.no_result", "The task succeeded without an address that can be fetched.")),
            TaskState.Failed => new TaskReport.Ended(KieFailures.OfTask(task)),
            TaskState.Canceled or TaskState.Expired => new TaskReport.Ended(KieFailures.OfDropped(task)),
            _ => TaskReport.UnknownState("kie.unknown_state", task.State, null),
        };
    }
}
