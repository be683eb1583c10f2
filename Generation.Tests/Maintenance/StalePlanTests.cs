using Generation.Core.Database;
using Generation.Core.Outbox;
using Generation.Core.Queue;
using Generation.Core.Realtime;
using Generation.Core.Sessions;
using Generation.Tests.Credits;
using Generation.Tests.Harness;
using Generation.Tests.Outbox;
using Generation.Tests.Resilience;
using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;

namespace Generation.Tests.Maintenance;

/// <summary>A plan is kept until the server has looked at the table again, a minute later at best: it must not be one for small tables.</summary>
[Trait("tier", "slow")]
public sealed class StalePlanTests
{
    private const int Backlog = 20_000;

    /// <summary>
    /// A plan from when the outbox was empty read all of it for every row that it marked: 190 ms a batch, and no relay could keep up.
    /// </summary>
    [Fact]
    public async Task A_relay_that_made_its_plans_on_an_empty_outbox_looks_up_the_rows_of_a_full_one()
    {
        await using var system = await TestSystem.StartAsync(o =>
        {
            o.Workers = 0;
            o.Settings["Relay:DispatchWindow"] = "1000000";
            o.Settings["Relay:LostDispatchInterval"] = "01:00:00";
        });
        await system.Db.AddUserAsync();
        await EmptyOutboxAsync(system.Db);
        using var queue = await ImageStream.OpenAsync(system);
        for (var i = 1; i <= 40; i++)
        {
            await system.SubmitAsync($"plan {i}"); // one at a time, each a dispatch
            await UntilQueuedAsync(i);
            await system.ExecuteAsync("DELETE FROM outbox WHERE dispatched_at IS NOT NULL");
        }

        await system.Db.AddBacklogAsync(Backlog, TimeSpan.FromHours(6));
        var before = await ReadFromAsync(system.Db, "outbox");
        await UntilQueuedAsync(40 + Backlog);
        await system.UntilAsync($"SELECT n_tup_upd >= {Backlog} FROM pg_stat_user_tables WHERE relname = 'outbox'"); // the server has counted

        // A batch of 500 read 10 million before. What was dispatched a moment ago may still stand in the index: up to half the backlog, 40 times.
        Assert.InRange(await ReadFromAsync(system.Db, "outbox") - before, Backlog, 30 * Backlog);

        async Task UntilQueuedAsync(long messages)
        {
            var started = TimeProvider.System.GetTimestamp();
            while (await queue.LengthAsync() < messages)
            {
                Assert.True(TimeProvider.System.GetElapsedTime(started) < Killing.MaxWait, system.Logs());
                await Task.Delay(TimeSpan.FromMilliseconds(5), TimeProvider.System, CancellationToken.None);
            }
        }
    }

    /// <summary>Its plan sorted all that waits, and made a message of each, for every batch: 16 ms for 150 rows.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_dispatch_whose_plan_is_from_an_empty_outbox_reads_only_its_batch_of_a_backlog(bool keepsPages)
    {
        const int Batch = 500;
        TestPostgres.Migrate = connectionString => DatabaseMigrator.MigrateAsync(connectionString, CancellationToken.None);
        await using var database = await TestPostgres.CreateDatabaseAsync();
        await using var db = NpgsqlDataSource.Create(database.ConnectionString + ";Maximum Pool Size=1;Max Auto Prepare=64");
        await db.AddUserAsync();
        await EmptyOutboxAsync(db, keepsPages);
        var relay = new OutboxDispatcher(db, new RecordingQueue(), new QueueOptions(), TimeProvider.System, NullLogger<OutboxDispatcher>.Instance);
        for (var i = 0; i < 20; i++) Assert.Equal(0, (await relay.DispatchAsync("image", Batch, Backlog, CancellationToken.None)).Published);

        await db.AddBacklogAsync(Backlog, TimeSpan.FromHours(6));
        var before = await ReadFromAsync(db, "outbox");
        Assert.Equal(Batch, (await relay.DispatchAsync("image", Batch, Backlog, CancellationToken.None)).Published);
        Assert.InRange(await ReadFromAsync(db, "outbox") - before, Batch, 8 * Batch);
    }

    /// <summary>
    /// Three plans that read what is none of theirs: the whole outbox for every claimed row, all open sessions for every claim, all leases for
    /// every output. A drain of 20,000 jobs fell to 411 a second with the first of them.
    /// </summary>
    [Fact]
    public async Task A_worker_that_made_its_plans_without_a_backlog_reads_only_its_own_rows_of_one()
    {
        const int Batch = 64;
        TestPostgres.Migrate = connectionString => DatabaseMigrator.MigrateAsync(connectionString, CancellationToken.None);
        await using var database = await TestPostgres.CreateDatabaseAsync();
        await using var db = NpgsqlDataSource.Create(database.ConnectionString + ";Maximum Pool Size=1;Max Auto Prepare=64");
        await db.AddUserAsync();
        await EmptyOutboxAsync(db);
        await db.ExecuteAsync("ALTER TABLE generation_sessions SET (autovacuum_enabled = false)");
        using var notifier = new ChangeNotifier(db, NullLogger<ChangeNotifier>.Instance);
        var leases = new Leases(db, notifier, TimeProvider.System);
        await db.AddBacklogAsync(2_000, TimeSpan.FromHours(1));
        await db.ExecuteAsync("UPDATE generation_sessions SET status = 'canceled', phase = 'canceled', captured_credits = 0, completed_at = now(), "
            + "client_key = 'old ' || client_key");
        await db.ExecuteAsync("DELETE FROM outbox; ANALYZE generation_sessions"); // none is open, none has a lease
        await db.AddBacklogAsync(20, TimeSpan.FromHours(1));
        foreach (var few in (await WaitingAsync(20)).Chunk(1)) Assert.NotNull(await StoreAsync(Assert.Single(await ClaimAsync(few))));

        await db.ExecuteAsync("DELETE FROM outbox; UPDATE generation_sessions SET client_key = 'few ' || client_key WHERE client_key LIKE "
            + "'backlog%'");
        await db.AddBacklogAsync(Backlog, TimeSpan.FromHours(6));
        var waiting = (await WaitingAsync(1_000)).Chunk(Batch).ToList();
        var before = (Outbox: await ReadFromAsync(db, "outbox"), Sessions: await ReadFromAsync(db, "generation_sessions"));
        var claimed = await ClaimAsync(waiting[0]);
        Assert.Equal(Batch, claimed.Count);
        Assert.InRange(await ReadFromAsync(db, "outbox") - before.Outbox, Batch, 20 * Batch);
        Assert.InRange(await ReadFromAsync(db, "generation_sessions") - before.Sessions, Batch, 20 * Batch);

        foreach (var others in waiting.Skip(1)) await ClaimAsync(others);
        before.Sessions = await ReadFromAsync(db, "generation_sessions");
        Assert.DoesNotContain(null, await Task.WhenAll(claimed.Select(StoreAsync)));
        Assert.InRange(await ReadFromAsync(db, "generation_sessions") - before.Sessions, Batch, 20 * Batch);

        async Task<(Guid SessionId, long OutboxId)[]> WaitingAsync(int count)
        {
            await using var command = db.CreateCommand("SELECT session_id, outbox_id FROM outbox ORDER BY outbox_id LIMIT $1");
            command.Parameters.AddWithValue(count);
            var rows = new List<(Guid, long)>();
            await using var reader = await command.ExecuteReaderAsync();
            while (await reader.ReadAsync()) rows.Add((reader.GetGuid(0), reader.GetInt64(1)));
            return [.. rows];
        }

        async Task<IReadOnlyList<ClaimedSession>> ClaimAsync((Guid SessionId, long OutboxId)[] which) =>
            (await leases.ClaimAsync([.. which.Select(w => w.SessionId)], [.. which.Select(w => w.OutboxId)], "worker", TimeSpan.FromMinutes(5),
                CancellationToken.None)).Sessions;

        Task<Stored?> StoreAsync(ClaimedSession session) => leases.StoreMediaAsync(LedgerDatabase.OutputOf(session, 0), CancellationToken.None);
    }

    /// <summary>An outbox that has been full and is empty now: to the planner it has no row at all.</summary>
    /// <param name="db">Whose.</param>
    /// <param name="keepsPages">As <c>OutboxVacuum</c> leaves it, and not as the server's own vacuum does.</param>
    private static async Task EmptyOutboxAsync(NpgsqlDataSource db, bool keepsPages = true)
    {
        await db.ExecuteAsync("ALTER TABLE outbox SET (autovacuum_enabled = false)"); // its look at the table would make new plans
        await db.AddBacklogAsync(2_000, TimeSpan.FromHours(1));
        await db.ExecuteAsync("DELETE FROM outbox; DELETE FROM generation_sessions");
        await db.ExecuteAsync($"VACUUM (TRUNCATE {!keepsPages}) outbox");
    }

    /// <summary>Rows read from a table so far, in sequence or by an index.</summary>
    private static async Task<long> ReadFromAsync(NpgsqlDataSource db, string table)
    {
        await db.ExecuteAsync("SELECT pg_stat_force_next_flush()");
        return await db.ScalarAsync<long>(
            $"""
            SELECT (SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = '{table}')
                   + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname = '{table}')::bigint
            """);
    }

    [Fact]
    public async Task A_feed_that_made_its_plan_on_few_sessions_looks_up_its_own_among_many()
    {
        TestPostgres.Migrate = connectionString => DatabaseMigrator.MigrateAsync(connectionString, CancellationToken.None);
        await using var database = await TestPostgres.CreateDatabaseAsync();
        await using var db = NpgsqlDataSource.Create(database.ConnectionString + ";Maximum Pool Size=1;Max Auto Prepare=64");
        await db.ExecuteAsync("ALTER TABLE generation_sessions SET (autovacuum_enabled = false)");
        await db.AddUserAsync();
        await db.AddBacklogAsync(10, TimeSpan.FromHours(1));
        await db.ExecuteAsync("UPDATE generation_sessions SET client_key = 'few ' || client_key");
        var watched = await db.ScalarAsync<Guid>("SELECT session_id FROM generation_sessions LIMIT 1");
        var sessions = new SessionReader(db, TimeProvider.System);
        for (var i = 0; i < 20; i++) await LookAsync();

        await db.AddBacklogAsync(Backlog, TimeSpan.FromHours(6));
        var before = await ReadFromAsync(db, "generation_sessions");
        await LookAsync();
        Assert.InRange(await ReadFromAsync(db, "generation_sessions") - before, 0, Backlog / 2);

        async Task LookAsync()
        {
            Assert.Single(await sessions.ReadNewerAsync([watched], [0], CancellationToken.None));
            Assert.Empty(await sessions.ReadNewerAsync([watched], [1], CancellationToken.None));
            Assert.Single(await sessions.ReadAsync([watched], CancellationToken.None));
        }
    }
}
