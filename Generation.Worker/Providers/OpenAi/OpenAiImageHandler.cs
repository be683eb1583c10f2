using Generation.Core.Media;
using Generation.Core.Providers;
using Generation.Worker.Calls;
using Generation.Worker.Jobs;
using Microsoft.Extensions.Options;

namespace Generation.Worker.Providers.OpenAi;

/// <summary>Pictures from OpenAI: a call each, some of them at once; previews are shown as they come.</summary>
public sealed class OpenAiImageHandler(OpenAiImages openAi, IOptions<OpenAiOptions> options) : IGenerationHandler
{
    /// <summary>Where a call stands when it has begun, and when only the picture itself is missing.</summary>
    private const int Begun = 10, Made = 85;

    public IReadOnlyCollection<string> JobTypes => ["gen.openai-image"];

    public async Task<StepOutcome> StepAsync(JobContext job, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(job);
        var settings = options.Value;
        return OpenAiImageRequest.From(job.Settings) is { } request
            ? await new PerOutputCalls(
                job,
                new CallRules
                {
                    Parallel = settings.ImageBatch,
                    Source = new ResultSource(settings.SourceHosts),
                    CallTimeout = settings.CallTimeout,
                    Limit = settings.ImagesPerMinute > 0 ? new RateLimit("images", settings.ImagesPerMinute, TimeSpan.FromMinutes(1)) : null,
                },
                (ordinal, token) => MakeAsync(job, request, ordinal, token)).RunAsync(ct)
            : new StepOutcome.Failed(new Failure(FailureKind.InvalidRequest, "settings",
                "The session's settings have no prompt or no providerModel."), []);
    }

    /// <summary>A picture that is refused at its end, or breaks off, leaves no preview behind: it may be what was refused.</summary>
    private async Task<ProviderReply> MakeAsync(JobContext job, OpenAiImageRequest request, int ordinal, CancellationToken ct)
    {
        var isMade = false;
        try
        {
            var reply = await openAi.GenerateAsync(request, job.NameOfCall(ordinal), SinkOf(job, request, ordinal, ct), ct);
            isMade = reply.Failure is null;
            return reply;
        }
        finally
        {
            if (!isMade)
            {
                await job.Outputs.RemovePreviewAsync(ordinal);
            }
        }
    }

    private static PictureSink SinkOf(JobContext job, OpenAiImageRequest request, int ordinal, CancellationToken ct) => new(
        picture => job.Outputs.StoreAsync(ordinal, new MediaSource.Direct(picture), ct),
        (index, picture) => job.Outputs.ShowPreviewAsync(
            ordinal, picture, PercentAt(index, request.PartialImages ?? 0, job.RequestedOutputs), "generating", ct));

    /// <summary>Of the whole session, whose pictures share what lies between: several at once show the least of them.</summary>
    private static int PercentAt(int preview, int previews, int outputs) =>
        Begun + ((Made - Begun) * (preview + 1) / (Math.Max(previews, preview + 1) + 1) / outputs);
}
