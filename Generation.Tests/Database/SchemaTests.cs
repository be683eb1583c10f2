using System.Diagnostics;
using Generation.Core.Database;
using Generation.Tests.Harness;
using Npgsql;

namespace Generation.Tests.Database;

[Trait("tier", "slow")]
public sealed class SchemaTests
{
    private static readonly string Golden = Path.Combine(RepositoryRoot(), "Generation.Core", "Database", "schema.sql");

    [Fact]
    public async Task The_migrations_make_the_schema_that_is_committed()
    {
        await using var database = await TestPostgres.CreateDatabaseAsync("template0");
        await DatabaseMigrator.MigrateAsync(database.ConnectionString, CancellationToken.None);
        NpgsqlConnection.ClearAllPools();
        var schema = await DumpAsync(database.ConnectionString);
        if (Environment.GetEnvironmentVariable("UPDATE_SCHEMA") is not null)
        {
            await File.WriteAllTextAsync(Golden, schema);
        }

        Assert.True(
            schema == await File.ReadAllTextAsync(Golden),
            "Generation.Core/Database/schema.sql is not what the migrations make. Run the tests once with UPDATE_SCHEMA=1 and read the difference.");
    }

    [Fact]
    public async Task Many_services_that_start_at_once_migrate_once()
    {
        await using var database = await TestPostgres.CreateDatabaseAsync("template0");
        var applied = await Task.WhenAll(Enumerable.Range(0, 8).Select(
            _ => Task.Run(() => DatabaseMigrator.MigrateAsync(database.ConnectionString, CancellationToken.None))));
        Assert.Single(applied, a => a.Count > 0);
        await using var connection = new NpgsqlConnection(database.ConnectionString);
        await connection.OpenAsync();
        Assert.True(await DatabaseMigrator.IsCurrentAsync(connection, CancellationToken.None));
    }

    /// <summary>What pg_dump says, without the lines that differ between servers.</summary>
    private static async Task<string> DumpAsync(string connectionString)
    {
        var target = new NpgsqlConnectionStringBuilder(connectionString);
        var program = new[] { "/usr/lib/postgresql", "/opt/homebrew/opt" }.Where(Directory.Exists)
            .SelectMany(folder => Directory.EnumerateFiles(folder, "pg_dump",
                new EnumerationOptions { RecurseSubdirectories = true, IgnoreInaccessible = true }))
            .Order(StringComparer.Ordinal).LastOrDefault() ?? "pg_dump";
        var start = new ProcessStartInfo(program,
            ["--schema-only", "--no-owner", "--exclude-table=__EFMigrationsHistory", "-h", target.Host!, "-p", target.Port.ToString(), "-U",
            target.Username!, target.Database!])
        {
            UseShellExecute = false,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            Environment = { ["PGPASSWORD"] = target.Password },
        };
        using var dump = Process.Start(start)!;
        var errors = dump.StandardError.ReadToEndAsync();
        var text = await dump.StandardOutput.ReadToEndAsync();
        await dump.WaitForExitAsync();
        Assert.True(dump.ExitCode == 0, await errors);
        var lines = text.Split('\n').Where(line => !line.StartsWith("--", StringComparison.Ordinal) && !line.StartsWith(
            "SET ", StringComparison.Ordinal)
            && !line.StartsWith("SELECT pg_catalog.set_config", StringComparison.Ordinal) && !line.StartsWith('\\') && line.Length > 0);
        return string.Join('\n', lines) + "\n";
    }

    private static string RepositoryRoot()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (!File.Exists(Path.Combine(folder!.FullName, "Generation.sln")))
        {
            folder = folder.Parent;
        }

        return folder.FullName;
    }

    /// <summary>
    /// The bug: between its two connections the database was restarted, and the relay died of an exception that it did not know as transient.
    /// </summary>
    [Fact]
    public async Task A_database_that_becomes_unavailable_during_the_migration_is_reported_as_such()
    {
        await using var database = await TestPostgres.CreateDatabaseAsync("template0");
        await using var admin = new NpgsqlConnection(database.ConnectionString);
        await admin.OpenAsync();
        await ExecuteAsync($"CREATE ROLE {database.Name} LOGIN CONNECTION LIMIT 1");
        try
        {
            var limited = new NpgsqlConnectionStringBuilder(database.ConnectionString) { Username = database.Name }.ConnectionString;
            var refused = await Assert.ThrowsAsync<PostgresException>(() => DatabaseMigrator.MigrateAsync(limited, CancellationToken.None));
            Assert.True(refused.IsTransient, refused.Message);
        }
        finally
        {
            await ExecuteAsync($"DROP ROLE {database.Name}");
        }

        async Task ExecuteAsync(string sql)
        {
            await using var command = new NpgsqlCommand(sql, admin);
            await command.ExecuteNonQueryAsync();
        }
    }
}
