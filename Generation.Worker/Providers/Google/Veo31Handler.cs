using Generation.Core.Providers;
using Generation.Core.Sessions;
using Generation.Worker.Calls;
using Generation.Worker.Jobs;
using Microsoft.Extensions.Options;

namespace Generation.Worker.Providers.Google;

/// <summary>Veo 3.1 on the Gemini API: one operation a session. Google cancels nothing: a cancelled session's video is made, and billed.</summary>
public sealed class Veo31Handler(VeoVideos veo, IOptions<GoogleOptions> options) : IGenerationHandler
{
    public IReadOnlyCollection<string> JobTypes => ["gen.veo31"];

    public async Task<StepOutcome> StepAsync(JobContext job, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(job);
        var settings = options.Value;
        return VeoRequest.From(job.Settings) is { } request
            ? await new PolledTasks(
                job,
                new TaskRules { PollAfter = _ => settings.PollInterval, Source = veo.Source, CreateTimeout = settings.CallTimeout },
                task => veo.StartAsync(request, job.NameOfCall(task.Ordinal), CancellationToken.None),
                (operation, token) => veo.RetrieveAsync(operation, request.Parameters.DurationSeconds, token)).RunAsync(ct)
            : new StepOutcome.Failed(new Failure(FailureKind.InvalidRequest, "settings",
                "The session's settings lack prompt, resolution, duration or providerModel."), []);
    }

    public async Task<TaskReport?> RetrieveTaskAsync(EndedTask task, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(task);
        return VeoRequest.From(task.Settings) is { } request ? await veo.RetrieveAsync(task.TaskId, request.Parameters.DurationSeconds, ct) : null;
    }
}
