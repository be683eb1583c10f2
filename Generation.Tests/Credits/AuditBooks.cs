using Generation.Core.Credits;
using Generation.Tests.Harness;
using Npgsql;

namespace Generation.Tests.Credits;

/// <summary>
/// A database with everything that the books may hold, made by the services themselves: sessions completed, completed in part, failed,
/// canceled and waiting; lots bought, granted, expired and taken back; two users. Every test gets a copy to break. The CHECKs are gone in it,
/// as a superuser may have dropped them: what they refuse the audit must find too.
/// </summary>
internal static class AuditBooks
{
    private static readonly Lazy<Task<string>> Original = new(MakeAsync);

    public static async Task<BrokenBooks> CopyAsync() => new(await TestPostgres.CreateDatabaseAsync(await Original.Value));

    private static async Task<string> MakeAsync()
    {
        await using var system = await TestSystem.StartAsync(o => o.Workers = 0);
        var canceled = await system.SubmitAsync("nobody takes it");
        using (var answer = await system.Http.PostAsync($"/api/generations/{canceled}/cancel", null))
        {
            Assert.True(answer.IsSuccessStatusCode);
        }

        var worker = await system.AddWorkerAsync();
        var ended = await Task.WhenAll(
            system.SubmitAsync("two lighthouses", n: 2), system.SubmitAsync("one lighthouse"),
            system.SubmitAsync("one of two [fault=image-error:times=1]", n: 2), system.SubmitAsync("refused [fault=moderation-input]"));
        var states = await Task.WhenAll(ended.Select(async id => (await system.EndOfAsync(id))["status"]!.GetValue<string>()));
        Assert.Equal(["completed", "completed", "completed", "failed"], states);
        await worker.DisposeAsync();
        await system.SubmitAsync("it waits", n: 3);

        var other = await system.AddUserAsync("other", 100, "admin");
        var administration = new CreditAdministration(system.Db, TimeProvider.System);
        Assert.Equal(AdminActionOutcome.Done, (
            await administration.GrantAsync(AdminCommand("overdue"), 50, "bonus", 100, TimeProvider.System.GetUtcNow().AddSeconds(-1),
            default)).Outcome);
        Assert.Equal(AdminActionOutcome.Done, (await administration.AdjustAsync(AdminCommand("more"), 20, default)).Outcome);
        Assert.Equal(AdminActionOutcome.Done, (await administration.AdjustAsync(AdminCommand("less"), -10, default)).Outcome);
        Assert.Equal(AdminActionOutcome.Done, (await administration.FreezeAsync(AdminCommand("frozen"), true, default)).Outcome);
        await system.AssertBooksAreCleanAsync();

        await Task.WhenAll(system.Apis.Concat(system.Relays).Select(service => service.DisposeAsync().AsTask()));
        await system.ExecuteAsync(
            """
            DO $$
            DECLARE found record;
            BEGIN
                FOR found IN SELECT conrelid::regclass AS owner, conname FROM pg_constraint WHERE contype = 'c'
                    AND connamespace = 'public'::regnamespace LOOP
                    EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', found.owner, found.conname);
                END LOOP;
            END $$
            """);
        var name = (await system.ScalarAsync<string>("SELECT current_database()::text"))!;
        await system.Db.DisposeAsync();
        NpgsqlConnection.ClearAllPools();
        return (await TestPostgres.CreateDatabaseAsync(name)).Name;

        AdminAction AdminCommand(string key) => new(key, new byte[32], other.UserId, system.UserId, "for the audit");
    }
}

/// <summary>A copy of the books, and ways to break it.</summary>
internal sealed class BrokenBooks(TestDatabase database) : IAsyncDisposable
{
    public NpgsqlDataSource Db { get; } = NpgsqlDataSource.Create(database.ConnectionString);

    public string ConnectionString => database.ConnectionString;

    /// <summary>One statement as superuser, past foreign keys and triggers. Its rows' first column.</summary>
    public async Task<List<string>> BreakAsync(string sql)
    {
        await using var connection = await Db.OpenConnectionAsync();
        await using var transaction = await connection.BeginTransactionAsync();
        await using (var past = new NpgsqlCommand("SET LOCAL session_replication_role = replica", connection))
        {
            await past.ExecuteNonQueryAsync();
        }

        var ids = new List<string>();
        await using (var command = new NpgsqlCommand(sql, connection))
        await using (var reader = await command.ExecuteReaderAsync())
        {
            while (await reader.ReadAsync())
            {
                ids.Add(reader.GetValue(0).ToString()!);
            }
        }

        await transaction.CommitAsync();
        return ids;
    }

    public async ValueTask DisposeAsync()
    {
        await Db.DisposeAsync();
        await database.DisposeAsync();
    }
}
