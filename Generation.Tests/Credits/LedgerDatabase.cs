using System.Collections.Concurrent;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Generation.Core.Catalog;
using Generation.Core.Credits;
using Generation.Core.Database;
using Generation.Core.Maintenance;
using Generation.Core.Media;
using Generation.Core.Realtime;
using Generation.Core.Sessions;
using Generation.Core.Submit;
using Generation.Tests.Harness;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Generation.Tests.Credits;

/// <summary>
/// A database of its own and what of Core writes credits, with the rights of a service and without any service around it: calls come
/// in the order in which the test makes them. Time is moved by moving rows (<see cref="JumpAsync"/>), for the clock is the database's.
/// </summary>
internal sealed class LedgerDatabase : IAsyncDisposable
{
    /// <summary>Leases that this harness takes; longer than any test without a jump.</summary>
    public static readonly TimeSpan Lease = TimeSpan.FromMinutes(10);

    public static readonly TimeSpan Lifetime = TimeSpan.FromMinutes(190);

    /// <summary>A busy machine is not what these tests are about.</summary>
    private static readonly SubmitOptions Patient = new() { MaxWait = TimeSpan.FromMinutes(1), StatementTimeoutSeconds = 30 };

    private static readonly Model Seedream = ModelRegistry.BuiltIn[0];

    private readonly TestDatabase database;
    private readonly NpgsqlDataSource service;
    private readonly Dictionary<CostPolicy, (Settlement Settlement, SessionSweeps SessionSweeps, Cancellation Cancellation)> byPolicy;

    private LedgerDatabase(TestDatabase database, int connections, int writers)
    {
        this.database = database;
        Db = NpgsqlDataSource.Create(database.ConnectionString);
        service = NpgsqlDataSource.Create(new NpgsqlConnectionStringBuilder(database.ConnectionString)
        {
            Options = "-c role=generation_service",
            MaxPoolSize = connections,
            MaxAutoPrepare = 64,
            NoResetOnClose = true,
        }.ConnectionString);
        var loggers = new LoggerFactory([Errors]);
        Notifier = new ChangeNotifier(service, loggers.CreateLogger<ChangeNotifier>());
        Writers = [.. Enumerable.Repeat(0, writers).Select(_ => new SubmitWriter(
            service, Notifier, Patient, TimeProvider.System, loggers.CreateLogger<SubmitWriter>()))];
        Leases = new Leases(service, Notifier, TimeProvider.System);
        Holds = new HoldSweeps(service);
        Administration = new CreditAdministration(service, TimeProvider.System);
        byPolicy = Enum.GetValues<CostPolicy>().ToDictionary(policy => policy, policy =>
        {
            var credits = new CreditOptions { CostPolicy = policy, MaxChargeFactor = 1_000 };
            var settlement = new Settlement(service, Notifier, credits, TimeProvider.System, loggers.CreateLogger<Settlement>());
            return (settlement, new SessionSweeps(service, settlement, Notifier), new Cancellation(service, settlement, Notifier));
        });
    }

    /// <summary>The superuser, for looking and for what no service may do.</summary>
    public NpgsqlDataSource Db { get; }

    public ChangeNotifier Notifier { get; }

    /// <summary>One an Api.</summary>
    public SubmitWriter[] Writers { get; }

    public Leases Leases { get; }

    public HoldSweeps Holds { get; }

    public CreditAdministration Administration { get; }

    /// <summary>What Core logged at warning or above.</summary>
    public ErrorLog Errors { get; } = new();

    public Guid AdministratorId { get; private set; }

    public string Name => database.Name;

    public static async Task<LedgerDatabase> StartAsync(int connections = 8, int writers = 1)
    {
        TestPostgres.Migrate = connectionString => DatabaseMigrator.MigrateAsync(connectionString, CancellationToken.None);
        var ledger = new LedgerDatabase(await TestPostgres.CreateDatabaseAsync(), connections, writers);
        ledger.AdministratorId = await ledger.AddUserAsync("administrator");
        await ledger.Notifier.StartAsync(CancellationToken.None);
        foreach (var writer in ledger.Writers)
        {
            await writer.StartAsync(CancellationToken.None);
        }

        return ledger;
    }

    public Settlement Settlement(CostPolicy policy = CostPolicy.Absorb) => byPolicy[policy].Settlement;

    public SessionSweeps SessionSweeps(CostPolicy policy = CostPolicy.Absorb) => byPolicy[policy].SessionSweeps;

    public Cancellation Cancellation(CostPolicy policy = CostPolicy.Absorb) => byPolicy[policy].Cancellation;

    /// <summary>A user without an account: the first grant makes it.</summary>
    public async Task<Guid> AddUserAsync(string handle)
    {
        var id = Guid.CreateVersion7();
        await ExecuteAsync("INSERT INTO users (user_id, handle) VALUES ($1, $2)", id, handle);
        return id;
    }

    /// <summary>A lot of so many credits for the user, of which each grant is one; its reference is <c>admin:</c> and the key.</summary>
    public async Task GrantAsync(Guid user, long amount, string? key = null, int priority = 100, TimeSpan? expiresIn = null)
    {
        var adminAction = new AdminAction(key ?? Guid.NewGuid().ToString(), SHA256.HashData([]), AdministratorId, user, "test");
        var answer = await Administration.GrantAsync(
            adminAction, amount, "purchase", priority, expiresIn is { } left ? TimeProvider.System.GetUtcNow() + left : null, CancellationToken.None);
        Assert.Equal(AdminActionOutcome.Done, answer.Outcome);
    }

    /// <summary>A price row that no model sells; sessions name it by its version.</summary>
    public async Task<Price> AddPriceAsync(
        long credits, string? usageField = null, decimal? creditsPerUnit = null, decimal? usdPerOutput = null, decimal? usdPerUnit = null)
    {
        var version = await ScalarAsync<long>(
            """
            INSERT INTO model_pricing (model, credits, usage_field, credits_per_unit, usd_per_output, usd_per_unit)
            VALUES (gen_random_uuid()::text, $1, $2, $3, $4, $5)
            RETURNING price_version
            """,
            credits, usageField, creditsPerUnit, usdPerOutput, usdPerUnit);
        return new Price(credits, version, null);
    }

    /// <summary>A valid request. Bodies that differ have different fingerprints.</summary>
    public static SubmitRequest Request(Guid user, string key, Price price, int outputs, string body = "a lighthouse", bool mock = false) => new()
    {
        UserId = user,
        ClientKey = key,
        RequestHash = SHA256.HashData(Encoding.UTF8.GetBytes(body)),
        Model = Seedream,
        Params = JsonSerializer.Serialize(new { prompt = body, n = outputs }),
        InputSettings = JsonSerializer.Serialize(new { prompt = body, n = outputs }),
        Mock = mock,
        Outputs = outputs,
        Price = price,
        Lifetime = Lifetime,
    };

    /// <summary>A session that is held and claimed: work in progress.</summary>
    public async Task<ClaimedSession> StartWorkAsync(Guid user, Price price, int outputs = 1, string? key = null, bool mock = false)
    {
        var result = await Writers[0].SubmitAsync(Request(user, key ?? Guid.NewGuid().ToString(), price, outputs, mock: mock),
            CancellationToken.None);
        Assert.Equal(SubmitOutcome.Accepted, result.Outcome);
        return await ClaimAsync(result.SessionId) ?? throw new InvalidOperationException("A session that was just accepted could not be claimed.");
    }

    /// <summary>Null when it may not be worked on now.</summary>
    public async Task<ClaimedSession?> ClaimAsync(Guid session) =>
        (await Leases.ClaimAsync([session], [], "ledger-test", Lease, CancellationToken.None)).Sessions is [var claimed] ? claimed : null;

    /// <summary>Records an output as its worker does. Its version, or null when the lease was lost.</summary>
    public async Task<long?> StoreAsync(ClaimedSession session, int ordinal, string? usage = null) =>
        (await Leases.StoreMediaAsync(OutputOf(session, ordinal, usage), CancellationToken.None))?.Version;

    /// <summary>An output whose object is there.</summary>
    public static StoredOutput OutputOf(ClaimedSession session, int ordinal, string? usage = null, string extension = "png") => new(
        session, Guid.CreateVersion7(), ordinal,
        new StoredMedia(
            MediaKey.Output(session.UserId, session.CreatedAt, session.SessionId, ordinal, session.LeaseToken, extension),
            "image/png", 1_024, SHA256.HashData([(byte)ordinal]), 1_024, 1_024, null),
        usage, Poster: null);

    /// <summary>Ends a session as its holder does; it must be allowed to.</summary>
    public async Task<Settled> FinishAsync(ClaimedSession session, CostPolicy policy = CostPolicy.Absorb) =>
        Assert.Single(await Settlement(policy).SettleAsync([Fenced(session)], CancellationToken.None));

    public static Settle Fenced(ClaimedSession session) =>
        new(session.SessionId, SettleGuard.Fenced) { LeaseToken = session.LeaseToken, ErrorCode = "no_output", ErrorMessage = "Nothing came." };

    /// <summary>So much time passes for these users: what ends, ends so much sooner.</summary>
    public Task JumpAsync(TimeSpan by, params Guid[] users) => ExecuteAsync(
        """
        WITH lot AS (
            UPDATE credit_lots SET expires_at = expires_at - $1 WHERE user_id = ANY ($2) AND expires_at IS NOT NULL
        ),
        hold AS (
            UPDATE credit_reservations SET expires_at = expires_at - $1, created_at = created_at - $1 WHERE user_id = ANY ($2)
        )
        UPDATE generation_sessions
        SET deadline = deadline - $1, lease_until = lease_until - $1, wake_at = wake_at - $1, created_at = created_at - $1, started_at = started_at
            - $1
        WHERE user_id = ANY ($2)
        """,
        by, users);

    public async Task ExecuteAsync(string sql, params object?[] parameters)
    {
        await using var command = Command(sql, parameters);
        await command.ExecuteNonQueryAsync();
    }

    public async Task<T?> ScalarAsync<T>(string sql, params object?[] parameters)
    {
        await using var command = Command(sql, parameters);
        return await command.ExecuteScalarAsync() is T value ? value : default;
    }

    /// <summary>Rows as text, their columns separated by spaces: what a reader of a failed test wants to see.</summary>
    public async Task<List<string>> LinesAsync(string sql, params object?[] parameters)
    {
        await using var command = Command(sql, parameters);
        await using var reader = await command.ExecuteReaderAsync();
        var lines = new List<string>();
        while (await reader.ReadAsync())
        {
            var row = new object[reader.FieldCount];
            reader.GetValues(row);
            lines.Add(string.Join(' ', row.Select(value => value is DBNull ? "-" : Convert.ToString(value, CultureInfo.InvariantCulture))));
        }

        return lines;
    }

    /// <summary>The user's ledger in the order in which it was written: type, from, to, amount, available and reserved after.</summary>
    public Task<List<string>> LedgerAsync(Guid user) => LinesAsync(
        "SELECT type, from_bucket, to_bucket, amount, available_after, reserved_after FROM credit_transactions WHERE user_id = $1 ORDER BY "
            + "transaction_id", user);

    /// <summary>The user's lots in the order in which they were granted: available, held, spent, expired.</summary>
    public Task<List<string>> LotsAsync(Guid user) => LinesAsync(
        "SELECT available, held, spent, expired FROM credit_lots WHERE user_id = $1 ORDER BY created_at, lot_id", user);

    /// <summary>What must hold about money at any moment holds. The one place in these tests that says how that is asked.</summary>
    public Task AssertBooksAreCleanAsync() => Books.AssertCleanAsync(Db);

    public async ValueTask DisposeAsync()
    {
        foreach (var writer in Writers)
        {
            await writer.StopAsync(CancellationToken.None);
            writer.Dispose();
        }

        await Notifier.StopAsync(CancellationToken.None);
        Notifier.Dispose();
        await service.DisposeAsync();
        await Db.DisposeAsync();
        await database.DisposeAsync();
    }

    private NpgsqlCommand Command(string sql, object?[] parameters)
    {
        var command = Db.CreateCommand(sql);
        foreach (var parameter in parameters)
        {
            command.Parameters.Add(new NpgsqlParameter { Value = parameter ?? DBNull.Value });
        }

        return command;
    }

    /// <summary>Warnings and errors of Core, which a test may want to be none: a writer that repairs a deadlock says so only here.</summary>
    internal sealed class ErrorLog : ILoggerProvider, ILogger
    {
        private readonly ConcurrentQueue<string> lines = new();

        public IReadOnlyCollection<string> Lines => lines;

        public ILogger CreateLogger(string categoryName) => this;

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => logLevel >= LogLevel.Warning;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            if (IsEnabled(logLevel))
            {
                lines.Enqueue($"{logLevel} {formatter(state, exception)} {exception}");
            }
        }

        public void Dispose()
        {
        }
    }
}
