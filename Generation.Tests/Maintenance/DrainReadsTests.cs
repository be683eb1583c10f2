using Generation.Relay.Maintenance;
using Generation.Tests.Harness;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Time.Testing;
using Npgsql;

namespace Generation.Tests.Maintenance;

/// <summary>Every statement of the way of a job at once: a plan that reads what is none of its job's shows as rows read a job.</summary>
[Trait("tier", "slow")]
public sealed class DrainReadsTests
{
    private const int Users = 50;
    private const int Jobs = 5_000;

    /// <summary>
    /// Up to 115 of a table were seen, most of them of the index of a user's sessions, which serves as well as the key while there are none. With
    /// joins by a plain = it was 2,400 holds and 3,700 sessions and more, and the test took three times as long.
    /// </summary>
    private const int MaxRowsPerJob = 500;

    [Fact]
    public async Task A_system_that_made_its_plans_on_empty_tables_does_not_read_a_backlog_once_a_job()
    {
        await using var system = await TestSystem.StartAsync(o =>
        {
            o.Settings["Mock:Enabled"] = "true";
            o.Settings["Mock:UploadOutputs"] = "false";
            o.Settings["Mock:StageDelay"] = "00:00:00";
            o.Settings["Worker:Concurrency"] = "64";
            foreach (var sweep in new[] { "LostDispatch", "DeadLease", "Deadline", "Hold", "AbandonedHold", "OverdueLot" })
            {
                o.Settings[$"Relay:{sweep}Interval"] = "01:00:00"; // they read by the second, not by the job: the slower the machine, the more a job
            }

            // nor its first audit, a minute after the start
            o.Relay = services => services.Replace(ServiceDescriptor.Singleton(
                s => ActivatorUtilities.CreateInstance<LedgerAuditService>(s, new FakeTimeProvider())));
        });
        foreach (var table in (await RowsReadAsync(system.Db)).Keys)
        {
            await system.ExecuteAsync($"ALTER TABLE \"{table}\" SET (autovacuum_enabled = false)"); // its look at the tables would make new plans
        }

        await system.ExecuteAsync("VACUUM"); // all empty, and known to be: what makes the worst plans there are
        await FillAsync(system.Db, "users.sql", Users);
        for (var i = 1; i <= 40; i++)
        {
            await system.EndOfAsync(await system.SubmitAsync($"plan {i}"));
        }

        await FillAsync(system.Db, "queued.sql", 0L, (long)Jobs, Users);
        var before = await RowsReadAsync(system.Db);
        await UntilAllAreCompletedAsync(system);
        var perJob = (await RowsReadAsync(system.Db)).ToDictionary(t => t.Key, t => (t.Value - before[t.Key]) / Jobs);

        Assert.All(perJob, table => Assert.InRange(table.Value, 0, MaxRowsPerJob));
        Assert.True(perJob["generation_sessions"] > 3, "Nothing was counted."); // claimed, stored and ended, at least
        await system.AssertBooksAreCleanAsync();
    }

    /// <summary>By the log: a question to the database would count itself.</summary>
    private static async Task UntilAllAreCompletedAsync(TestSystem system)
    {
        var started = TimeProvider.System.GetTimestamp();
        while (system.Workers[0].Log.Count(line => line.Contains("completed.mock", StringComparison.Ordinal)) < 40 + Jobs)
        {
            Assert.True(TimeProvider.System.GetElapsedTime(started) < TimeSpan.FromMinutes(2), system.Logs());
            await Task.Delay(TimeSpan.FromMilliseconds(200), TimeProvider.System, CancellationToken.None);
        }
    }

    private static async Task FillAsync(NpgsqlDataSource db, string resource, params object[] parameters)
    {
        using var text = new StreamReader(typeof(DrainReadsTests).Assembly.GetManifestResourceStream(resource)!);
        await using var command = db.CreateCommand(await text.ReadToEndAsync());
        foreach (var value in parameters)
        {
            command.Parameters.AddWithValue(value);
        }

        await command.ExecuteNonQueryAsync();
    }

    /// <summary>
    /// By table, so far, in sequence and by every index. A busy connection tells once a second what it has read, an idle one after ten.
    /// </summary>
    private static async Task<Dictionary<string, long>> RowsReadAsync(NpgsqlDataSource db)
    {
        await Task.Delay(TimeSpan.FromSeconds(1.5), TimeProvider.System, CancellationToken.None);
        var read = new Dictionary<string, long>(StringComparer.Ordinal);
        await using var command = db.CreateCommand(
            """
            SELECT t.relname::text, t.seq_tup_read + coalesce((SELECT sum(i.idx_tup_read) FROM pg_stat_user_indexes AS i WHERE i.relid = t.relid),
                0)::bigint
            FROM pg_stat_user_tables AS t
            """);
        await using var reader = await command.ExecuteReaderAsync();
        while (await reader.ReadAsync())
        {
            read.Add(reader.GetString(0), reader.GetInt64(1));
        }

        return read;
    }
}
