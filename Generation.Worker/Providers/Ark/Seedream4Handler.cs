using Generation.Core.Media;
using Generation.Core.Providers;
using Generation.Worker.Calls;
using Generation.Worker.Jobs;
using Microsoft.Extensions.Options;

namespace Generation.Worker.Providers.Ark;

/// <summary>
/// Seedream 4 and 5 on Ark. Ark has no <c>n</c>: every picture is a call of its own, some of them at once; but with <c>group</c> the pictures
/// belong together and are made in one call, of which the model decides how many there are.
/// </summary>
public sealed class Seedream4Handler(ArkImages ark, IOptions<ArkOptions> options) : IGenerationHandler
{
    public IReadOnlyCollection<string> JobTypes => ["gen.seedream4"];

    public Task<StepOutcome> StepAsync(JobContext job, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(job);
        return ArkImageRequest.From(job.Settings) is not { } request ? Task.FromResult(WithoutPrompt())
            : request.Stream == true ? new GroupCall(
                job, RulesFor(options.Value) with { CallTimeout = options.Value.GroupTimeout },
                (announced, token) => ark.GenerateGroupAsync(request, job.NameOfCall(0), announced, token)).RunAsync(ct)
            : new PerOutputCalls(
                job, RulesFor(options.Value), (ordinal, token) => ark.GenerateAsync(
                    request, job.NameOfCall(ordinal), token, picture => job.Outputs.StoreAsync(ordinal, new MediaSource.Direct(picture), token)))
                .RunAsync(ct);
    }

    internal static CallRules RulesFor(ArkOptions settings) =>
        new() { Parallel = settings.ImageBatch, Source = new ResultSource(settings.SourceHosts), CallTimeout = settings.CallTimeout };

    internal static StepOutcome WithoutPrompt() =>
        new StepOutcome.Failed(new Failure(FailureKind.InvalidRequest, "settings", "The session's settings have no prompt or no providerModel."), []);
}

/// <summary>
/// Seedream 3 on Ark, which is not sold any more: sessions of its time are brought to their end, and an account that still has it may.
/// </summary>
public sealed class Seedream3Handler(ArkImages ark, IOptions<ArkOptions> options) : IGenerationHandler
{
    public IReadOnlyCollection<string> JobTypes => ["gen.seedream3"];

    public Task<StepOutcome> StepAsync(JobContext job, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(job);
        return ArkImageRequest.FromSeedream3(job.Settings) is { } request
            ? new PerOutputCalls(
                job, Seedream4Handler.RulesFor(options.Value),
                (ordinal, token) => ark.GenerateAsync(
                    request.OfCall(ordinal), job.NameOfCall(ordinal), token,
                    picture => job.Outputs.StoreAsync(ordinal, new MediaSource.Direct(picture), token))).RunAsync(ct)
            : Task.FromResult(Seedream4Handler.WithoutPrompt());
    }
}
