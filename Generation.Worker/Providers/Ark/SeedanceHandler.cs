using Generation.Core.Providers;
using Generation.Core.Sessions;
using Generation.Worker.Calls;
using Generation.Worker.Jobs;
using Microsoft.Extensions.Options;

namespace Generation.Worker.Providers.Ark;

/// <summary>Seedance on Ark: one task a session, created once and then asked for until it ends. Between the steps nobody waits for it.</summary>
public sealed class SeedanceHandler(ArkVideos ark, IOptions<ArkOptions> options) : IGenerationHandler
{
    /// <summary>What Ark allows for <c>execution_expires_after</c>.</summary>
    private static readonly (TimeSpan Least, TimeSpan Most) QueueTime = (TimeSpan.FromHours(1), TimeSpan.FromHours(72));

    public IReadOnlyCollection<string> JobTypes => ["gen.seedance"];

    public async Task<StepOutcome> StepAsync(JobContext job, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(job);
        var settings = options.Value;
        if (ArkVideoRequest.From(job.Settings) is not { } request)
        {
            return new StepOutcome.Failed(new Failure(
                FailureKind.InvalidRequest, "settings", "The session's settings lack prompt, resolution, duration or providerModel."), []);
        }

        var left = job.Deadline - job.Now;
        request = request with
        {
            ExecutionExpiresAfter = (int)(left < QueueTime.Least ? QueueTime.Least : left > QueueTime.Most ? QueueTime.Most : left).TotalSeconds,
        };
        return await new PolledTasks(
            job,
            new TaskRules
            {
                PollAfter = age => settings.PollAfter(age, job.Tasks.Any(task => task.TakesCallbacks)),
                TakesCallbacks = true, // unsigned, and believed as little as any: they wake the session, and the task is asked for
                CallbackWait = settings.VideoCallbackWait,
                TaskIdInCallback = ArkVideoTask.IdInCallback,
                Source = new ResultSource(settings.SourceHosts),
                CreateTimeout = settings.VideoCallTimeout,
                Limit = settings.VideoCreatesPerMinute > 0 ? new RateLimit("video-create", settings.VideoCreatesPerMinute, TimeSpan.FromMinutes(1))
                    : null,
                ReadLimit = settings.VideoReadsPerSecond > 0 ? new RateLimit("video-read", settings.VideoReadsPerSecond, TimeSpan.FromSeconds(1))
                    : null,
            },
            task => ark.CreateAsync(request with { CallbackUrl = task.CallbackUrl }, job.NameOfCall(task.Ordinal), CancellationToken.None),
            ark.RetrieveAsync).RunAsync(ct);
    }

    public Task CancelTaskAsync(string taskId, CancellationToken ct) => ark.DeleteAsync(taskId, ct);

    public async Task<TaskReport?> RetrieveTaskAsync(EndedTask task, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(task);
        return await ark.RetrieveAsync(task.TaskId, ct);
    }
}
