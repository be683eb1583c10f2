using System.Text.Json.Nodes;
using Generation.Core.Database;
using Generation.Core.Maintenance;
using Generation.Tests.Harness;
using Npgsql;

namespace Generation.Tests.Maintenance;

/// <summary>
/// The outbox after many rows: what it takes on the disk, and what a dispatch has to read. Rows go the way that relay and worker send them
/// (in, dispatched, gone at the claim), and a relay's sweep looks at the table after every round; the server's own vacuum may come too.
/// Under <c>GENERATION_FULL=1</c> ten million of them.
/// </summary>
[Trait("tier", "slow")]
public sealed class OutboxBloatTests
{
    private const int RowsPerRound = 5_000;
    private const int Backlog = 2_000;

    [Fact]
    public async Task The_outbox_stays_small_and_a_dispatch_reads_as_little_as_before_however_many_rows_went_through()
    {
        var rows = FullTier.IsOn ? 10_000_000 : 150_000;
        TestPostgres.Migrate = connectionString => DatabaseMigrator.MigrateAsync(connectionString, CancellationToken.None);
        await using var database = await TestPostgres.CreateDatabaseAsync();
        await using var db = NpgsqlDataSource.Create(database.ConnectionString + ";Maximum Pool Size=1");
        await db.AddUserAsync();
        await db.AddBacklogAsync(Backlog, TimeSpan.FromHours(6));
        await db.ExecuteAsync("VACUUM ANALYZE outbox, generation_sessions");
        var fresh = await BuffersOfADispatchAsync(db);

        var (mostBuffers, mostBytes, vacuums) = (0L, 0L, 0);
        for (var passed = 0; passed < rows; passed += RowsPerRound)
        {
            await db.ExecuteAsync(
                $"""
                INSERT INTO outbox (event_type, lane, session_id, traceparent, rank)
                SELECT 'gen.seedream4', 'image', session_id, '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
                       (SELECT coalesce(max(rank), 0) FROM outbox) + row_number() OVER ()
                FROM generation_sessions, generate_series(1, {RowsPerRound / Backlog + 1})
                LIMIT {RowsPerRound}
                """);
            await db.ExecuteAsync(
                $"""
                UPDATE outbox SET dispatched_at = now(), message_id = '1760000000000-' || outbox_id
                WHERE outbox_id IN (SELECT outbox_id FROM outbox WHERE lane = 'image' AND dispatched_at IS NULL AND set_aside_at IS NULL
                                    ORDER BY rank, outbox_id LIMIT {RowsPerRound})
                """);
            await db.ExecuteAsync("DELETE FROM outbox WHERE dispatched_at IS NOT NULL");
            await db.ExecuteAsync("SELECT pg_stat_force_next_flush()"); // else the server counts a second later
            (mostBuffers, mostBytes) = (Math.Max(mostBuffers, await BuffersOfADispatchAsync(db)),
                Math.Max(mostBytes, await db.ScalarAsync<long>("SELECT pg_total_relation_size('outbox')")));
            vacuums += await OutboxVacuum.RunAsync(db, database.ConnectionString, default) > 0 ? 1 : 0;
        }

        TestContext.Current.TestOutputHelper?.WriteLine(
            $"{rows:N0} rows: at most {mostBytes / 1e6:0.0} MB, {mostBuffers} buffers a dispatch of 500 ({fresh} when new), {vacuums} vacuums of "
                + "ours");
        Assert.InRange(vacuums, 1, rows / RowsPerRound);
        Assert.InRange(mostBytes, 1, 40_000_000); // without a vacuum: half a kilobyte a row, 75 MB here and 5 GB after ten million
        Assert.InRange(mostBuffers, 1, 2 * fresh); // when the server counts late, a round or two more are dead
        Assert.Equal(Backlog, await db.ScalarAsync<long>("SELECT count(*) FROM outbox"));
    }

    /// <summary>Pages that the dispatcher's own statement touches to find the next 500 rows.</summary>
    private static async Task<long> BuffersOfADispatchAsync(NpgsqlDataSource db)
    {
        await using var connection = await db.OpenConnectionAsync();
        await using (var lane = new NpgsqlCommand(
            "SELECT set_config('generation.lane', 'image', false), set_config('generation.max_rank', 'Infinity', false)", connection))
        {
            await lane.ExecuteScalarAsync();
        }

        await using var command = new NpgsqlCommand("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + Sql.Text("Outbox/due.sql"), connection);
        command.Parameters.AddWithValue(500);
        var plan = JsonNode.Parse((string)(await command.ExecuteScalarAsync())!)![0]!["Plan"]!;
        Assert.Equal(500, (int)plan["Actual Rows"]!);
        return (long)plan["Shared Hit Blocks"]! + (long)plan["Shared Read Blocks"]!;
    }
}
