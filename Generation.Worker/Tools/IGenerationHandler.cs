using System.Reflection;
using System.Text.Json.Nodes;
using Generation.Core.Providers;
using Generation.Worker.Jobs;

namespace Generation.Worker.Tools;

/// <summary>
/// A tool: knows its provider and nothing else. The pipeline around it claims, renews, stores, settles and retries. Handlers are found by
/// scanning the assembly: adding a file adds a tool.
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

/// <summary>The handlers of some assemblies by job type.</summary>
public sealed class HandlerRegistry
{
    private readonly Dictionary<string, IGenerationHandler> byJobType = new(StringComparer.Ordinal);

    public HandlerRegistry(IEnumerable<IGenerationHandler> handlers)
    {
        ArgumentNullException.ThrowIfNull(handlers);
        foreach (var handler in handlers)
        {
            foreach (var jobType in handler.JobTypes)
            {
                if (!byJobType.TryAdd(jobType, handler))
                {
                    throw new InvalidOperationException($"Two handlers claim {jobType}: {byJobType[jobType].GetType().Name} and {handler.GetType().Name}.");
                }
            }
        }
    }

    public IEnumerable<string> JobTypes => byJobType.Keys.Order(StringComparer.Ordinal);

    public IGenerationHandler? Find(string jobType) => byJobType.GetValueOrDefault(jobType);
}

public static class Handlers
{
    /// <summary>Adds every public handler of an assembly.</summary>
    public static IServiceCollection AddHandlers(this IServiceCollection services, Assembly assembly)
    {
        ArgumentNullException.ThrowIfNull(assembly);
        foreach (var handler in assembly.GetTypes().Where(t => t is { IsClass: true, IsAbstract: false, IsVisible: true } && t.IsAssignableTo(typeof(IGenerationHandler))))
        {
            services.AddSingleton(handler);
            services.AddSingleton(s => (IGenerationHandler)s.GetRequiredService(handler));
        }

        return services;
    }
}
