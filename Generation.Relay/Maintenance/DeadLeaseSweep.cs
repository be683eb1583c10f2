using Generation.Core.Database;
using Generation.Core.Maintenance;

namespace Generation.Relay.Maintenance;

/// <summary>
/// Requeues the sessions of dead workers. After a database outage of longer than a lease all leases have expired although no worker is dead, so
/// workers get a grace period to renew them and keep the paid calls that are in flight.
/// </summary>
public sealed class DeadLeaseSweep(SessionSweeps sweeps, RelayOptions options, TimeProvider time, ILogger<DeadLeaseSweep> log)
    : Sweep("dead-leases", options.DeadLeaseInterval, time, log)
{
    private long? backSince;

    protected override async Task<SweepResult> SweepAsync(CancellationToken ct)
    {
        try
        {
            if (backSince is null)
            {
                await sweeps.PingAsync(ct);
                backSince = Time.GetTimestamp();
            }

            return Time.GetElapsedTime(backSince.Value) < options.LeaseGrace ? default
                : SweepResult.Of(await sweeps.RevokeDeadLeasesAsync(ct), SessionSweeps.Batch);
        }
        catch (Exception e) when (TransientErrors.IsTransient(e))
        {
            backSince = null;
            throw;
        }
    }

    protected override void Report(int count) => log.LogWarning("Requeued {Count} sessions of workers that stopped renewing their leases", count);
}

/// <summary>Revokes the leases of jobs that make no progress.</summary>
public sealed class StuckJobSweep(SessionSweeps sweeps, RelayOptions options, TimeProvider time, ILogger<StuckJobSweep> log)
    : Sweep("stuck-jobs", options.StuckInterval, time, log)
{
    protected override async Task<SweepResult> SweepAsync(CancellationToken ct) =>
        SweepResult.Of(await sweeps.RevokeStuckAsync(options.StuckAfter, ct), SessionSweeps.Batch);

    protected override void Report(int count) =>
        log.LogError("Revoked {Count} leases without progress for {Time} (Relay:StuckAfter)", count, options.StuckAfter);
}

/// <summary>Ends sessions past their deadline.</summary>
public sealed class DeadlineSweep(SessionSweeps sweeps, RelayOptions options, TimeProvider time, ILogger<DeadlineSweep> log)
    : Sweep("deadlines", options.DeadlineInterval, time, log)
{
    protected override async Task<SweepResult> SweepAsync(CancellationToken ct) =>
        SweepResult.Of(await sweeps.EndOverdueAsync(ct), SessionSweeps.Batch);

    protected override void Report(int count) => log.LogWarning("Ended {Count} sessions that were past their deadline", count);
}
