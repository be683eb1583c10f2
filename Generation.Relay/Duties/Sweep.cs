using Generation.Core;
using Generation.Core.Sessions;

namespace Generation.Relay.Duties;

/// <param name="Repaired">Rows or objects that were mended or removed.</param>
/// <param name="IsMore">The batch was full: come again at once.</param>
public readonly record struct Swept(int Repaired, bool IsMore)
{
    public static Swept Of(int repaired, int batch) => new(repaired, repaired >= batch);
}

/// <summary>
/// A duty that repairs: one type for each thing that can be wrong, with a timer of its own and bounded batches, harmless in several relays at
/// once. What it repaired is counted as <c>generation.sweep.repaired</c>, how long it took as <c>generation.sweep.duration</c>.
/// </summary>
public abstract class Sweep : Duty
{
    protected Sweep(string name, TimeSpan interval, TimeProvider time, ILogger log)
        : base(interval, time, log)
    {
        (Name, Interval) = (name, interval);
    }

    /// <summary>The tag <c>sweep</c> of its metrics; never changes.</summary>
    public string Name { get; }

    /// <summary>How often it looks while there is nothing more to do.</summary>
    public TimeSpan Interval { get; }

    public sealed override async Task<bool> RunOnceAsync(CancellationToken ct)
    {
        var started = Time.GetTimestamp();
        var outcome = "failed";
        try
        {
            var (repaired, isMore) = await RepairAsync(ct);
            outcome = "done";
            Telemetry.SweepRepaired.Add(repaired, new KeyValuePair<string, object?>("sweep", Name)); // a zero too: a dashboard sees that it runs
            if (repaired > 0)
            {
                Report(repaired);
            }

            return isMore;
        }
        finally
        {
            Telemetry.SweepDuration.Record(
                Time.GetElapsedTime(started).TotalSeconds, new KeyValuePair<string, object?>("sweep", Name), new KeyValuePair<string, object?>("outcome", outcome));
        }
    }

    /// <summary>One batch.</summary>
    protected abstract Task<Swept> RepairAsync(CancellationToken ct);

    /// <summary>Says what was repaired; called when there was something.</summary>
    protected abstract void Report(int repaired);
}

/// <summary>A sweep that works on the object store: one relay at a time has the turn, and the next goes on where it stopped.</summary>
public abstract class StoreSweep(string name, TimeSpan interval, SweepTurns turns, TimeProvider time, ILogger log) : Sweep(name, interval, time, log)
{
    protected sealed override async Task<Swept> RepairAsync(CancellationToken ct)
    {
        if (await turns.TakeAsync(Name, ct) is not { } position)
        {
            return default;
        }

        (int Repaired, bool IsMore, string Position)? pass = null;
        try
        {
            pass = await RepairAsync(position, ct);
        }
        finally
        {
            await turns.LeaveAsync(Name, pass?.Position, pass is null or { IsMore: true } ? TimeSpan.Zero : Interval);
        }

        return new(pass.Value.Repaired, pass.Value.IsMore);
    }

    /// <summary>One batch from a position on; answers the next position.</summary>
    protected abstract Task<(int Repaired, bool IsMore, string Position)> RepairAsync(string position, CancellationToken ct);
}
