using Generation.Core.Database;
using Generation.LocalServers;
using Generation.Tests.Harness;
using Npgsql;

namespace Generation.Tests.Identity;

/// <summary>The services' logins: what they may not do, and how they come about.</summary>
[Trait("tier", "process")]
public sealed class ServiceLoginTests
{
    public static TheoryData<string> Logins => new(ServiceLogins.All);

    [Theory]
    [MemberData(nameof(Logins))]
    public async Task A_login_that_leaves_the_role_it_acts_as_has_gained_nothing(string login)
    {
        await using var database = await TestPostgres.CreateDatabaseAsync();
        await using var service = NpgsqlDataSource.Create(
            new NpgsqlConnectionStringBuilder(database.ConnectionString)
            {
                Username = login,
                Password = TestPostgres.LoginPassword,
                Options =
                "-c role=generation_service",
                Pooling = false
            });
        await using var connection = await service.OpenConnectionAsync();
        Assert.Equal($"{login} generation_service", await ScalarAsync(connection, "SELECT session_user || ' ' || current_user"));
        Assert.Equal(0L, await ScalarAsync(connection, "SELECT count(*) FROM generation_sessions")); // what it is for

        foreach (var leave in new[] { "RESET ROLE", "SET ROLE NONE", "RESET SESSION AUTHORIZATION" })
        {
            await ExecuteAsync(connection, leave);
            foreach (var (refused, state) in new[]
            {
                ("CREATE TABLE mine (id int)", PostgresErrorCodes.InsufficientPrivilege),
                ("DELETE FROM credit_transactions", PostgresErrorCodes.InsufficientPrivilege),
                ("ALTER TABLE credit_transactions DISABLE TRIGGER ALL", PostgresErrorCodes.InsufficientPrivilege),
                ("ALTER TABLE media DISABLE ROW LEVEL SECURITY", PostgresErrorCodes.InsufficientPrivilege),
                ("CREATE ROLE another", PostgresErrorCodes.InsufficientPrivilege),
                ("CREATE DATABASE another", PostgresErrorCodes.InsufficientPrivilege),
                ("SET ROLE postgres", PostgresErrorCodes.InsufficientPrivilege),
                ("SET SESSION AUTHORIZATION postgres", PostgresErrorCodes.InsufficientPrivilege),
                ($"ALTER ROLE {login} SUPERUSER", PostgresErrorCodes.InsufficientPrivilege),
                ($"GRANT pg_read_server_files TO {login}", PostgresErrorCodes.InsufficientPrivilege),
            })
            {
                Assert.Equal((refused, state), (refused,
                    (await Assert.ThrowsAsync<PostgresException>(() => ExecuteAsync(connection, refused))).SqlState));
            }
        }

        Assert.Null(await LoginPrivileges.FindExcessAsync(connection, CancellationToken.None));
        await using var owner = new NpgsqlConnection(database.ConnectionString);
        await owner.OpenAsync();
        Assert.Contains("superuser", await LoginPrivileges.FindExcessAsync(owner, CancellationToken.None), StringComparison.Ordinal);
        Assert.Equal(0L, await ScalarAsync(owner, $"SELECT count(*) FROM pg_class WHERE relowner = '{login}'::regrole"));
        Assert.False((bool?)await ScalarAsync(owner,
            $"SELECT rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls FROM pg_roles WHERE rolname = '{login}'"));
    }

    [Fact]
    public async Task Migrations_of_several_databases_at_once_share_the_roles_of_their_cluster()
    {
        var databases = await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => TestPostgres.CreateDatabaseAsync("template0")));
        var withoutLogin = await Task.WhenAll(databases.Select(database => Task.Run(async () =>
        {
            await DatabaseMigrator.MigrateAsync(database.ConnectionString, CancellationToken.None);
            var missing = new List<string>();
            for (var again = 0; again < 10; again++)
            {
                missing.AddRange(await ServiceLogins.EnsureAsync(database.ConnectionString, TestPostgres.LoginPasswords, CancellationToken.None));
            }

            return missing;
        })));
        Assert.All(withoutLogin, Assert.Empty);
        foreach (var database in databases)
        {
            await database.DisposeAsync();
        }
    }

    /// <summary>As a managed Postgres has it: passwords are checked, and the owner is no superuser.</summary>
    [Fact]
    public async Task An_owner_who_may_only_create_roles_migrates_and_a_changed_password_takes_effect_with_the_next_migration()
    {
        await using var server = await ManagedPostgres.StartAsync();
        const string First = "it's the first 'password'";
        const string Second = "the second $password$ \"";

        var migrated = await Ended.RelayAsync(server.Owner, ["migrate"], ("Database:Roles:Api:Password", First), (
            "Database:Roles:Relay:Password", First));
        Assert.Equal((0, ""), (migrated.ExitCode, migrated.Errors));
        Assert.Contains(DatabaseMigrator.LatestMigration, migrated.Output, StringComparison.Ordinal);
        Assert.Contains("generation_worker cannot log in", migrated.Output, StringComparison.Ordinal);
        Assert.DoesNotContain(First, migrated.Output, StringComparison.Ordinal);
        Assert.DoesNotContain("SCRAM", migrated.Output, StringComparison.Ordinal);
        Assert.True(await server.LogsInAsync(ServiceLogins.Api, First));
        Assert.True(await server.LogsInAsync(ServiceLogins.Relay, First));
        Assert.False(await server.LogsInAsync(ServiceLogins.Api, Second));
        Assert.False(await server.LogsInAsync(ServiceLogins.Worker, First));

        migrated = await Ended.RelayAsync(server.Owner, ["migrate"], ("Database:Roles:Api:Password", Second), (
            "Database:Roles:Worker:Password", Second));
        Assert.Equal(0, migrated.ExitCode);
        Assert.True(await server.LogsInAsync(ServiceLogins.Api, Second));
        Assert.False(await server.LogsInAsync(ServiceLogins.Api, First));
        Assert.True(await server.LogsInAsync(ServiceLogins.Worker, Second));
        Assert.True(await server.LogsInAsync(ServiceLogins.Relay, First)); // none was given, so it was left alone

        await using var owner = new NpgsqlConnection(server.Owner);
        await owner.OpenAsync();
        Assert.Contains("owns the database", await LoginPrivileges.FindExcessAsync(owner, CancellationToken.None), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Migrate_says_what_it_needs_and_ends_with_2_without_it()
    {
        var noOwner = await Ended.RunAsync("Generation.Relay", ["migrate"], (
            "ConnectionStrings:generation", "Host=127.0.0.1;Port=1;Username=nobody"));
        Assert.Equal(2, noOwner.ExitCode);
        Assert.Contains("ConnectionStrings:generation-owner is not set", noOwner.Errors, StringComparison.Ordinal);

        var shortPassword = await Ended.RelayAsync("Host=127.0.0.1;Port=1;Username=nobody", ["migrate"], ("Database:Roles:Worker:Password", "short"));
        Assert.Equal(2, shortPassword.ExitCode);
        Assert.Contains("Database:Roles:Worker:Password must be", shortPassword.Errors, StringComparison.Ordinal);

        var unreachable = await Ended.RelayAsync("Host=127.0.0.1;Port=1;Username=nobody", ["migrate"]);
        Assert.Equal(2, unreachable.ExitCode);
        Assert.Contains("could not be migrated", Assert.Single(unreachable.Errors.TrimEnd().Split('\n')), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_relay_without_the_owners_login_starts_nothing_until_somebody_has_migrated()
    {
        await using var migrated = await TestPostgres.CreateDatabaseAsync(); // its cluster has the roles now
        await using var database = await TestPostgres.CreateDatabaseAsync("template0");
        var redis = await TestRedis.Shared;
        var folder = Directory.CreateTempSubdirectory("generation-media-");
        var starting = ProcessService.StartAsync("Generation.Relay", new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["ConnectionStrings:generation"] =
                new NpgsqlConnectionStringBuilder(database.ConnectionString)
                {
                    Username = ServiceLogins.Relay,
                    Password =
                    TestPostgres.LoginPassword
                }.ConnectionString,
            ["ConnectionStrings:redis"] = redis.ConnectionString,
            ["Queue:Prefix"] = database.Name,
            ["Media:Folder:Root"] = folder.FullName,
            ["Shutdown:DrainDelay"] = "00:00:00",
        });
        await using (var owner = new NpgsqlConnection(database.ConnectionString))
        {
            await owner.OpenAsync();
            var since = TimeProvider.System.GetTimestamp();
            while (!Equals(true, await ScalarAsync(owner,
                $"SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND usename = '{ServiceLogins.Relay}' AND query LIKE "
                + "'%EFMigrationsHistory%'")))
            {
                Assert.True(TimeProvider.System.GetElapsedTime(since) < TimeSpan.FromMinutes(1), "The relay did not ask for the schema.");
                await Task.Delay(TimeSpan.FromMilliseconds(50), TimeProvider.System, CancellationToken.None);
            }

            Assert.False(starting.IsCompleted);
            Assert.Equal(false, await ScalarAsync(owner, "SELECT to_regclass('outbox') IS NOT NULL")); // it has not made it itself
        }

        await DatabaseMigrator.MigrateAsync(database.ConnectionString, CancellationToken.None);
        await using var relay = await starting;
        Assert.Contains(relay.Log, line => line.Contains("Waiting for the schema", StringComparison.Ordinal) && line.Contains(
            "ConnectionStrings:generation-owner", StringComparison.Ordinal));
        using var http = new HttpClient { BaseAddress = relay.Address };
        Assert.True((await http.GetAsync(new Uri("/readyz", UriKind.Relative))).IsSuccessStatusCode);
        Assert.Equal(0, await relay.StopAsync(TimeSpan.FromMinutes(1)));
        folder.Delete(recursive: true);
    }

    private static async Task<object?> ScalarAsync(NpgsqlConnection connection, string sql)
    {
        await using var command = new NpgsqlCommand(sql, connection);
        return await command.ExecuteScalarAsync();
    }

    private static async Task ExecuteAsync(NpgsqlConnection connection, string sql)
    {
        await using var command = new NpgsqlCommand(sql, connection);
        await command.ExecuteNonQueryAsync();
    }

    /// <summary>A server whose superuser is the provider's, with a database of ours.</summary>
    private sealed class ManagedPostgres : IAsyncDisposable
    {
        private const string OwnerName = "customer";
        private const string OwnerPassword = "the-owners-own-1234";
        private readonly PostgresProcess process;

        private ManagedPostgres(PostgresProcess process) => this.process = process;

        public string Owner => As(OwnerName, OwnerPassword);

        public static async Task<ManagedPostgres> StartAsync()
        {
            var started = new PostgresProcess(
                new PostgresOptions
                {
                    Folder = TestServers.NewFolder("managed-postgres"),
                    RecordPath = TestServers.NewRecordPath("managed-postgres"),
                    ServerArguments = ["-c", "fsync=off"]
                },
                TimeProvider.System);
            await started.StartAsync(CancellationToken.None);
            var server = new ManagedPostgres(started);
            await using var admin = new NpgsqlConnection(started.ConnectionString("postgres") + ";Pooling=false");
            await admin.OpenAsync();
            await ExecuteAsync(admin, $"CREATE ROLE {OwnerName} LOGIN CREATEROLE PASSWORD '{OwnerPassword}'");
            await ExecuteAsync(admin, $"CREATE DATABASE customers OWNER {OwnerName}");
            return server;
        }

        public async Task<bool> LogsInAsync(string login, string password)
        {
            await using var connection = new NpgsqlConnection(As(login, password));
            try
            {
                await connection.OpenAsync();
                return Equals(0L, await ScalarAsync(connection, "SELECT count(*) FROM generation_sessions"));
            }
            catch (PostgresException e) when (e.SqlState is PostgresErrorCodes.InvalidPassword
                or PostgresErrorCodes.InvalidAuthorizationSpecification)
            {
                return false;
            }
        }

        public async ValueTask DisposeAsync()
        {
            await process.StopAsync(TimeSpan.FromSeconds(20), CancellationToken.None);
            Directory.Delete(process.Folder, recursive: true);
        }

        private string As(string login, string password) =>
            new NpgsqlConnectionStringBuilder(process.ConnectionString("customers"))
            {
                Username = login,
                Password = password,
                Pooling =
                false
            }.ConnectionString;
    }
}
