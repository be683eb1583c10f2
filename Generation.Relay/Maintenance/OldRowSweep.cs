using Generation.Core;
using Generation.Core.Maintenance;
using Generation.Core.Webhooks;

namespace Generation.Relay.Maintenance;

/// <summary>Books callbacks whose task or session has ended without them.</summary>
public sealed class UnbookedCallbackSweep(WebhookInbox inbox, RelayOptions options, TimeProvider time, ILogger<UnbookedCallbackSweep> log)
    : Sweep("unbooked-callbacks", options.CallbackInterval, time, log)
{
    protected override async Task<SweepResult> SweepAsync(CancellationToken ct) => SweepResult.Of(await inbox.BookAsync(ct), WebhookInbox.Batch);

    protected override void Report(int count) => log.LogInformation(OperationEvents.Sweep,
        "Booked {Count} callbacks of tasks that had ended without them", count);
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
