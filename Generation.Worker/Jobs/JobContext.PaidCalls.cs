using System.Text.Json;
using System.Text.Json.Nodes;
using Generation.Core.Database;
using Generation.Core.Providers;
using Generation.Core.Sessions;
using Generation.Worker.Calls;
using Npgsql;

namespace Generation.Worker.Jobs;

/// <content>Providers that answer with the output, and what every paid call has in common: limit, breaker, intent, call, record (invariant
/// 7).</content>
public sealed partial class JobContext
{
    /// <summary>
    /// The whole step of a provider that makes one output a call and answers in it. For every output that is not stored: what an earlier
    /// run bought is fetched; a call whose reply is not known is never repeated; else the intent is recorded, the call made, its outcome
    /// recorded, the output stored. A failure that would meet every output stops the calls that have not begun.
    /// </summary>
    /// <param name="rules">How the provider is used.</param>
    /// <param name="call">Makes the call for one output.</param>
    /// <param name="ct">Stops; a call under way is then of unknown outcome.</param>
    public async Task<StepOutcome> CallEachAsync(CallRules rules, Func<int, CancellationToken, Task<ProviderReply>> call, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(rules);
        var failed = new List<FailedOutput>();
        var done = stored.Count;
        var hopeless = 0;
        foreach (var shown in tasks.Where(t => t.State == ProviderTaskState.Intent && stored.Contains(t.FirstOrdinal)).ToList())
        {
            // Its output came in the answer, and a worker died between showing that and recording this: there is nothing to reconcile.
            await RecordTaskAsync(shown, ProviderTaskState.Delivered, result: new JsonObject { ["usage"] = null });
        }

        ReportProgress(10 + (85 * done / RequestedOutputs), "generating");
        await Parallel.ForEachAsync(
            Enumerable.Range(0, RequestedOutputs).Where(o => !stored.Contains(o)),
            new ParallelOptions { MaxDegreeOfParallelism = rules.Parallel, CancellationToken = ct },
            async (ordinal, token) =>
            {
                if (Volatile.Read(ref hopeless) != 0)
                {
                    return;
                }

                var failure = await MakeAsync(rules, ordinal, call, token);
                await recording.WaitAsync(CancellationToken.None);
                if (failure is not null)
                {
                    failed.Add(new FailedOutput(ordinal, failure));
                    Volatile.Write(ref hopeless, failure.IsForAllOutputs || failure.NotTried ? 1 : hopeless);
                }

                done += failure is { IsRetryable: true } ? 0 : 1; // what comes again is still to be done
                var percent = 10 + (85 * done / RequestedOutputs);
                recording.Release();
                ReportProgress(percent, "generating");
            });
        return Conclude(failed);
    }

    /// <summary>How a step ends by what did not come of it.</summary>
    private StepOutcome Conclude(List<FailedOutput> failed)
    {
        var common = failed.Find(f => f.Failure.IsForAllOutputs)?.Failure;
        if (common is not null) // it speaks for the calls that were not begun because of it
        {
            failed.AddRange(Enumerable.Range(0, RequestedOutputs).Except(stored).Except(failed.Select(f => f.Ordinal))
                .Select(o => new FailedOutput(o, common)).ToList());
        }

        failed.Sort((a, b) => a.Ordinal.CompareTo(b.Ordinal));
        var usage = SumUsage();
        // a failure counts, a limit does not
        var again = failed.Find(f => f.Failure is { IsRetryable: true, NotTried: false }) ?? failed.Find(f => f.Failure.IsRetryable);
        return again is not null ? new StepOutcome.Failed(again.Failure, failed) { Usage = usage }
            : stored.Count == 0 && failed.Count > 0 ? new StepOutcome.Failed(common ?? failed[0].Failure, failed) { Usage = usage }
            : new StepOutcome.Completed(usage, failed);
    }

    private async Task<Failure?> MakeAsync(CallRules rules, int ordinal, Func<int, CancellationToken, Task<ProviderReply>> call, CancellationToken ct)
    {
        switch (FindTask(ordinal))
        {
            case { State: ProviderTaskState.Delivered, Result: { } result } bought when result.TryGetProperty("url", out _):
                return await FetchAsync(ordinal, bought, rules.Source, ct);
            case { State: ProviderTaskState.Failed or ProviderTaskState.Unknown } over:
                return AsRecorded(over);
            case { } cutOff when rules.IsRepeatable:
                await RecordTaskAsync(cutOff, ProviderTaskState.Rejected,
                    failure: new Failure(FailureKind.Unavailable, "worker.cut_off", "The worker did not live to see the answer."));
                break;
            case { } cutOff:
                return await RecordUnknownAsync(cutOff);
        }

        var breaker = rules.Breaker is { } own ? parts.Breakers.Of(own) : Breaker;
        var (intent, problem) = await TryBeginCallAsync(ordinal, rules.CallTimeout, rules.Limit, null, ct, breaker);
        if (intent is null)
        {
            return problem;
        }

        var reply = await breaker.CallAsync(token => call(ordinal, token), ct);
        if (reply.Failure is { } failure)
        {
            await RecordTaskAsync(intent, StateOf(failure), requestId: reply.RequestId, failure: failure);
            return failure;
        }

        if (reply.Media is { } media) // shown before it is recorded as bought: nobody could fetch it again
        {
            await RecordStoredAsync(ordinal, media, reply.Usage?.DeepClone().AsObject());
            await RecordTaskAsync(intent, ProviderTaskState.Delivered, requestId: reply.RequestId,
                result: new JsonObject { ["usage"] = reply.Usage?.DeepClone() });
            return null;
        }

        var task = await RecordTaskAsync(intent, ProviderTaskState.Delivered, requestId: reply.RequestId, result: ResultOf(reply.Url!, reply.Usage));
        return await FetchAsync(ordinal, task, rules.Source, ct);
    }

    private static JsonObject ResultOf(Uri url, JsonObject? usage) => new() { ["url"] = url.AbsoluteUri, ["usage"] = usage?.DeepClone() };

    /// <summary>Acquires everything that a paid call needs and records its intent; a failure means that nothing may be sent.</summary>
    private async Task<(ProviderTask? Intent, Failure? Problem)> TryBeginCallAsync(
        int ordinal, TimeSpan callTimeout, RateLimit? limit, byte[]? callbackTokenHash, CancellationToken ct, ProviderBreaker? breaker = null,
            int outputCount = 1)
    {
        if (OpenBreaker(breaker) is { } pause)
        {
            return (null, pause);
        }

        if (await AcquireRateLimitAsync(limit) is { } full)
        {
            return (null, full);
        }

        try
        {
            var intent = await RecordIntentAsync(ordinal, outputCount, callTimeout, callbackTokenHash, ct) ?? throw new LeaseLostException();
            if (parts.Time.GetElapsedTime(job.RenewedAt) < parts.Options.LeaseTrust)
            {
                return (intent, null);
            }

            // This process was paused. If another worker has the session it treats the call as made: then this throws, and it is never made.
            var late = new Failure(FailureKind.Unavailable, "lease.uncertain",
                "The worker was paused before it could make the call.")
            { NotTried = true };
            await RecordTaskAsync(intent, ProviderTaskState.Rejected, failure: late);
            return (null, late);
        }
        catch (Exception e) when (TransientErrors.IsTransient(e) || e is NpgsqlException)
        {
            // Nothing was sent. Rethrowing would interrupt the concurrent calls, which may be paid for already.
            return (null, new Failure(FailureKind.Unavailable, "intent.not_recorded", e.Message));
        }
    }

    /// <summary>Null when the limit allows the call, which is then counted.</summary>
    private async Task<Failure?> AcquireRateLimitAsync(RateLimit? limit) =>
        limit is not null && await parts.Limits.TakeAsync(Session.Provider, limit) is { } wait
        ? new Failure(FailureKind.RateLimited, "limit." + limit.Name,
            $"{Session.Provider} allows {limit.Calls} calls in {limit.Window}.")
        { RetryAfter = wait, NotTried = true }
        : null;

    private Failure? OpenBreaker(ProviderBreaker? breaker = null) => (breaker ?? Breaker).OpenFor is { } pause
        ? new Failure(FailureKind.Unavailable, "breaker.open", $"{Session.Provider} failed too often and is left alone.")
        {
            RetryAfter = pause,
            NotTried = true
        }
        : null;

    /// <summary>An earlier run was interrupted in the call: it may have been billed, and its outcome cannot be retrieved.</summary>
    private async Task<Failure> RecordUnknownAsync(ProviderTask cutOff)
    {
        var unknown = new Failure(FailureKind.OutcomeUnknown, "worker.cut_off", "The worker that made the call did not live to see its answer.");
        await RecordTaskAsync(cutOff, ProviderTaskState.Unknown, failure: unknown);
        return unknown;
    }

    private static Failure AsRecorded(ProviderTask over) =>
        new(Enum.Parse<FailureKind>(over.Failure!), over.FailureCode ?? "", "recorded by an earlier run") { RequestId = over.RequestId };

    private async Task<Failure?> FetchAsync(int ordinal, ProviderTask task, ResultSource source, CancellationToken ct)
    {
        var result = task.Result!.Value;
        var usage = result.TryGetProperty("usage", out var counted) && counted.ValueKind == JsonValueKind.Object ? JsonObject.Create(counted) : null;
        var poster = result.TryGetProperty("poster", out var still) ? source.Of(new Uri(still.GetString()!)) : null;
        var failure = await DeliverAsync(ordinal, source.Of(new Uri(result.GetProperty("url").GetString()!)), usage, ct, poster, endsStep: true);
        if (failure is { IsRetryable: false })
        {
            await RecordTaskAsync(task, ProviderTaskState.Failed, failure: failure);
        }

        return failure;
    }

    private static ProviderTaskState StateOf(Failure failure) =>
        failure.IsRetryable || failure.IsFinal ? ProviderTaskState.Rejected
        : failure.Kind == FailureKind.OutcomeUnknown ? ProviderTaskState.Unknown
        : ProviderTaskState.Failed;

    /// <summary>The usage of all delivered calls, numbers added up; null without any.</summary>
    private JsonObject? SumUsage()
    {
        var sum = new JsonObject();
        foreach (var task in tasks.Where(t => t.Result is { ValueKind: JsonValueKind.Object }))
        {
            if (task.Result!.Value.TryGetProperty("usage", out var usage) && usage.ValueKind == JsonValueKind.Object)
            {
                foreach (var field in usage.EnumerateObject().Where(f => f.Value.ValueKind == JsonValueKind.Number))
                {
                    sum[field.Name] = (sum[field.Name]?.GetValue<decimal>() ?? 0) + (field.Value.TryGetDecimal(out var number) ? number : 0);
                }
            }
        }

        return sum.Count == 0 ? null : sum;
    }
}
