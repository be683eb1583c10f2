using Generation.Core;
using Generation.Core.Maintenance;

namespace Generation.Relay.Maintenance;

/// <summary>Extends the holds of open sessions.</summary>
public sealed class ExpiringHoldSweep(HoldSweeps holds, RelayOptions options, TimeProvider time, ILogger<ExpiringHoldSweep> log)
    : Sweep("expiring-holds", options.HoldInterval, time, log)
{
    protected override async Task<SweepResult> SweepAsync(CancellationToken ct) => SweepResult.Of(await holds.ExtendAsync(ct), HoldSweeps.Batch);

    protected override void Report(int count) => log.LogDebug("Extended {Count} holds", count);
}

/// <summary>Releases holds that outlived their session to the lots they were drawn from.</summary>
public sealed class AbandonedHoldSweep(HoldSweeps holds, RelayOptions options, TimeProvider time, ILogger<AbandonedHoldSweep> log)
    : Sweep("abandoned-holds", options.AbandonedHoldInterval, time, log)
{
    protected override async Task<SweepResult> SweepAsync(CancellationToken ct)
    {
        var abandoned = await holds.ReleaseAbandonedAsync(ct);
        foreach (var session in abandoned)
        {
            log.LogError("The hold of {SessionId} outlived its session and was released; this should not happen", session);
        }

        return SweepResult.Of(abandoned.Count, HoldSweeps.Batch);
    }

    protected override void Report(int count) => log.LogError("Released {Count} abandoned holds", count);
}

/// <summary>Expires what is left in overdue lots.</summary>
public sealed class OverdueLotSweep(HoldSweeps holds, RelayOptions options, TimeProvider time, ILogger<OverdueLotSweep> log)
    : Sweep("overdue-lots", options.OverdueLotInterval, time, log)
{
    protected override async Task<SweepResult> SweepAsync(CancellationToken ct) => SweepResult.Of(await holds.ExpireLotsAsync(ct), HoldSweeps.Batch);

    protected override void Report(int count) => log.LogInformation(OperationEvents.Sweep, "Expired the overdue lots of {Count} accounts", count);
}
