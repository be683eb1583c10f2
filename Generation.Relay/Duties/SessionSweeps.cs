using Generation.Core.Credits;
using Generation.Core.Database;
using Generation.Core.Outbox;
using Generation.Core.Queue;
using Generation.Core.Sessions;
using Generation.Core.Webhooks;
using Generation.ServiceDefaults;
using Npgsql;

namespace Generation.Relay.Duties;

/// <summary>Promise 8: what was lost with the queue is sent again, and nothing else is.</summary>
public sealed class LostDispatches(OutboxDispatcher dispatcher, RelayOptions options, TimeProvider time, ILogger<LostDispatches> log)
    : Sweep("lost-dispatches", options.LostDispatchInterval, time, log)
{
    protected override async Task<Swept> RepairAsync(CancellationToken ct)
    {
        var repaired = 0;
        QueueException? problem = null;
        foreach (var lane in QueueOptions.Lanes)
        {
            try
            {
                repaired += await dispatcher.RepairAsync(lane, ct);
            }
            catch (QueueException e)
            {
                problem = e; // the next lane may have a queue of its own
            }
        }

        return repaired > 0 || problem is null
            ? new(repaired, IsMore: false) // the rows are due again: the dispatcher's next poll takes them
            : throw new QueueException(problem.Message, problem);
    }

    protected override void Report(int repaired) => log.LogWarning("{Count} messages were lost with the queue and are dispatched again", repaired);
}

/// <summary>
/// Rows that have passed through the outbox make room for the next ones. Where the relay's login may not vacuum (before Postgres 17 only the
/// owner may), that is left to the server's own vacuum, and said once.
/// </summary>
public sealed class DeadRows(NpgsqlDataSource database, DatabaseConnections connections, RelayOptions options, TimeProvider time, ILogger<DeadRows> log)
    : Sweep("dead-rows", options.VacuumInterval, time, log)
{
    private bool isRefused;

    protected override async Task<Swept> RepairAsync(CancellationToken ct)
    {
        var vacuumed = await OutboxVacuum.RunAsync(database, connections.Login, ct);
        if (vacuumed is null && !isRefused)
        {
            log.LogInformation("This login may not vacuum the outbox: autovacuum has to do (Postgres 17 or later lets migrate grant it)");
        }

        isRefused = vacuumed is null;
        return new((int)Math.Min(vacuumed ?? 0, int.MaxValue), IsMore: false);
    }

    protected override void Report(int repaired) => log.LogDebug("Vacuumed the outbox of {Count} dead rows", repaired);
}

/// <summary>
/// Sessions of dead workers go back into the queue. Where the database was away for longer than a lease, everybody's has run out and nobody
/// is dead: those who live renew within moments, and keep the paid calls that are under way.
/// </summary>
public sealed class DeadLeases(Sweeps sweeps, RelayOptions options, TimeProvider time, ILogger<DeadLeases> log)
    : Sweep("dead-leases", options.DeadLeaseInterval, time, log)
{
    private long? backSince;

    protected override async Task<Swept> RepairAsync(CancellationToken ct)
    {
        try
        {
            if (backSince is null)
            {
                await sweeps.ReachAsync(ct);
                backSince = Time.GetTimestamp();
            }

            return Time.GetElapsedTime(backSince.Value) < options.LeaseGrace ? default : Swept.Of(await sweeps.RevokeDeadLeasesAsync(ct), Sweeps.Batch);
        }
        catch (Exception e) when (Transient.IsPassing(e))
        {
            backSince = null;
            throw;
        }
    }

    protected override void Report(int repaired) => log.LogWarning("Took {Count} sessions from workers that stopped renewing their leases", repaired);
}

/// <summary>Jobs that hang are taken from the worker that holds them.</summary>
public sealed class StuckJobs(Sweeps sweeps, RelayOptions options, TimeProvider time, ILogger<StuckJobs> log)
    : Sweep("stuck-jobs", options.StuckInterval, time, log)
{
    protected override async Task<Swept> RepairAsync(CancellationToken ct) => Swept.Of(await sweeps.RevokeStuckAsync(options.StuckAfter, ct), Sweeps.Batch);

    protected override void Report(int repaired) =>
        log.LogError("Took {Count} sessions from workers that held them without progress for {Time} (Relay:StuckAfter)", repaired, options.StuckAfter);
}

/// <summary>Sessions past their deadline end.</summary>
public sealed class Deadlines(Sweeps sweeps, RelayOptions options, TimeProvider time, ILogger<Deadlines> log)
    : Sweep("deadlines", options.DeadlineInterval, time, log)
{
    protected override async Task<Swept> RepairAsync(CancellationToken ct) => Swept.Of(await sweeps.EndOverdueAsync(ct), Sweeps.Batch);

    protected override void Report(int repaired) => log.LogWarning("Ended {Count} sessions that were past their deadline", repaired);
}

/// <summary>Sessions that wait for a worker but that nothing would wake.</summary>
public sealed class Strays(Sweeps sweeps, RelayOptions options, TimeProvider time, ILogger<Strays> log)
    : Sweep("strays", options.StrayInterval, time, log)
{
    protected override async Task<Swept> RepairAsync(CancellationToken ct) => Swept.Of(await sweeps.WakeStraysAsync(options.StrayInterval, ct), Sweeps.Batch);

    protected override void Report(int repaired) => log.LogError("{Count} sessions waited without an outbox row and got one; this should not happen", repaired);
}

/// <summary>Holds of living sessions live on.</summary>
public sealed class ExpiringHolds(Holds holds, RelayOptions options, TimeProvider time, ILogger<ExpiringHolds> log)
    : Sweep("expiring-holds", options.HoldInterval, time, log)
{
    protected override async Task<Swept> RepairAsync(CancellationToken ct) => Swept.Of(await holds.ExtendAsync(ct), Holds.Batch);

    protected override void Report(int repaired) => log.LogDebug("Extended {Count} holds", repaired);
}

/// <summary>Holds that outlived their session go back to the lots they came from.</summary>
public sealed class AbandonedHolds(Holds holds, RelayOptions options, TimeProvider time, ILogger<AbandonedHolds> log)
    : Sweep("abandoned-holds", options.AbandonedHoldInterval, time, log)
{
    protected override async Task<Swept> RepairAsync(CancellationToken ct)
    {
        var abandoned = await holds.ReleaseAbandonedAsync(ct);
        foreach (var session in abandoned)
        {
            log.LogError("The hold of {SessionId} outlived its session and was released; this should not happen", session);
        }

        return Swept.Of(abandoned.Count, Holds.Batch);
    }

    protected override void Report(int repaired) => log.LogError("Released {Count} abandoned holds", repaired);
}

/// <summary>What is left in overdue lots expires.</summary>
public sealed class OverdueLots(Holds holds, RelayOptions options, TimeProvider time, ILogger<OverdueLots> log)
    : Sweep("overdue-lots", options.OverdueLotInterval, time, log)
{
    protected override async Task<Swept> RepairAsync(CancellationToken ct) => Swept.Of(await holds.ExpireLotsAsync(ct), Holds.Batch);

    protected override void Report(int repaired) => log.LogInformation("Expired the overdue lots of {Count} accounts", repaired);
}

/// <summary>Callbacks that have nothing left to say are booked.</summary>
public sealed class UnbookedCallbacks(WebhookInbox inbox, RelayOptions options, TimeProvider time, ILogger<UnbookedCallbacks> log)
    : Sweep("unbooked-callbacks", options.CallbackInterval, time, log)
{
    protected override async Task<Swept> RepairAsync(CancellationToken ct) => Swept.Of(await inbox.BookAsync(ct), WebhookInbox.Batch);

    protected override void Report(int repaired) => log.LogInformation("Booked {Count} callbacks of tasks that had ended without them", repaired);
}

/// <summary>Old error events, callbacks and outbox rows that were set aside are forgotten.</summary>
public sealed class OldRows(Sweeps sweeps, RelayOptions options, TimeProvider time, ILogger<OldRows> log)
    : Sweep("old-rows", options.OldRowInterval, time, log)
{
    protected override async Task<Swept> RepairAsync(CancellationToken ct)
    {
        var (forgotten, isMore) = await sweeps.ForgetAsync(options.ErrorEventsKept, ct);
        return new(forgotten, isMore);
    }

    protected override void Report(int repaired) => log.LogInformation("Forgot {Count} old rows", repaired);
}
