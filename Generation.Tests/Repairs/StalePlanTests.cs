using Generation.Core.Database;
using Generation.Core.Sessions;
using Generation.Tests.Crashes;
using Generation.Tests.Harness;
using Npgsql;

namespace Generation.Tests.Repairs;

/// <summary>A plan is kept until the server has looked at the table again, a minute later at best: it must not be one for small tables.</summary>
public sealed class StalePlanTests
{
    private const int Backlog = 20_000;

    /// <summary>A plan from when the outbox was empty read all of it for every row that it marked: 190 ms a batch, and no relay could keep up.</summary>
    [Fact]
    public async Task A_relay_that_made_its_plans_on_an_empty_outbox_looks_up_the_rows_of_a_full_one()
    {
        await using var system = await TestSystem.StartAsync(o =>
        {
            o.Workers = 0;
            o.Settings["Relay:DispatchWindow"] = "1000000";
            o.Settings["Relay:LostDispatchInterval"] = "01:00:00";
        });
        await system.ExecuteAsync("ALTER TABLE outbox SET (autovacuum_enabled = false)"); // its look at the table would make a new plan
        using var queue = await ImageStream.OpenAsync(system);
        for (var i = 1; i <= 40; i++)
        {
            await system.SubmitAsync($"plan {i}"); // one at a time, each a dispatch
            await UntilQueuedAsync(i);
            await system.ExecuteAsync("DELETE FROM outbox WHERE dispatched_at IS NOT NULL");
        }

        await system.Db.AddUserAsync();
        await system.Db.AddBacklogAsync(Backlog, TimeSpan.FromHours(6));
        var before = await ReadInSequenceAsync();
        await UntilQueuedAsync(40 + Backlog);
        await system.UntilAsync($"SELECT n_tup_upd >= {Backlog} FROM pg_stat_user_tables WHERE relname = 'outbox'"); // the server has counted

        Assert.InRange(await ReadInSequenceAsync() - before, 0, Backlog);

        async Task UntilQueuedAsync(long messages)
        {
            var started = TimeProvider.System.GetTimestamp();
            while (await queue.LengthAsync() < messages)
            {
                Assert.True(TimeProvider.System.GetElapsedTime(started) < Killing.Patience, system.Logs());
                await Task.Delay(TimeSpan.FromMilliseconds(5), TimeProvider.System, CancellationToken.None);
            }
        }

        async Task<long> ReadInSequenceAsync() => await system.ScalarAsync<long>("SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'outbox'");
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
        var before = await ReadInSequenceAsync();
        await LookAsync();
        Assert.InRange(await ReadInSequenceAsync() - before, 0, Backlog / 2);

        async Task LookAsync()
        {
            Assert.Single(await sessions.ReadNewerAsync([watched], [0], CancellationToken.None));
            Assert.Empty(await sessions.ReadNewerAsync([watched], [1], CancellationToken.None));
            Assert.Single(await sessions.ReadAsync([watched], CancellationToken.None));
        }

        async Task<long> ReadInSequenceAsync()
        {
            await db.ExecuteAsync("SELECT pg_stat_force_next_flush()");
            return await db.ScalarAsync<long>("SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'generation_sessions'");
        }
    }
}
