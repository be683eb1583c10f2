using Generation.Core;
using Generation.Core.Maintenance;
using Generation.Core.Media;

namespace Generation.Relay.Maintenance;

/// <summary>Removes reference pictures past their lifetime.</summary>
public sealed class OldUploadSweep(Uploads uploads, MaintenanceLease lease, RelayOptions options, TimeProvider time, ILogger<OldUploadSweep> log)
    : StoreSweep("old-uploads", options.UploadInterval, lease, time, log)
{
    protected override async Task<(int Count, bool HasMore, string Position)> SweepAsync(string position, CancellationToken ct)
    {
        var removed = await uploads.SweepAsync(ct);
        return (removed, removed >= Uploads.Batch, position);
    }

    protected override void Report(int count) => log.LogInformation(OperationEvents.Sweep, "Removed {Count} old uploads", count);
}

/// <summary>Aborts transfers into the store that did not complete: their parts are billed and visible to nobody.</summary>
public sealed class UnfinishedTransferSweep(IMediaStore store, MaintenanceLease lease, RelayOptions options, TimeProvider time,
    ILogger<UnfinishedTransferSweep> log)
    : StoreSweep("unfinished-transfers", options.TransferInterval, lease, time, log)
{
    protected override async Task<(int Count, bool HasMore, string Position)> SweepAsync(string position, CancellationToken ct) =>
        (await store.SweepUnfinishedAsync(options.TransferAge, ct), false, position);

    protected override void Report(int count) => log.LogWarning("Aborted {Count} transfers that did not complete within {Age} (Relay:TransferAge)",
        count, options.TransferAge);
}

/// <summary>Removes orphaned objects of sessions that failed or had more than one holder, soon after their end.</summary>
public sealed class OrphanedObjectSweep(OrphanedObjectCollector collector, MaintenanceLease lease, RelayOptions options, TimeProvider time,
    ILogger<OrphanedObjectSweep> log)
    : StoreSweep("orphaned-objects", options.OrphanInterval, lease, time, log)
{
    protected override async Task<(int Count, bool HasMore, string Position)> SweepAsync(string position, CancellationToken ct)
    {
        var pass = await collector.CollectEndedSessionsAsync(position, options.OrphanAge, ct);
        return (pass.Removed, pass.HasMore, pass.Position);
    }

    protected override void Report(int count) => log.LogInformation(OperationEvents.Sweep, "Removed {Count} orphaned objects of ended sessions",
        count);
}

/// <summary>Removes all other orphaned objects, by a slow scan of the whole store.</summary>
public sealed class ObjectStoreScan(OrphanedObjectCollector collector, MaintenanceLease lease, RelayOptions options, TimeProvider time,
    ILogger<ObjectStoreScan> log)
    : StoreSweep("forgotten-objects", options.WalkInterval, lease, time, log)
{
    protected override async Task<(int Count, bool HasMore, string Position)> SweepAsync(string position, CancellationToken ct)
    {
        var pass = await collector.ScanStoreAsync(position, options.OrphanAge, options.UnknownObjectAge, ct);
        return (pass.Removed, pass.HasMore, pass.Position);
    }

    protected override void Report(int count) => log.LogInformation(OperationEvents.Sweep,
        "Removed {Count} orphaned objects found by the scan of the store", count);
}
