using Generation.Core.Credits;
using Generation.Core.Database;
using Generation.Core.Sessions;
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
        const string sweep = "expiring-holds";
        var expiring = await SweepIsolation.FindAsync(
            database,
            $"""
            SELECT v.session_id
            FROM credit_reservations AS v
            JOIN generation_sessions AS s USING (session_id)
            WHERE v.status = 'held' AND v.expires_at < now() + $1 / 2 AND s.completed_at IS NULL
              AND {SweepIsolation.NotFailed(sweep, "v.session_id")}
            ORDER BY v.expires_at
            LIMIT {Batch}
            """,
            ct, TimeToLive);
        return await SweepIsolation.RunAsync(database, sweep, expiring, async ids =>
        {
            await using var command = database.CreateCommand(Sql.Text("Maintenance/extend_holds.sql"));
            command.Parameters.AddWithValue(TimeToLive);
            command.Parameters.AddWithValue(ids);
            return await command.ExecuteNonQueryAsync(ct);
        }, ct);
    }

    /// <summary>Releases overdue holds whose session is over; never one whose session lives, however overdue. Their sessions.</summary>
    public async Task<IReadOnlyList<Guid>> ReleaseAbandonedAsync(CancellationToken ct)
    {
        const string sweep = "abandoned-holds";
        var abandoned = await SweepIsolation.FindAsync(
            database,
            $"""
            SELECT s.session_id
            FROM credit_reservations AS v
            JOIN generation_sessions AS s USING (session_id)
            WHERE v.status = 'held' AND v.expires_at <= now() AND s.completed_at IS NOT NULL
              AND {SweepIsolation.NotFailed(sweep, "s.session_id")}
            ORDER BY v.expires_at
            LIMIT {Batch}
            """,
            ct);
        var released = new List<Guid>();
        await SweepIsolation.RunAsync(database, sweep, abandoned, async ids =>
        {
            await using var batch = database.CreateBatch();
            batch.BatchCommands.Add(new NpgsqlBatchCommand(Sql.Text("Maintenance/lock_abandoned.sql")) { Parameters = { new() { Value = ids } } });
            batch.BatchCommands.Add(SessionLocks.Accounts());
            batch.BatchCommands.Add(new NpgsqlBatchCommand(Sql.Text("Maintenance/release_abandoned.sql")));
            var some = new List<Guid>();
            await using var reader = await batch.ExecuteReaderAsync(ct);
            await reader.SkipResultsAsync(2, ct);
            while (await reader.ReadAsync(ct))
            {
                some.Add(reader.GetGuid(0));
            }

            await reader.FinishAsync(ct);
            released.AddRange(some);
            return some.Count;
        }, ct);
        return released;
    }

    /// <summary>
    /// Expires what is left in overdue lots. (The submit path does so for whoever submits; this is for everybody else, so that a balance
    /// does not promise what is gone.) How many accounts had some.
    /// </summary>
    public async Task<int> ExpireLotsAsync(CancellationToken ct)
    {
        const string sweep = "overdue-lots";
        var overdue = await SweepIsolation.FindAsync(
            database,
            $"""
            SELECT DISTINCT user_id
            FROM (
                SELECT l.user_id
                FROM credit_lots AS l
                WHERE l.drawable AND l.expires_at <= now() AND {SweepIsolation.NotFailed(sweep, "l.user_id")}
                ORDER BY l.expires_at
                LIMIT {Batch}
            ) AS lot
            """,
            ct);
        return await SweepIsolation.RunAsync(database, sweep, overdue, async ids =>
        {
            await using var batch = database.CreateBatch();
            batch.BatchCommands.Add(new NpgsqlBatchCommand(Sql.Text("Maintenance/lock_overdue.sql")) { Parameters = { new() { Value = ids } } });
            batch.BatchCommands.Add(LotExpiry.Command());
            await using var reader = await batch.ExecuteReaderAsync(ct);
            await reader.ReadAsync(ct);
            var accounts = (int)reader.GetInt64(1);
            await reader.FinishAsync(ct); // what fails there is thrown here
            return accounts;
        }, ct);
    }
}
