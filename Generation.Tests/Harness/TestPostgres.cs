using Generation.Core.Catalog;
using Generation.Core.Database;
using Generation.LocalServers;
using Npgsql;

namespace Generation.Tests.Harness;

/// <summary>One throw-away PostgreSQL cluster for the whole run, and a fresh database for each test that wants one.</summary>
public static class TestPostgres
{
    private const string TemplateName = "generation_template";
    private static readonly Lock Gate = new();
    private static Task<PostgresProcess>? server;
    private static Task? template;

    /// <summary>
    /// Makes the template that databases are copied from: gets the connection string of an empty database, and must leave no
    /// connection open. Set it before the first database is created.
    /// </summary>
    public static Func<string, Task> Migrate { get; set; } = connectionString =>
        DatabaseMigrator.MigrateAsync(connectionString, CancellationToken.None);

    /// <summary>Of all logins of the services. Roles belong to the cluster, so tests share them.</summary>
    public const string LoginPassword = "only-for-tests-1234";

    public static IReadOnlyDictionary<string, string> LoginPasswords { get; } = ServiceLogins.All.ToDictionary(login => login, _ => LoginPassword,
        StringComparer.Ordinal);

    /// <summary>A new database, copied from the migrated template, or from another database that nobody is connected to.</summary>
    /// <param name="templateName">Null: the migrated template; <c>template0</c>: an empty database.</param>
    public static async Task<TestDatabase> CreateDatabaseAsync(string? templateName = null)
    {
        if (templateName is null) await TemplateAsync();
        var name = $"test_{Guid.CreateVersion7():N}";
        await ExecuteAsync($"CREATE DATABASE {name} TEMPLATE {templateName ?? TemplateName}");
        return new TestDatabase(name, (await ServerAsync()).ConnectionString(name));
    }

    /// <summary>Drops a database; whoever is still connected is cut off.</summary>
    public static Task DropDatabaseAsync(string name) => ExecuteAsync($"DROP DATABASE IF EXISTS {name} WITH (FORCE)");

    private static Task<PostgresProcess> ServerAsync()
    {
        lock (Gate) return server ??= StartAsync();
    }

    private static Task TemplateAsync()
    {
        lock (Gate) return template ??= CreateTemplateAsync();
    }

    private static async Task<PostgresProcess> StartAsync()
    {
        var postgres = new PostgresProcess(new PostgresOptions
        {
            Folder = TestServers.NewFolder("postgres"),
            RecordPath = TestServers.NewRecordPath("postgres"),
            IsEphemeral = true,
            ServerArguments = ["-c", "max_connections=300"],
        }, TimeProvider.System);
        TestServers.StopAtTheEnd(async () =>
        {
            NpgsqlConnection.ClearAllPools();
            await postgres.StopAsync(TimeSpan.FromSeconds(20), CancellationToken.None);
            Directory.Delete(postgres.Folder, recursive: true);
        });
        await postgres.StartAsync(CancellationToken.None);
        return postgres;
    }

    private static async Task CreateTemplateAsync()
    {
        await ExecuteAsync($"CREATE DATABASE {TemplateName} TEMPLATE template0");
        var connectionString = (await ServerAsync()).ConnectionString(TemplateName) + ";Pooling=false";
        await Migrate(connectionString);
        await DefaultPrice.InsertMissingAsync(connectionString, ModelRegistry.BuiltIn, CancellationToken.None); // as the migration step does
        await ServiceLogins.EnsureAsync(connectionString, LoginPasswords, CancellationToken.None);
        // A pooled connection that the migration left open would make every copy fail: "source database is being accessed".
        await ExecuteAsync($"ALTER DATABASE {TemplateName} ALLOW_CONNECTIONS false");
        await ExecuteAsync($"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{TemplateName}'");
    }

    private static async Task ExecuteAsync(string sql)
    {
        await using var connection = new NpgsqlConnection((await ServerAsync()).ConnectionString("postgres"));
        await connection.OpenAsync();
        await using var command = new NpgsqlCommand(sql, connection);
        await command.ExecuteNonQueryAsync();
    }
}

/// <summary>A database of one test; disposing drops it.</summary>
/// <param name="Name">Unique in the run.</param>
/// <param name="ConnectionString">As the cluster's superuser.</param>
public sealed record TestDatabase(string Name, string ConnectionString) : IAsyncDisposable
{
    public async ValueTask DisposeAsync() => await TestPostgres.DropDatabaseAsync(Name);
}
