using Generation.Core.Maintenance;

namespace Generation.Relay.Maintenance;

/// <summary>A sweep of the object store: one relay at a time holds the maintenance lease, and the next continues at its position.</summary>
public abstract class StoreSweep(string name, TimeSpan interval, MaintenanceLease lease, TimeProvider time, ILogger log)
    : Sweep(name, interval, time, log)
{
    protected sealed override async Task<SweepResult> SweepAsync(CancellationToken ct)
    {
        if (await lease.AcquireAsync(Name, ct) is not { } position)
        {
            return default;
        }

        (int Count, bool HasMore, string Position)? pass = null;
        try
        {
            pass = await SweepAsync(position, ct);
        }
        finally
        {
            await lease.ReleaseAsync(Name, pass?.Position, pass is null or { HasMore: true } ? TimeSpan.Zero : Interval);
        }

        return new(pass.Value.Count, pass.Value.HasMore);
    }

    /// <summary>One batch starting at a position; returns the next position.</summary>
    protected abstract Task<(int Count, bool HasMore, string Position)> SweepAsync(string position, CancellationToken ct);
}
