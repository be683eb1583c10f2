using Generation.Core.Catalog;
using Generation.Core.Database;
using Generation.LocalServers;

namespace Generation.Tests.Harness;

/// <summary>A PostgreSQL server of a test's own, to restart, kill and fill as it likes. What it has committed survives a kill.</summary>
public sealed class OwnPostgres : IAsyncDisposable
{
    private const string Database = "trouble";
    private static readonly TimeSpan Grace = TimeSpan.FromSeconds(20);

    private readonly PostgresProcess process;

    private OwnPostgres(PostgresProcess process) => this.process = process;

    public int Port => process.Port;

    /// <summary>Of its one database, as its superuser. It stays the same when the server is restarted.</summary>
    public string ConnectionString => process.ConnectionString(Database);

    /// <summary>Starts a server with the schema, and no reserve of connections for superusers (which tests act as).</summary>
    public static async Task<OwnPostgres> StartAsync(int maxConnections)
    {
        var started = new PostgresProcess(new PostgresOptions
        {
            Folder = TestServers.NewFolder("own-postgres"),
            RecordPath = TestServers.NewRecordPath("own-postgres"),
            IsEphemeral = true,
            ServerArguments = ["-c", $"max_connections={maxConnections}", "-c", "superuser_reserved_connections=0"],
        }, TimeProvider.System);
        await started.StartAsync(CancellationToken.None);
        await started.EnsureDatabaseAsync(Database, CancellationToken.None);
        var server = new OwnPostgres(started);
        await DatabaseMigrator.MigrateAsync(server.ConnectionString, CancellationToken.None);
        await DefaultPrice.InsertMissingAsync(server.ConnectionString, ModelRegistry.BuiltIn, CancellationToken.None);
        await ServiceLogins.EnsureAsync(server.ConnectionString, TestPostgres.LoginPasswords, CancellationToken.None);

        // A throw-away server keeps commits in its own memory for a moment. Written, they are safe from its death, if not from the machine's.
        await using var db = Npgsql.NpgsqlDataSource.Create(server.ConnectionString + ";Pooling=false");
        await using var command = db.CreateCommand($"ALTER DATABASE {Database} SET synchronous_commit = on");
        await command.ExecuteNonQueryAsync();
        return server;
    }

    /// <summary>Stops it in order: sessions are cut with a message.</summary>
    public Task StopAsync() => process.StopAsync(Grace, CancellationToken.None);

    /// <summary>kill -9 of the postmaster.</summary>
    public Task KillAsync() => process.KillAsync();

    /// <summary>After a stop or a kill: same port, same data.</summary>
    public Task StartAgainAsync() => process.StartAsync(CancellationToken.None);

    public async ValueTask DisposeAsync()
    {
        await process.StopAsync(Grace, CancellationToken.None);
        Directory.Delete(process.Folder, recursive: true);
    }
}
