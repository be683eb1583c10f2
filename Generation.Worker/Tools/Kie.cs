using System.Text.Json.Nodes;
using Generation.Core.Providers;
using Generation.Worker.Jobs;
using Generation.Worker.Providers.Kie;
using Microsoft.Extensions.Options;

namespace Generation.Worker.Tools;

/// <summary>
/// Pictures, videos and sound effects by the models of Kie's market: one task an output, created once; Kie calls back when it has ended,
/// and is asked when it does not. Kie takes no task back: a cancelled session leaves its task running, and paid.
/// </summary>
public sealed class Kie(KieJobs kie, IOptions<KieOptions> options) : IGenerationHandler
{
    public IReadOnlyCollection<string> JobTypes => ["gen.kie"];

    public async Task<StepOutcome> StepAsync(JobContext job, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(job);
        return await job.FollowTasksAsync(
            options.Value.RulesFor(job.Session.Kind),
            async task => KieRequest.From(await WithAddressesAsync(job, ct)) is { } request
                ? await kie.CreateAsync(request, task.CallbackUrl, job.NameOfCall(task.Ordinal), CancellationToken.None)
                : ProviderReply.Failed(new Failure(FailureKind.InvalidRequest, "settings", "The session's settings lack something that its model needs, or name no model of Kie's.")),
            kie.RetrieveAsync, ct);
    }

    /// <summary>The settings, with addresses that Kie can fetch in place of uploads.</summary>
    private static async Task<JsonObject> WithAddressesAsync(JobContext job, CancellationToken ct)
    {
        var settings = job.Settings.DeepClone().AsObject();
        if (settings["first_frame"] is JsonValue frame)
        {
            settings["first_frame"] = (await job.ImageUrlAsync(frame.GetValue<string>(), ct)).AbsoluteUri;
        }

        if (settings["reference_images"] is JsonArray references)
        {
            for (var n = 0; n < references.Count; n++)
            {
                references[n] = (await job.ImageUrlAsync(references[n]!.GetValue<string>(), ct)).AbsoluteUri;
            }
        }

        return settings;
    }
}
