using System.Text.Json;
using System.Text.Json.Nodes;
using Generation.Core.Providers;
using Generation.Core.Sessions;
using Generation.Worker.Calls;

namespace Generation.Worker.Jobs;

/// <summary>
/// How the outcome of a paid call for one output is recorded in <c>provider_tasks</c>, and what a run does with the outcome that it or an
/// earlier run recorded. The result is <c>{"url", "usage", "poster"}</c>.
/// </summary>
internal static class TaskRecord
{
    /// <summary>
    /// The state of a call that failed. A retryable failure was not billed, so another call may follow; after one that is final none may, whatever
    /// its kind.
    /// </summary>
    public static ProviderTaskState StateOf(Failure failure) =>
        failure.IsRetryable ? ProviderTaskState.Rejected
        : failure.Kind == FailureKind.OutcomeUnknown ? ProviderTaskState.Unknown
        : ProviderTaskState.Failed;

    /// <summary>The recorded failure of a call that failed for good.</summary>
    public static Failure FailureOf(ProviderTask task) =>
        new(task.Failure!.Value, task.FailureCode ?? "", "recorded by an earlier run") { RequestId = task.RequestId, IsFinal = true };

    /// <summary>The longest pause before the address of a result is asked again.</summary>
    private static readonly TimeSpan MaxResultPause = TimeSpan.FromSeconds(30);

    /// <summary>The result of a delivered call whose output is to be fetched.</summary>
    /// <param name="url">Where it is.</param>
    /// <param name="usage">What the provider counted.</param>
    /// <param name="at">When it was delivered, by the database's clock.</param>
    /// <param name="poster">Where its still picture is.</param>
    public static JsonObject ResultOf(Uri url, JsonObject? usage, DateTimeOffset at, Uri? poster = null)
    {
        var result = new JsonObject { ["url"] = url.AbsoluteUri, ["usage"] = usage?.DeepClone(), ["at"] = at };
        if (poster is not null)
        {
            result["poster"] = poster.AbsoluteUri;
        }

        return result;
    }

    /// <summary>Fetches and stores the output of a delivered call. A failure that is not retryable is recorded.</summary>
    public static async Task<Failure?> FetchAsync(JobContext job, int ordinal, ProviderTask task, ResultSource source, CancellationToken ct)
    {
        var result = task.Result!.Value;
        var usage = result.TryGetProperty("usage", out var counted) && counted.ValueKind == JsonValueKind.Object ? JsonObject.Create(counted) : null;
        var poster = result.TryGetProperty("poster", out var still) ? source.Of(new Uri(still.GetString()!)) : null;
        var media = source.Of(new Uri(result.GetProperty("url").GetString()!));
        var at = result.TryGetProperty("at", out var delivered) ? delivered.GetDateTimeOffset() : task.CreatedAt; // an older release did not say
        var failure = Judge(job, await job.Outputs.DeliverAsync(ordinal, media, usage, ct, poster, endsStep: true), at);
        if (failure is { IsRetryable: false })
        {
            await job.RecordTaskAsync(task, ProviderTaskState.Failed, failure: failure);
        }

        return failure;
    }

    /// <summary>
    /// What a failed download of an output that is paid for means: an address that does not have its file may get it, and is asked again until
    /// <see cref="WorkerOptions.ResultTimeout"/>, less often the longer it takes.
    /// </summary>
    /// <param name="job">The job.</param>
    /// <param name="failure">Of the download.</param>
    /// <param name="at">When the provider named the address.</param>
    public static Failure? Judge(JobContext job, Failure? failure, DateTimeOffset at)
    {
        if (failure?.ProviderCode != OutputStore.NotReady)
        {
            return failure;
        }

        var (age, timeout) = (job.Now - at, job.ResultTimeout);
        if (age >= timeout)
        {
            return failure;
        }

        var first = timeout / 8 < TimeSpan.FromSeconds(1) ? timeout / 8 : TimeSpan.FromSeconds(1);
        var pause = age / 2 < first ? first : age / 2 > MaxResultPause ? MaxResultPause : age / 2;
        return failure with { Kind = FailureKind.Unavailable, IsPending = true, RetryAfter = pause < timeout - age ? pause : timeout - age };
    }

    /// <summary>Records that a call was interrupted in an earlier run: it may have been billed, and its outcome cannot be retrieved.</summary>
    public static async Task<Failure> RecordUnknownAsync(JobContext job, ProviderTask interrupted)
    {
        var unknown = interrupted.FailureCode is { } code
            ? new Failure(FailureKind.OutcomeUnknown, code, "The creation of the task was not answered as it should have been, and no callback came.")
            : new Failure(FailureKind.OutcomeUnknown, "worker.cut_off", "The worker that made the call did not live to see its answer.");
        await job.RecordTaskAsync(interrupted, ProviderTaskState.Unknown, failure: unknown);
        return unknown;
    }

    /// <summary>The usage of all delivered calls, with the numbers of equal names added up; null without any.</summary>
    public static JsonObject? SumUsage(IEnumerable<ProviderTask> tasks)
    {
        var sum = new JsonObject();
        foreach (var task in tasks.Where(t => t.Result is { ValueKind: JsonValueKind.Object }))
        {
            if (task.Result!.Value.TryGetProperty("usage", out var usage) && usage.ValueKind == JsonValueKind.Object)
            {
                foreach (var field in usage.EnumerateObject().Where(f => f.Value.ValueKind == JsonValueKind.Number))
                {
                    // Readers let no other number through; what an earlier release recorded adds nothing rather than overflow.
                    var isCount = field.Value.TryGetDecimal(out var number) && number is >= 0 and <= ProviderJson.MaxCount;
                    sum[field.Name] = (sum[field.Name]?.GetValue<decimal>() ?? 0) + (isCount ? number : 0);
                }
            }
        }

        return sum.Count == 0 ? null : sum;
    }
}
