using Generation.Core.Media;
using Generation.Core.Settings;
using Generation.Worker.Jobs;

namespace Generation.Worker.Providers.Mock;

/// <summary>
/// Stands in for any provider when a session is mocked: the whole pipeline runs, only the call does not. Progress 10, 25, 60, 85, then
/// the pipeline's 100. Its outputs are samples of this assembly, stored like real ones unless <c>upload_mock_outputs_to_b2</c> is off:
/// then the session points at the shared samples.
/// </summary>
public sealed class MockHandler(AppSettings settings, MockOptions options, TimeProvider time) : IGenerationHandler
{
    /// <summary>Chosen by the session's <c>mock</c>, not by job type.</summary>
    public IReadOnlyCollection<string> JobTypes => [];

    public async Task<StepOutcome> StepAsync(JobContext job, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(job);
        foreach (var (percent, phase) in new[] { (10, "submitting"), (25, "generating"), (60, "generating"), (85, "storing") })
        {
            job.ReportProgress(percent, phase);
            if (options.StageDelay > TimeSpan.Zero)
            {
                await Task.Delay(options.StageDelay, time, ct);
            }
        }

        var upload = await settings.UploadMockOutputsAsync(ct);
        for (var ordinal = 0; ordinal < job.RequestedOutputs; ordinal++)
        {
            if (job.Outputs.StoredOrdinals.Contains(ordinal))
            {
                continue;
            }

            var sample = MockSamples.Choose(ordinal, job.Session.Kind);
            if (!upload)
            {
                await job.Outputs.RecordAsync(ordinal, sample.AsStored(), endsStep: true);
                continue;
            }

            await using var body = sample.Open();
            if (await job.Outputs.DeliverAsync(ordinal, new MediaSource.Direct(body, body.Length), usage: null, ct, endsStep: true) is { } failure)
            {
                return new StepOutcome.Failed(failure, [new FailedOutput(ordinal, failure)]);
            }
        }

        return new StepOutcome.Completed(null, []);
    }
}
