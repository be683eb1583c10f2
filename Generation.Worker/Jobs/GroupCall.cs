using System.Collections.Concurrent;
using Generation.Core.Media;
using Generation.Core.Providers;
using Generation.Core.Sessions;
using Generation.Worker.Calls;

namespace Generation.Worker.Jobs;

/// <summary>
/// The step of a provider that makes all outputs in one paid call, of which the model may make fewer, and announces each as it is made. One
/// intent covers all of them. Every announcement is recorded at once, and its output stored while the others are made, so that a run after a
/// crash fetches what was announced. The call is repeated only if nothing was announced and it certainly cost nothing; otherwise the missing
/// outputs have failed, with an unknown outcome if it is not known whether they were made. Outputs that the model chose not to make have not
/// failed: their credits are released.
/// </summary>
/// <param name="job">The job.</param>
/// <param name="rules">How the provider is used; <see cref="CallRules.CallTimeout"/> is that of the whole group.</param>
/// <param name="call">
/// Makes the call, and reports each output when it is announced; <see cref="ProviderReply.Finished"/> or a failure. Cancelled, the outcome of
/// outputs that were not announced is unknown.
/// </param>
public sealed class GroupCall(JobContext job, CallRules rules, Func<Func<GroupOutput, Task>, CancellationToken, Task<ProviderReply>> call)
{
    private static readonly Uri InAnnouncement = new("data:,");

    /// <summary>Outputs that were announced and fetched and are unusable; known to this run only.</summary>
    private readonly ConcurrentDictionary<int, Failure> unusable = [];

    public async Task<StepOutcome> RunAsync(CancellationToken ct)
    {
        ReportStored();
        var group = job.FindTask(0) is { } earlier ? GroupRecord.Read(earlier) : null;
        if (group is { Task.State: ProviderTaskState.Intent })
        {
            await CloseAsync(group, ProviderReply.Failed(new Failure(
                FailureKind.OutcomeUnknown, "worker.cut_off", "The worker that made the call did not live to see its end.")));
        }
        else if (group is null)
        {
            var (intent, problem) = await job.TryBeginCallAsync(
                job.BreakerOf(), firstOrdinal: 0, job.RequestedOutputs, rules.CallTimeout, rules.Limit, null, ct);
            if (intent is null)
            {
                return StepOutcome.From(job, [new FailedOutput(0, problem!)]);
            }

            group = new GroupRecord(intent);
            await MakeAsync(group, ct);
        }

        var failed = group.Refused.Select(r => new FailedOutput(r.Key, r.Value)).ToList();
        if (group.Rest is { } rest)
        {
            failed.AddRange(Enumerable.Range(0, job.RequestedOutputs).Where(o => !group.Knows(o)).Select(o => new FailedOutput(o, rest)));
        }

        var stored = job.Outputs.StoredOrdinals;
        var fetched = await Task.WhenAll(
            group.Announced.Keys.Where(o => !stored.Contains(o) && !unusable.ContainsKey(o)).Select(o => FetchAsync(group, o, ct)));
        failed.AddRange(fetched.OfType<FailedOutput>().Where(f => f.Failure.IsRetryable));
        failed.AddRange(unusable.Select(u => new FailedOutput(u.Key, u.Value)));
        var outcome = StepOutcome.From(job, failed);
        if (group.Task.State == ProviderTaskState.Delivered
            && outcome is (StepOutcome.Completed or StepOutcome.Failed { Failure.IsRetryable: false })) // else they are fetched again
        {
            foreach (var (ordinal, failure) in unusable.OrderBy(u => u.Key))
            {
                // the call has delivered all the same; this is for the operator's record
                await job.RecordTaskAsync(group.Task, group.Task.State, failure: failure with { Detail = $"Output {ordinal}: {failure.Detail}" });
            }
        }

        return outcome;
    }

    private async Task MakeAsync(GroupRecord group, CancellationToken ct)
    {
        var transfers = new List<Task>();
        try
        {
            var reply = await job.BreakerOf().CallAsync(token => call(OnAnnouncedAsync, token), ct);
            await CloseAsync(group, reply);
            await Task.WhenAll(transfers);
        }
        finally
        {
            await Task.WhenAll(transfers).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing); // none outlives the step
        }

        async Task OnAnnouncedAsync(GroupOutput output)
        {
            StoredMedia? media = null;
            if (output.Media is not null)
            {
                (output, media) = await StoreAsync(group, output, ct);
            }

            if (!group.TryAdd(output, job.RequestedOutputs, job.Now, out var ordinal))
            {
                job.Log.LogWarning("Ignored output {Index} of {Outputs} of {SessionId}, which is out of range or was announced before",
                    output.Index, job.RequestedOutputs, job.Session.SessionId);
                return;
            }

            // The call is still open: only its end says what became of the other outputs.
            group.Task = await job.RecordTaskAsync(group.Task, ProviderTaskState.Intent, result: group.ToResult());
            if (media is not null)
            {
                await job.Outputs.RecordAsync(ordinal, media);
                ReportStored();
            }
            else if (output.Url is not null)
            {
                transfers.Add(FetchAsync(group, ordinal, ct)); // a failed transfer is tried once more when the call has ended
            }
        }
    }

    /// <summary>
    /// Stores an output that comes in its announcement: it cannot be fetched again. In the record it has <see cref="InAnnouncement"/> for an
    /// address.
    /// </summary>
    private async Task<(GroupOutput Output, StoredMedia? Media)> StoreAsync(GroupRecord group, GroupOutput output, CancellationToken ct)
    {
        if (group.OrdinalOf(output, job.RequestedOutputs) is not { } ordinal)
        {
            return (output with { Url = InAnnouncement }, null); // which ignores it
        }

        var (media, problem) = await job.Outputs.StoreAsync(ordinal, new MediaSource.Direct(output.Media!), ct);
        return media is not null ? (output with { Index = ordinal, Url = InAnnouncement }, media)
            : (output with
            {
                Index = ordinal,
                Failure = problem!.IsRetryable ? new Failure(FailureKind.OutcomeUnknown, problem.ProviderCode, problem.Detail) : problem,
            }, null);
    }

    /// <summary>Records how the call ended, given what was announced before.</summary>
    private async Task CloseAsync(GroupRecord group, ProviderReply reply)
    {
        var known = group.Announced.Count + group.Refused.Count;
        var end = reply.Failure
            // the provider stopped there: what is missing was not the model's choice
            ?? group.Refused.Values.FirstOrDefault(f => f.IsRetryable || f.IsForAllOutputs)
            ?? (known == 0 ? new Failure(FailureKind.Unavailable, "group.empty", "The call ended without an output or a reason.") : null);
        group.Usage = reply.Usage;
        if (group.Announced.Count == 0 && end is not null)
        {
            group.Rest = end;
            group.Task = await job.RecordTaskAsync(
                group.Task, TaskRecord.StateOf(end), requestId: reply.RequestId, result: group.ToResult(), failure: end);
            return;
        }

        // Something was billed: the call is not repeated from here on.
        group.Rest = known >= job.RequestedOutputs ? null : end;
        group.MakeFinal();
        var state = group.Rest?.Kind == FailureKind.OutcomeUnknown ? ProviderTaskState.Unknown
            : group.Announced.Count > 0 ? ProviderTaskState.Delivered
            : ProviderTaskState.Failed;
        var failure = state == ProviderTaskState.Delivered ? null : group.Rest ?? group.Refused.Values.First();
        group.Task = await job.RecordTaskAsync(group.Task, state, requestId: reply.RequestId, result: group.ToResult(), failure: failure);
    }

    private async Task<FailedOutput?> FetchAsync(GroupRecord group, int ordinal, CancellationToken ct)
    {
        var (url, at) = (group.Announced[ordinal], group.AnnouncedAt[ordinal]); // before the first await: more are announced meanwhile
        var failure = TaskRecord.Judge(job, await job.Outputs.DeliverAsync(ordinal, rules.Source.Of(url), usage: null, ct), at);
        ReportStored();
        if (failure is { IsRetryable: false })
        {
            unusable[ordinal] = failure;
        }

        return failure is null ? null : new FailedOutput(ordinal, failure);
    }

    private void ReportStored() => job.ReportProgress(10 + (85 * job.Outputs.StoredOrdinals.Count / job.RequestedOutputs), "generating");
}
