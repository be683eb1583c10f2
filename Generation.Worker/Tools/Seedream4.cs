using Generation.Core.Providers;
using Generation.Worker.Jobs;
using Generation.Worker.Providers.Ark;
using Microsoft.Extensions.Options;

namespace Generation.Worker.Tools;

/// <summary>Seedream 4.x on Ark. Ark has no <c>n</c>: every picture is a call of its own, some of them at once.</summary>
public sealed class Seedream4(ArkImages ark, IOptions<ArkOptions> options) : IGenerationHandler
{
    public IReadOnlyCollection<string> JobTypes => ["gen.seedream4"];

    public async Task<StepOutcome> StepAsync(JobContext job, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(job);
        var settings = options.Value;
        return ArkImageRequest.From(job.Settings) is { } request
            ? await job.CallEachAsync(
                new CallRules { Parallel = settings.ImageBatch, Source = new ResultSource(settings.SourceHosts), CallTimeout = settings.CallTimeout },
                (ordinal, token) => ark.GenerateAsync(request, job.NameOfCall(ordinal), token), ct)
            : new StepOutcome.Failed(new Failure(FailureKind.InvalidRequest, "settings", "The session's settings have no prompt or no providerModel."), []);
    }
}
