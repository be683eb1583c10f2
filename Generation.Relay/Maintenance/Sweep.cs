using Generation.Core;

namespace Generation.Relay.Maintenance;

/// <param name="Count">Rows or objects that were changed or removed.</param>
/// <param name="HasMore">The batch was full: run again immediately.</param>
public readonly record struct SweepResult(int Count, bool HasMore)
{
    public static SweepResult Of(int count, int batch) => new(count, count >= batch);
}

/// <summary>
/// A periodic repair: one type for each inconsistency, with its own interval and bounded batches, safe to run in several relays at once. Metrics:
/// <c>generation.sweep.repaired</c> counts what was repaired, <c>generation.sweep.duration</c> is the time of a run.
/// </summary>
public abstract class Sweep : PeriodicService
{
    protected Sweep(string name, TimeSpan interval, TimeProvider time, ILogger log)
        : base(interval, time, log)
    {
        (Name, Interval) = (name, interval);
    }

    /// <summary>The tag <c>sweep</c> of its metrics, and the key of its maintenance lease; never changes.</summary>
    public string Name { get; }

    /// <summary>The interval between runs while there is nothing more to do.</summary>
    public TimeSpan Interval { get; }

    public sealed override async Task<bool> RunOnceAsync(CancellationToken ct)
    {
        var started = Time.GetTimestamp();
        var outcome = "failed";
        try
        {
            var (count, isMore) = await SweepAsync(ct);
            outcome = "done";
            Telemetry.SweepRepaired.Add(count, new KeyValuePair<string, object?>("sweep", Name)); // zero included, which shows that it runs
            if (count > 0)
            {
                Report(count);
            }

            return isMore;
        }
        finally
        {
            Telemetry.SweepDuration.Record(
                Time.GetElapsedTime(started).TotalSeconds, new KeyValuePair<string, object?>("sweep", Name), new KeyValuePair<string,
                    object?>("outcome", outcome));
        }
    }

    /// <summary>One batch.</summary>
    protected abstract Task<SweepResult> SweepAsync(CancellationToken ct);

    /// <summary>Logs what was repaired; called when there was something.</summary>
    protected abstract void Report(int count);
}
