using Generation.Core.Providers;
using Generation.Core.Sessions;
using Generation.Worker.Calls;
using Generation.Worker.Jobs;
using Microsoft.Extensions.Options;

namespace Generation.Worker.Providers.OpenAi;

/// <summary>Sora as OpenAI had it, from whatever gateway still speaks it; without one the model is retired and nothing comes here.</summary>
public sealed class SoraHandler(OpenAiVideos videos, IOptions<OpenAiOptions> options) : IGenerationHandler
{
    public IReadOnlyCollection<string> JobTypes => ["gen.sora"];

    public async Task<StepOutcome> StepAsync(JobContext job, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(job);
        var settings = options.Value;
        return OpenAiVideoRequest.From(job.Settings) is { } request
            ? await new PolledTasks(
                job,
                new TaskRules { PollAfter = _ => settings.VideoPollInterval, Source = videos.Source, CreateTimeout = settings.VideoCallTimeout },
                task => videos.CreateAsync(request, job.NameOfCall(task.Ordinal), CancellationToken.None), videos.RetrieveAsync).RunAsync(ct)
            : new StepOutcome.Failed(new Failure(FailureKind.InvalidRequest, "settings",
                "The session's settings lack prompt, duration or providerModel."), []);
    }

    public Task CancelTaskAsync(string taskId, CancellationToken ct) => videos.DeleteAsync(taskId, ct);

    public async Task<TaskReport?> RetrieveTaskAsync(EndedTask task, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(task);
        return await videos.RetrieveAsync(task.TaskId, ct);
    }
}
