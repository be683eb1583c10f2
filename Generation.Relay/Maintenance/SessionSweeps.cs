using Generation.Core;
using Generation.Core.Credits;
using Generation.Core.Database;
using Generation.Core.Outbox;
using Generation.Core.Queue;
using Generation.Core.Sessions;
using Generation.Core.Webhooks;
using Generation.ServiceDefaults;
using Npgsql;

namespace Generation.Relay.Maintenance;

/// <summary>Redispatches messages that the queue has lost, and no others (invariant 8).</summary>
public sealed class LostDispatchSweep(OutboxDispatcher dispatcher, RelayOptions options, TimeProvider time, ILogger<LostDispatchSweep> log)
    : Sweep("lost-dispatches", options.LostDispatchInterval, time, log)
{
    protected override async Task<SweepResult> SweepAsync(CancellationToken ct)
    {
        var count = 0;
        QueueException? problem = null;
        foreach (var lane in QueueOptions.Lanes)
        {
            try
            {
                count += await dispatcher.RedispatchLostAsync(lane, ct);
            }
            catch (QueueException e)
            {
                problem = e; // the next lane may have its own queue
            }
        }

        return count > 0 || problem is null
            ? new(count, HasMore: false) // the rows are due again and dispatched by the next poll
            : throw new QueueException(problem.Message, problem);
    }

    protected override void Report(int count) => log.LogWarning("Redispatched {Count} messages that were lost with the queue", count);
}

/// <summary>
/// Vacuums the outbox. Where the relay's login may not vacuum (before Postgres 17 only the owner may), this is left to autovacuum, and logged
/// once.
/// </summary>
public sealed class OutboxVacuumSweep(NpgsqlDataSource database, DatabaseConnections connections, RelayOptions options, TimeProvider time, ILogger<OutboxVacuumSweep> log)
    : Sweep("dead-rows", options.VacuumInterval, time, log)
{
    private bool isRefused;

    protected override async Task<SweepResult> SweepAsync(CancellationToken ct)
    {
        var vacuumed = await OutboxVacuum.RunAsync(database, connections.Login, ct);
        if (vacuumed is null && !isRefused)
        {
            log.LogInformation(OperationEvents.Sweep, "This login may not vacuum the outbox, which is left to autovacuum (from Postgres 17 on, migrate grants the right)");
        }

        isRefused = vacuumed is null;
        return new((int)Math.Min(vacuumed ?? 0, int.MaxValue), HasMore: false);
    }

    protected override void Report(int count) => log.LogDebug("Vacuumed the outbox of {Count} dead rows", count);
}

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

            return Time.GetElapsedTime(backSince.Value) < options.LeaseGrace ? default : SweepResult.Of(await sweeps.RevokeDeadLeasesAsync(ct), SessionSweeps.Batch);
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
    protected override async Task<SweepResult> SweepAsync(CancellationToken ct) => SweepResult.Of(await sweeps.RevokeStuckAsync(options.StuckAfter, ct), SessionSweeps.Batch);

    protected override void Report(int count) =>
        log.LogError("Revoked {Count} leases without progress for {Time} (Relay:StuckAfter)", count, options.StuckAfter);
}

/// <summary>Ends sessions past their deadline.</summary>
public sealed class DeadlineSweep(SessionSweeps sweeps, RelayOptions options, TimeProvider time, ILogger<DeadlineSweep> log)
    : Sweep("deadlines", options.DeadlineInterval, time, log)
{
    protected override async Task<SweepResult> SweepAsync(CancellationToken ct) => SweepResult.Of(await sweeps.EndOverdueAsync(ct), SessionSweeps.Batch);

    protected override void Report(int count) => log.LogWarning("Ended {Count} sessions that were past their deadline", count);
}

/// <summary>Dispatches sessions that wait for a worker and have no outbox row.</summary>
public sealed class MissingDispatchSweep(SessionSweeps sweeps, RelayOptions options, TimeProvider time, ILogger<MissingDispatchSweep> log)
    : Sweep("strays", options.StrayInterval, time, log)
{
    protected override async Task<SweepResult> SweepAsync(CancellationToken ct) => SweepResult.Of(await sweeps.DispatchMissingAsync(options.StrayInterval, ct), SessionSweeps.Batch);

    protected override void Report(int count) => log.LogError("Dispatched {Count} sessions that waited without an outbox row; this should not happen", count);
}

/// <summary>Extends the holds of open sessions.</summary>
public sealed class ExpiringHoldSweep(Holds holds, RelayOptions options, TimeProvider time, ILogger<ExpiringHoldSweep> log)
    : Sweep("expiring-holds", options.HoldInterval, time, log)
{
    protected override async Task<SweepResult> SweepAsync(CancellationToken ct) => SweepResult.Of(await holds.ExtendAsync(ct), Holds.Batch);

    protected override void Report(int count) => log.LogDebug("Extended {Count} holds", count);
}

/// <summary>Releases holds that outlived their session to the lots they were drawn from.</summary>
public sealed class AbandonedHoldSweep(Holds holds, RelayOptions options, TimeProvider time, ILogger<AbandonedHoldSweep> log)
    : Sweep("abandoned-holds", options.AbandonedHoldInterval, time, log)
{
    protected override async Task<SweepResult> SweepAsync(CancellationToken ct)
    {
        var abandoned = await holds.ReleaseAbandonedAsync(ct);
        foreach (var session in abandoned)
        {
            log.LogError("The hold of {SessionId} outlived its session and was released; this should not happen", session);
        }

        return SweepResult.Of(abandoned.Count, Holds.Batch);
    }

    protected override void Report(int count) => log.LogError("Released {Count} abandoned holds", count);
}

/// <summary>Expires what is left in overdue lots.</summary>
public sealed class OverdueLotSweep(Holds holds, RelayOptions options, TimeProvider time, ILogger<OverdueLotSweep> log)
    : Sweep("overdue-lots", options.OverdueLotInterval, time, log)
{
    protected override async Task<SweepResult> SweepAsync(CancellationToken ct) => SweepResult.Of(await holds.ExpireLotsAsync(ct), Holds.Batch);

    protected override void Report(int count) => log.LogInformation(OperationEvents.Sweep, "Expired the overdue lots of {Count} accounts", count);
}

/// <summary>Books callbacks whose task or session has ended without them.</summary>
public sealed class UnbookedCallbackSweep(WebhookInbox inbox, RelayOptions options, TimeProvider time, ILogger<UnbookedCallbackSweep> log)
    : Sweep("unbooked-callbacks", options.CallbackInterval, time, log)
{
    protected override async Task<SweepResult> SweepAsync(CancellationToken ct) => SweepResult.Of(await inbox.BookAsync(ct), WebhookInbox.Batch);

    protected override void Report(int count) => log.LogInformation(OperationEvents.Sweep, "Booked {Count} callbacks of tasks that had ended without them", count);
}

/// <summary>Deletes old error events, callbacks and outbox rows that were set aside.</summary>
public sealed class OldRowSweep(SessionSweeps sweeps, RelayOptions options, TimeProvider time, ILogger<OldRowSweep> log)
    : Sweep("old-rows", options.OldRowInterval, time, log)
{
    protected override async Task<SweepResult> SweepAsync(CancellationToken ct)
    {
        var (deleted, hasMore) = await sweeps.DeleteOldRowsAsync(options.ErrorEventsKept, ct);
        return new(deleted, hasMore);
    }

    protected override void Report(int count) => log.LogInformation(OperationEvents.Sweep, "Deleted {Count} old rows", count);
}
