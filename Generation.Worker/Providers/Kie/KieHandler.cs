using Generation.Core.Providers;
using Generation.Core.Sessions;
using Generation.Worker.Calls;
using Generation.Worker.Jobs;
using Microsoft.Extensions.Options;

namespace Generation.Worker.Providers.Kie;

/// <summary>
/// Pictures, videos and sound effects by the models of Kie's market: one task an output, created once; Kie calls back when it has ended,
/// and is asked when it does not. Kie takes no task back: a cancelled session leaves its task running, and paid.
/// </summary>
public sealed class KieHandler(KieJobs kie, IOptions<KieOptions> options) : IGenerationHandler
{
    public IReadOnlyCollection<string> JobTypes => ["gen.kie"];

    public async Task<StepOutcome> StepAsync(JobContext job, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(job);
        return KieRequest.From(job.Settings) is { } request
            ? await new PolledTasks(
                job, options.Value.RulesFor(job.Session.Kind),
                task => kie.CreateAsync(request, task.CallbackUrl, job.NameOfCall(task.Ordinal), CancellationToken.None),
                kie.RetrieveAsync).RunAsync(ct)
            : new StepOutcome.Failed(
                new Failure(FailureKind.InvalidRequest, "settings",
                    "The session's settings lack something that its model needs, or name no model of Kie's."), []);
    }

    public async Task<TaskReport?> RetrieveTaskAsync(EndedTask task, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(task);
        return await kie.RetrieveAsync(task.TaskId, ct);
    }
}
