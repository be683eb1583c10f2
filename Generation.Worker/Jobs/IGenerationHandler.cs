using System.Text.Json.Nodes;
using Generation.Core.Providers;
using Generation.Core.Sessions;
using Generation.Worker.Calls;

namespace Generation.Worker.Jobs;

/// <summary>
/// Runs the jobs of some job types. A handler knows its provider and nothing else: the pipeline around it claims, renews, stores, settles and
/// retries. Handlers are found by scanning the worker's assembly and those of <see cref="Generation.Core.Catalog.ToolAssemblies"/>.
/// </summary>
public interface IGenerationHandler
{
    /// <summary>The job types it runs, such as <c>gen.seedream4</c>.</summary>
    IReadOnlyCollection<string> JobTypes { get; }

    /// <summary>
    /// Does what can be done now for outputs that are not stored yet: makes calls, delivers outputs as they come
    /// (<see cref="OutputStore.DeliverAsync"/>), and returns how it ended. It runs again after a crash, a retry or a suspension, and then finds
    /// in the context what earlier runs recorded. An exception other than cancellation counts as <see cref="FailureKind.Unavailable"/>.
    /// </summary>
    Task<StepOutcome> StepAsync(JobContext job, CancellationToken ct);

    /// <summary>Cancels the running tasks of a session at the provider, where that is possible. Best effort.</summary>
    async Task CancelAsync(JobContext job, CancellationToken ct)
    {
        foreach (var task in job.Tasks.Where(task => task is { State: ProviderTaskState.Running, TaskId: not null }))
        {
            await CancelTaskAsync(task.TaskId!, ct);
        }
    }

    /// <summary>Tells the provider that nobody wants a task any more, where it can be told; also when the session ended without a cancel.</summary>
    Task CancelTaskAsync(string taskId, CancellationToken ct) => Task.CompletedTask;

    /// <summary>How a task is doing whose session has ended, so that what it cost is known; null where that cannot be asked.</summary>
    Task<TaskReport?> RetrieveTaskAsync(EndedTask task, CancellationToken ct) => Task.FromResult<TaskReport?>(null);
}

/// <summary>How a step ended.</summary>
public abstract record StepOutcome
{
    /// <summary>No output is missing that could still be made.</summary>
    /// <param name="Usage">The provider's usage figures, as it names them; recorded on the session.</param>
    /// <param name="FailedOutputs">Outputs that were not made.</param>
    public sealed record Completed(JsonObject? Usage, IReadOnlyList<FailedOutput> FailedOutputs) : StepOutcome;

    /// <summary>It failed; the kind of the failure decides whether it is retried.</summary>
    public sealed record Failed(Failure Failure, IReadOnlyList<FailedOutput> FailedOutputs) : StepOutcome
    {
        /// <summary>The usage so far: outputs that are stored are paid for although the last attempt failed.</summary>
        public JsonObject? Usage { get; init; }
    }

    /// <summary>The provider works on it. The slot is freed; the handler runs again after the delay, or when a callback arrives.</summary>
    public sealed record Suspended(TimeSpan WakeAfter) : StepOutcome;

    /// <summary>
    /// The outcome of a step in which some outputs failed, perhaps none. A failure that meets all outputs also counts for those whose calls
    /// were not begun because of it.
    /// </summary>
    internal static StepOutcome From(JobContext job, List<FailedOutput> failed)
    {
        var stored = job.Outputs.StoredOrdinals;
        var common = failed.Find(f => f.Failure.IsForAllOutputs)?.Failure;
        if (common is not null)
        {
            failed.AddRange(Enumerable.Range(0, job.RequestedOutputs).Except(stored).Except(failed.Select(f => f.Ordinal))
                .Select(o => new FailedOutput(o, common)).ToList());
        }

        failed.Sort((a, b) => a.Ordinal.CompareTo(b.Ordinal));
        var usage = TaskRecord.SumUsage(job.Tasks);
        // a failure that costs an attempt comes before one that does not
        var retryable = failed.Find(f => f.Failure is { IsRetryable: true, NotTried: false, IsPending: false })
            ?? failed.Find(f => f.Failure is { IsRetryable: true, IsPending: false });
        var pending = failed.Where(f => f.Failure.IsPending).Select(f => f.Failure.RetryAfter!.Value).ToList();
        return pending.Count > 0 && retryable is null or { Failure.NotTried: true } ? new Suspended(pending.Min())
            : retryable is not null ? new Failed(retryable.Failure, failed) { Usage = usage }
            : stored.Count == 0 && failed.Count > 0 ? new Failed(common ?? failed[0].Failure, failed) { Usage = usage }
            : new Completed(usage, failed);
    }
}

public sealed record FailedOutput(int Ordinal, Failure Failure);
