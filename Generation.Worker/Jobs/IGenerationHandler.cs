using System.Text.Json.Nodes;
using Generation.Core.Providers;

namespace Generation.Worker.Jobs;

/// <summary>
/// A tool: knows its provider and nothing else. The pipeline around it claims, renews, stores, settles and retries. Handlers are found by
/// scanning the worker's assembly and those of <see cref="Generation.Core.Catalog.ToolAssemblies"/>: adding a file adds a tool.
/// </summary>
public interface IGenerationHandler
{
    /// <summary>The job types it runs, such as <c>gen.seedream4</c>.</summary>
    IReadOnlyCollection<string> JobTypes { get; }

    /// <summary>
    /// Does what can be done now, for outputs that are not stored yet: makes calls, delivers outputs as they come
    /// (<see cref="JobContext.DeliverAsync"/>), and says how it ended. Runs again after a crash, a retry or a suspension, and then finds
    /// in the context what earlier runs recorded. An exception other than cancellation counts as <see cref="FailureKind.Unavailable"/>.
    /// </summary>
    Task<StepOutcome> StepAsync(JobContext job, CancellationToken ct);

    /// <summary>Tells the provider, where that is possible, that its running task is not wanted any more. Best effort.</summary>
    Task CancelAsync(JobContext job, CancellationToken ct) => Task.CompletedTask;
}

/// <summary>How a step ended.</summary>
public abstract record StepOutcome
{
    /// <summary>All that will come has come.</summary>
    /// <param name="Usage">What the provider counted, in its own words; kept on the session.</param>
    /// <param name="FailedOutputs">Outputs that did not come.</param>
    public sealed record Completed(JsonObject? Usage, IReadOnlyList<FailedOutput> FailedOutputs) : StepOutcome;

    /// <summary>It failed; the kind decides whether it is tried again.</summary>
    public sealed record Failed(Failure Failure, IReadOnlyList<FailedOutput> FailedOutputs) : StepOutcome
    {
        /// <summary>What the provider counted up to then: outputs stored by now are paid although the last attempt failed.</summary>
        public JsonObject? Usage { get; init; }
    }

    /// <summary>The provider works on it. The slot is freed; the handler runs again after the delay, or when a callback comes.</summary>
    public sealed record Suspended(TimeSpan WakeAfter) : StepOutcome;
}

public sealed record FailedOutput(int Ordinal, Failure Failure);
