using System.Text.Json.Nodes;
using Generation.Core.Providers;
using Generation.Core.Sessions;
using Generation.Worker.Calls;
using Generation.Worker.Jobs;
using Microsoft.Extensions.Options;

namespace Generation.Worker.Providers.Kie;

/// <summary>Text to speech by ElevenLabs' models at Kie. They are paid by the character, which Kie does not count for us: we do.</summary>
public sealed class SpeechHandler(KieJobs kie, IOptions<KieOptions> options) : IGenerationHandler
{
    public IReadOnlyCollection<string> JobTypes => ["gen.speech"];

    public async Task<StepOutcome> StepAsync(JobContext job, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(job);
        if (KieRequest.From(job.Settings) is not { } request)
        {
            return new StepOutcome.Failed(new Failure(FailureKind.InvalidRequest, "settings", "The session's settings lack prompt or providerModel."),
                []);
        }

        return await new PolledTasks(
            job, options.Value.RulesFor(job.Session.Kind),
            task => kie.CreateAsync(request, task.CallbackUrl, job.NameOfCall(task.Ordinal), CancellationToken.None),
            (taskId, token) => RetrieveAsync(taskId, request, token)).RunAsync(ct);
    }

    public async Task<TaskReport?> RetrieveTaskAsync(EndedTask task, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(task);
        return KieRequest.From(task.Settings) is { } request ? await RetrieveAsync(task.TaskId, request, ct) : null;
    }

    private async Task<TaskReport> RetrieveAsync(string taskId, KieRequest request, CancellationToken ct)
    {
        var report = await kie.RetrieveAsync(taskId, ct);
        return report is TaskReport.Delivered delivered
            ? delivered with { Usage = Counted(delivered.Usage, request.Input["text"]!.GetValue<string>().EnumerateRunes().Count()) } : report;
    }

    private static JsonObject Counted(JsonObject? usage, int characters)
    {
        var counted = usage?.DeepClone().AsObject() ?? [];
        counted["characters"] = characters;
        return counted;
    }
}
