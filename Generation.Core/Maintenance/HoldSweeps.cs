using Generation.Core.Credits;
using Generation.Core.Database;
using Npgsql;

namespace Generation.Core.Maintenance;

/// <summary>
/// How long holds and lots live. A hold lives as long as its work: it has a time to live that is extended while its session is not over,
/// so that what nobody extends comes back by itself. Each sweep takes a bounded batch, skips what is locked, may run in several relays
/// at once, and answers how many it found.
/// </summary>
public sealed class HoldSweeps(NpgsqlDataSource database)
{
    public const int Batch = 1_000;

    /// <summary>Of a hold; submit.sql starts with the same.</summary>
    private static readonly TimeSpan TimeToLive = TimeSpan.FromHours(1);

    /// <summary>Extends what has less than half of its time left: queued for hours, awaiting a provider, processing.</summary>
    public async Task<int> ExtendAsync(CancellationToken ct)
    {
        await using var command = database.CreateCommand(Sql.Text("Maintenance/extend_holds.sql"));
        command.Parameters.AddWithValue(TimeToLive);
        command.Parameters.AddWithValue(Batch);
        return await command.ExecuteNonQueryAsync(ct);
    }

    /// <summary>Releases overdue holds whose session is over; never one whose session lives, however overdue. Their sessions.</summary>
    public async Task<IReadOnlyList<Guid>> ReleaseAbandonedAsync(CancellationToken ct)
    {
        await using var batch = database.CreateBatch();
        batch.BatchCommands.Add(new NpgsqlBatchCommand(Sql.Text("Maintenance/lock_abandoned.sql")) { Parameters = { new() { Value = Batch } } });
        batch.BatchCommands.Add(new NpgsqlBatchCommand(Sql.Text("Maintenance/lock_abandoned_accounts.sql")));
        batch.BatchCommands.Add(new NpgsqlBatchCommand(Sql.Text("Maintenance/release_abandoned.sql")));
        var released = new List<Guid>();
        await using var reader = await batch.ExecuteReaderAsync(ct);
        await reader.SkipResultsAsync(2, ct);
        while (await reader.ReadAsync(ct))
        {
            released.Add(reader.GetGuid(0));
        }

        return released;
    }

    /// <summary>
    /// Expires what is left in overdue lots. (The submit path does so for whoever submits; this is for everybody else, so that a balance
    /// does not promise what is gone.) How many accounts had some.
    /// </summary>
    public async Task<int> ExpireLotsAsync(CancellationToken ct)
    {
        await using var batch = database.CreateBatch();
        batch.BatchCommands.Add(new NpgsqlBatchCommand(Sql.Text("Maintenance/lock_overdue.sql")) { Parameters = { new() { Value = Batch } } });
        batch.BatchCommands.Add(LotExpiry.Command());
        await using var reader = await batch.ExecuteReaderAsync(ct);
        await reader.ReadAsync(ct);
        var accounts = (int)reader.GetInt64(1);
        await reader.NextResultAsync(ct); // what fails there is thrown here
        return accounts;
    }
}
