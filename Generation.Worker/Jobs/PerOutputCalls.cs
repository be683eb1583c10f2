using System.Text.Json.Nodes;
using Generation.Core.Providers;
using Generation.Core.Sessions;
using Generation.Worker.Calls;

namespace Generation.Worker.Jobs;

/// <summary>
/// The step of a provider that makes one output per call and answers with it, or with its URL. For every output that is not stored: a call
/// that an earlier run has paid for is fetched; a call whose outcome is unknown is not repeated; otherwise the intent is recorded, the call
/// made, its outcome recorded, and the output stored. A failure that would meet every output stops the calls that have not begun.
/// </summary>
/// <param name="job">The job.</param>
/// <param name="rules">How the provider is used.</param>
/// <param name="call">Makes the call for one output. Cancelled, its outcome is unknown.</param>
public sealed class PerOutputCalls(JobContext job, CallRules rules, Func<int, CancellationToken, Task<ProviderReply>> call)
{
    private readonly Lock gate = new();
    private readonly List<FailedOutput> failed = [];
    private readonly ProviderBreaker breaker = job.BreakerOf(rules.Breaker);
    private volatile bool isStopped;
    private int done;

    public async Task<StepOutcome> RunAsync(CancellationToken ct)
    {
        var stored = job.Outputs.StoredOrdinals;
        done = stored.Count;
        foreach (var task in job.Tasks.Where(t => t.State == ProviderTaskState.Intent && stored.Contains(t.FirstOrdinal)))
        {
            // The output came with the answer, and the worker died between recording it and recording the call: nothing is unknown.
            await job.RecordTaskAsync(task, ProviderTaskState.Delivered, result: new JsonObject { ["usage"] = null });
        }

        job.ReportProgress(PercentOf(done), "generating");
        await Parallel.ForEachAsync(
            Enumerable.Range(0, job.RequestedOutputs).Where(o => !stored.Contains(o)),
            new ParallelOptions { MaxDegreeOfParallelism = rules.Parallel, CancellationToken = ct },
            async (ordinal, token) =>
            {
                if (!isStopped)
                {
                    Count(ordinal, await MakeAsync(ordinal, token));
                }
            });
        return StepOutcome.From(job, failed);
    }

    private void Count(int ordinal, Failure? failure)
    {
        int percent;
        lock (gate)
        {
            if (failure is not null)
            {
                failed.Add(new FailedOutput(ordinal, failure));
                isStopped |= failure.IsForAllOutputs || failure.NotTried;
            }

            done += failure is { IsRetryable: true } ? 0 : 1; // a retryable output is still to be made
            percent = PercentOf(done);
        }

        job.ReportProgress(percent, "generating");
    }

    private async Task<Failure?> MakeAsync(int ordinal, CancellationToken ct)
    {
        switch (job.FindTask(ordinal))
        {
            case { State: ProviderTaskState.Delivered, Result: { } result } bought when result.TryGetProperty("url", out _):
                return await TaskRecord.FetchAsync(job, ordinal, bought, rules.Source, ct);
            case { State: ProviderTaskState.Failed or ProviderTaskState.Unknown } over:
                return TaskRecord.FailureOf(over);
            case { } interrupted when rules.IsRepeatable:
                await job.RecordTaskAsync(interrupted, ProviderTaskState.Rejected,
                    failure: new Failure(FailureKind.Unavailable, "worker.cut_off", "The worker did not live to see the answer."));
                break;
            case { } interrupted:
                return await TaskRecord.RecordUnknownAsync(job, interrupted);
        }

        var (intent, problem) = await job.TryBeginCallAsync(breaker, ordinal, outputCount: 1, rules.CallTimeout, rules.Limit, null, ct);
        if (intent is null)
        {
            return problem;
        }

        var reply = await breaker.CallAsync(token => call(ordinal, token), ct);
        if (reply.Failure is { } failure)
        {
            await job.RecordTaskAsync(intent, TaskRecord.StateOf(failure), requestId: reply.RequestId, failure: failure);
            return failure;
        }

        if (reply.Media is { } media) // the output is recorded before the call is: it could not be fetched again
        {
            await job.Outputs.RecordAsync(ordinal, media, reply.Usage?.DeepClone().AsObject());
            await job.RecordTaskAsync(intent, ProviderTaskState.Delivered, requestId: reply.RequestId,
                result: new JsonObject { ["usage"] = reply.Usage?.DeepClone() });
            return null;
        }

        var delivered = await job.RecordTaskAsync(intent, ProviderTaskState.Delivered, requestId: reply.RequestId,
            result: TaskRecord.ResultOf(reply.Url!, reply.Usage, job.Now));
        return await TaskRecord.FetchAsync(job, ordinal, delivered, rules.Source, ct);
    }

    private int PercentOf(int outputs) => 10 + (85 * outputs / job.RequestedOutputs);
}
