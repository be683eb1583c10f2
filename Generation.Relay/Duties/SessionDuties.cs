using Generation.Core.Sessions;

namespace Generation.Relay.Duties;

/// <summary>Sessions of dead workers go back into the queue.</summary>
public sealed class DeadLeases(Sweeps sweeps, RelayOptions options, TimeProvider time, ILogger<DeadLeases> log)
    : Duty(options.DeadLeaseInterval, time, log)
{
    public override async Task<bool> RunOnceAsync(CancellationToken ct)
    {
        var mended = await sweeps.RevokeDeadLeasesAsync(ct);
        if (mended > 0)
        {
            log.LogWarning("Took {Count} sessions from workers that stopped renewing their leases", mended);
        }

        return mended >= Sweeps.Batch;
    }
}

/// <summary>Jobs that hang are taken from the worker that holds them.</summary>
public sealed class StuckJobs(Sweeps sweeps, RelayOptions options, TimeProvider time, ILogger<StuckJobs> log)
    : Duty(options.StuckInterval, time, log)
{
    public override async Task<bool> RunOnceAsync(CancellationToken ct)
    {
        var taken = await sweeps.RevokeStuckAsync(options.StuckAfter, ct);
        if (taken > 0)
        {
            log.LogError("Took {Count} sessions from workers that held them without progress for {Time} (Relay:StuckAfter)", taken, options.StuckAfter);
        }

        return taken >= Sweeps.Batch;
    }
}

/// <summary>Sessions past their deadline end.</summary>
public sealed class Deadlines(Sweeps sweeps, RelayOptions options, TimeProvider time, ILogger<Deadlines> log)
    : Duty(options.DeadlineInterval, time, log)
{
    public override async Task<bool> RunOnceAsync(CancellationToken ct)
    {
        var ended = await sweeps.EndOverdueAsync(ct);
        if (ended > 0)
        {
            log.LogWarning("Ended {Count} sessions that were past their deadline", ended);
        }

        return ended >= Sweeps.Batch;
    }
}

/// <summary>Sessions that wait for a worker but that nothing would wake.</summary>
public sealed class Strays(Sweeps sweeps, RelayOptions options, TimeProvider time, ILogger<Strays> log)
    : Duty(options.StrayInterval, time, log)
{
    public override async Task<bool> RunOnceAsync(CancellationToken ct)
    {
        var woken = await sweeps.WakeStraysAsync(options.StrayInterval, ct);
        if (woken > 0)
        {
            log.LogError("{Count} sessions waited without an outbox row and got one; this should not happen", woken);
        }

        return woken >= Sweeps.Batch;
    }
}
