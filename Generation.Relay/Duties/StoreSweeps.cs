using Generation.Core.Media;
using Generation.Core.Sessions;

namespace Generation.Relay.Duties;

/// <summary>Reference pictures past their time go.</summary>
public sealed class OldUploads(Uploads uploads, SweepTurns turns, RelayOptions options, TimeProvider time, ILogger<OldUploads> log)
    : StoreSweep("old-uploads", options.UploadInterval, turns, time, log)
{
    protected override async Task<(int Repaired, bool IsMore, string Position)> RepairAsync(string position, CancellationToken ct)
    {
        var removed = await uploads.SweepAsync(ct);
        return (removed, removed >= Uploads.Batch, position);
    }

    protected override void Report(int repaired) => log.LogInformation("Removed {Count} old uploads", repaired);
}

/// <summary>Transfers into the store that never ended: their parts are billed and seen by nobody.</summary>
public sealed class UnfinishedTransfers(IMediaStore store, SweepTurns turns, RelayOptions options, TimeProvider time, ILogger<UnfinishedTransfers> log)
    : StoreSweep("unfinished-transfers", options.TransferInterval, turns, time, log)
{
    protected override async Task<(int Repaired, bool IsMore, string Position)> RepairAsync(string position, CancellationToken ct) =>
        (await store.SweepUnfinishedAsync(options.TransferAge, ct), false, position);

    protected override void Report(int repaired) => log.LogWarning("Threw {Count} transfers away that had not ended in {Age} (Relay:TransferAge)", repaired, options.TransferAge);
}

/// <summary>Objects without a row, of sessions that ended with more than one holder or not well: looked for soon.</summary>
public sealed class OrphanedObjects(Leftovers leftovers, SweepTurns turns, RelayOptions options, TimeProvider time, ILogger<OrphanedObjects> log)
    : StoreSweep("orphaned-objects", options.OrphanInterval, turns, time, log)
{
    protected override async Task<(int Repaired, bool IsMore, string Position)> RepairAsync(string position, CancellationToken ct)
    {
        var pass = await leftovers.SweepEndedAsync(position, options.OrphanAge, ct);
        return (pass.Removed, pass.IsMore, pass.Position);
    }

    protected override void Report(int repaired) => log.LogInformation("Removed {Count} objects that no row refers to", repaired);
}

/// <summary>Objects without a row that nobody suspects: found by a slow walk over everything that is stored.</summary>
public sealed class ForgottenObjects(Leftovers leftovers, SweepTurns turns, RelayOptions options, TimeProvider time, ILogger<ForgottenObjects> log)
    : StoreSweep("forgotten-objects", options.WalkInterval, turns, time, log)
{
    protected override async Task<(int Repaired, bool IsMore, string Position)> RepairAsync(string position, CancellationToken ct)
    {
        var pass = await leftovers.WalkAsync(position, options.OrphanAge, options.UnknownObjectAge, ct);
        return (pass.Removed, pass.IsMore, pass.Position);
    }

    protected override void Report(int repaired) => log.LogInformation("Removed {Count} forgotten objects", repaired);
}
