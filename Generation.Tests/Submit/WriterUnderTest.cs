using Generation.Core.Catalog;
using Generation.Core.Database;
using Generation.Core.Identity;
using Generation.Core.Realtime;
using Generation.Core.Submit;
using Generation.Tests.Harness;
using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;

namespace Generation.Tests.Submit;

/// <summary>
/// A <see cref="SubmitWriter"/> on a database of its own, and nothing else. What is submitted before <see cref="StartAsync"/> waits
/// together, and so is one batch.
/// </summary>
internal sealed class WriterUnderTest : IAsyncDisposable
{
    private const long PricePerOutput = 4;

    private readonly TestDatabase database;
    private readonly NpgsqlDataSource service;
    private readonly ChangeNotifier notifier;
    private readonly SubmitWriter writer;
    private bool isRunning;

    private WriterUnderTest(TestDatabase database, SubmitOptions options, TimeProvider time)
    {
        this.database = database;
        Db = NpgsqlDataSource.Create(database.ConnectionString);
        service = NpgsqlDataSource.Create(database.ConnectionString
            + ";Options=-c role=generation_service;MaxAutoPrepare=64;Timeout=3;Keepalive=1;Application Name=writer");
        notifier = new ChangeNotifier(service, NullLogger<ChangeNotifier>.Instance);
        writer = new SubmitWriter(service, notifier, options, time, NullLogger<SubmitWriter>.Instance);
    }

    /// <summary>The database as its superuser.</summary>
    public NpgsqlDataSource Db { get; }

    /// <summary>The database as a service has it.</summary>
    public NpgsqlDataSource Service => service;

    public static async Task<WriterUnderTest> CreateAsync(SubmitOptions? options = null, TimeProvider? time = null)
    {
        TestPostgres.Migrate = connectionString => DatabaseMigrator.MigrateAsync(connectionString, CancellationToken.None);
        return new WriterUnderTest(await TestPostgres.CreateDatabaseAsync(), options ?? new SubmitOptions(), time ?? TimeProvider.System);
    }

    public async Task StartAsync()
    {
        isRunning = true;
        await writer.StartAsync(CancellationToken.None);
    }

    public async Task<Guid> UserAsync(long credits = 1_000) =>
        (await DevelopmentAccounts.CreateUserAsync(Db, $"u{Guid.NewGuid():N}", "user", $"gk_{Guid.NewGuid():N}", credits,
            CancellationToken.None))!.Value;

    /// <summary>Asks for pictures of 4 credits each; <paramref name="body"/> tells bodies of one key apart.</summary>
    public Task<SubmitResult> SubmitAsync(
        Guid user, string key, int outputs = 1, string body = "a lighthouse", string @params = """{"prompt": "a lighthouse"}""",
            Model? model = null, Priority priority = Priority.Interactive, CancellationToken ct = default) =>
        writer.SubmitAsync(
            new SubmitRequest
            {
                UserId = user,
                ClientKey = key,
                RequestHash = ApiKeys.Hash(body),
                Model = model ?? ModelRegistry.BuiltIn[0],
                Priority = priority,
                Params = @params,
                InputSettings = "{}",
                Mock = false,
                Outputs = outputs,
                Price = new Price(PricePerOutput, 1, null),
                Lifetime = TimeSpan.FromHours(1),
            },
            ct);

    public async Task<T?> ScalarAsync<T>(string sql)
    {
        await using var command = Db.CreateCommand(sql);
        return await command.ExecuteScalarAsync() is T value ? value : default;
    }

    public async Task ExecuteAsync(string sql)
    {
        await using var command = Db.CreateCommand(sql);
        await command.ExecuteNonQueryAsync();
    }

    /// <summary>The sessions that are in line, first to last, each with the position that it is shown at.</summary>
    public async Task<List<(Guid Session, long Ahead)>> PositionsAsync(IEnumerable<Guid> sessions)
    {
        var places = new List<(Guid Session, long Ahead)>();
        await using var connection = await Db.OpenConnectionAsync();
        foreach (var session in sessions)
        {
            await using var command = new NpgsqlCommand(Sql.Text("Sessions/position.sql"), connection)
            {
                Parameters = { new() { Value = session }, new() { Value = 10_000L } },
            };
            places.Add((session, (long)(await command.ExecuteScalarAsync())!));
        }

        return [.. places.OrderBy(place => place.Ahead)];
    }

    /// <summary>A batch stands still from now on, until this is disposed.</summary>
    public async Task<NpgsqlConnection> StallAsync()
    {
        var holder = new NpgsqlConnection(database.ConnectionString + ";Pooling=false");
        await holder.OpenAsync();
        await Stall.AtAsync(holder, "BEFORE INSERT ON outbox FOR EACH STATEMENT");
        return holder;
    }

    /// <summary>Waits until the writer's transaction stands still.</summary>
    public async Task UntilItIsBlockedAsync()
    {
        while (!await ScalarAsync<bool>(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'writer' AND wait_event = "
            + "'PgSleep')"))
        {
            await Task.Delay(TimeSpan.FromMilliseconds(10), TimeProvider.System, CancellationToken.None);
        }
    }

    /// <summary>Holds a lock until disposed; the statement takes it.</summary>
    public async Task<IAsyncDisposable> LockAsync(string statement)
    {
        var holder = new NpgsqlConnection(database.ConnectionString + ";Pooling=false");
        await holder.OpenAsync();
        await using var command = new NpgsqlCommand($"BEGIN; {statement}", holder);
        await command.ExecuteNonQueryAsync();
        return new HeldLock(holder);
    }

    /// <summary>The server turns every connection to this database away, and cuts those that are there.</summary>
    public async Task DisconnectAsync()
    {
        await Db.DisposeAsync();
        await AsServerAsync($"ALTER DATABASE {database.Name} ALLOW_CONNECTIONS false");
        await AsServerAsync($"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database.Name}'");
    }

    public Task GiveBackAsync() => AsServerAsync($"ALTER DATABASE {database.Name} ALLOW_CONNECTIONS true");

    /// <summary>After a <see cref="DisconnectAsync"/>, when <see cref="Db"/> is gone.</summary>
    public async Task<long> SessionsAsync()
    {
        await using var connection = new NpgsqlConnection(database.ConnectionString + ";Pooling=false");
        await connection.OpenAsync();
        await using var command = new NpgsqlCommand("SELECT count(*) FROM generation_sessions", connection);
        return (long)(await command.ExecuteScalarAsync())!;
    }

    public Task AssertBooksAreCleanAsync() => Books.AssertCleanAsync(Db);

    public async ValueTask DisposeAsync()
    {
        if (isRunning)
        {
            await writer.StopAsync(CancellationToken.None);
        }

        writer.Dispose();
        notifier.Dispose();
        await service.DisposeAsync();
        await Db.DisposeAsync();
        await database.DisposeAsync();
    }

    private async Task AsServerAsync(string sql)
    {
        await using var connection = new NpgsqlConnection(
            new NpgsqlConnectionStringBuilder(database.ConnectionString) { Database = "postgres", Pooling = false }.ConnectionString);
        await connection.OpenAsync();
        await using var command = new NpgsqlCommand(sql, connection);
        await command.ExecuteNonQueryAsync();
    }

    /// <summary>Released when the server says so: a connection that is only closed may hold its rows a little longer.</summary>
    private sealed class HeldLock(NpgsqlConnection holder) : IAsyncDisposable
    {
        public async ValueTask DisposeAsync()
        {
            await using (var release = new NpgsqlCommand("ROLLBACK", holder))
            {
                await release.ExecuteNonQueryAsync();
            }

            await holder.DisposeAsync();
        }
    }
}
