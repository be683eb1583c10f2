using Generation.Core.Providers;
using Generation.Core.Sessions;
using Generation.Worker.Jobs;
using Generation.Worker.Providers.Ark;
using Microsoft.Extensions.Options;

namespace Generation.Worker.Tools;

/// <summary>Seedance on Ark: one task a session, created once and then asked for until it ends. Between the steps nobody waits for it.</summary>
public sealed class Seedance(ArkVideos ark, IOptions<ArkOptions> options, TimeProvider time) : IGenerationHandler
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
            return new StepOutcome.Failed(new Failure(FailureKind.InvalidRequest, "settings", "The session's settings lack prompt, resolution, duration or providerModel."), []);
        }

        var left = job.Deadline - time.GetUtcNow();
        request = request with
        {
            ExecutionExpiresAfter = (int)(left < QueueTime.Least ? QueueTime.Least : left > QueueTime.Most ? QueueTime.Most : left).TotalSeconds,
        };
        return await job.FollowTasksAsync(
            new TaskRules
            {
                PollAfter = _ => settings.VideoPollInterval,
                Source = new ResultSource(settings.SourceHosts),
                CreateTimeout = settings.VideoCallTimeout,
            },
            task => ark.CreateAsync(request, job.NameOfCall(task.Ordinal), CancellationToken.None), ark.RetrieveAsync, ct);
    }

    public async Task CancelAsync(JobContext job, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(job);
        if (job.FindTask(0) is { State: ProviderTaskState.Running, TaskId: { } taskId })
        {
            await ark.DeleteAsync(taskId, ct);
        }
    }
}
