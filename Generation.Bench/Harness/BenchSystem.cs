using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Net.ServerSentEvents;
using System.Text.Json.Nodes;
using Generation.Core.Identity;
using Generation.LocalServers;
using Npgsql;

namespace Generation.Bench.Harness;

/// <summary>What a <see cref="BenchSystem"/> is made of.</summary>
internal enum BenchScope
{
    /// <summary>Everything; Postgres writes without care (no fsync), because the database is not what is measured.</summary>
    WholePipeline,

    /// <summary>Postgres with its default durability (fsync, synchronous commit), Redis, relay and Api: what a submit needs, and no worker.</summary>
    Submits,

    /// <summary><see cref="Submits"/> and a worker: for mock jobs, which need no provider.</summary>
    Jobs,
}

/// <summary>
/// The system for one measurement: Postgres and Redis of its own, the provider simulator without latency, and one process each
/// of relay, api and worker, with the settings of production but for their addresses.
/// </summary>
internal sealed class BenchSystem : IAsyncDisposable
{
    /// <summary>Opens the simulator's Ark.</summary>
    public const string ProviderKey = "sim-ark-key";

    private const string UserKey = "gk_bench_user";
    private const string Database = "generation";
    private const long Credits = 1_000_000;
    private static readonly TimeSpan StopGrace = TimeSpan.FromSeconds(20);

    private readonly Stack<Func<Task>> stops = new();

    private PostgresProcess postgres = null!;
    private RedisProcess redis = null!;

    private BenchSystem()
    {
    }

    /// <summary>The database, as its superuser.</summary>
    public string OwnerConnectionString => postgres.ConnectionString(Database);

    /// <summary>The Redis server, which has no password.</summary>
    public int RedisPort => redis.Port;

    public ServiceChild Sim { get; private set; } = null!;

    public ServiceChild Relay { get; private set; } = null!;

    public ServiceChild Api { get; private set; } = null!;

    public ServiceChild Worker { get; private set; } = null!;

    /// <summary>The Api, as a user who has credits. No timeout: a run is as long as it is.</summary>
    public HttpClient Http { get; private set; } = null!;

    /// <param name="folder">Where its servers write.</param>
    /// <param name="scope">What of it is started.</param>
    /// <param name="settings">Of all services, over those here.</param>
    /// <param name="ct">Stops the start; what has been started is stopped again.</param>
    public static async Task<BenchSystem> StartAsync(
        RunFolder folder, BenchScope scope, IReadOnlyDictionary<string, string> settings, CancellationToken ct)
    {
        var system = new BenchSystem();
        try
        {
            await system.StartCoreAsync(folder, scope, settings, ct);
            return system;
        }
        catch
        {
            await system.DisposeAsync();
            throw;
        }
    }

    /// <summary>A fast shutdown, which cuts every connection, and a start.</summary>
    public async Task RestartPostgresAsync(CancellationToken ct)
    {
        await postgres.StopAsync(StopGrace, ct);
        await postgres.StartAsync(ct);
    }

    /// <summary>Submits one picture and watches it to its end; the last event's data, whatever the end was.</summary>
    public async Task<JsonObject> GenerateAsync(string prompt, CancellationToken ct)
    {
        using var accepted = await Http.PostAsJsonAsync("/api/generations",
            new { clientKey = Guid.NewGuid(), model = "seedream-4", @params = new { prompt, size = "1K" } }, ct);
        var answer = await accepted.Content.ReadFromJsonAsync<JsonObject>(ct);
        if (!accepted.IsSuccessStatusCode)
        {
            throw new InvalidOperationException($"Not accepted: {answer}");
        }

        await using var events = await Http.GetStreamAsync((string)answer!["links"]!["events"]!, ct);
        await foreach (var e in SseParser.Create(events, (_, data) => JsonNode.Parse(data)!.AsObject()).EnumerateAsync(ct))
        {
            if (e.EventType is "done" or "failed" or "canceled")
            {
                return e.Data;
            }
        }

        throw new InvalidOperationException($"The stream ended before its session {answer["sessionId"]} did.");
    }

    public async ValueTask DisposeAsync()
    {
        while (stops.TryPop(out var stop))
        {
            await stop();
        }
    }

    private async Task StartCoreAsync(RunFolder folder, BenchScope scope, IReadOnlyDictionary<string, string> more, CancellationToken ct)
    {
        var isWhole = scope == BenchScope.WholePipeline;
        postgres = new PostgresProcess(
            new PostgresOptions
            {
                Folder = folder[$"postgres-{Guid.NewGuid():N}"],
                RecordPath = folder.RecordPath("postgres"),
                IsEphemeral = isWhole
            }, TimeProvider.System);
        stops.Push(async () =>
        {
            await postgres.StopAsync(StopGrace, CancellationToken.None);
            if (Directory.Exists(postgres.Folder))
            {
                Directory.Delete(postgres.Folder, recursive: true);
            }
        });
        redis = new RedisProcess(
            new RedisOptions { Folder = folder[$"redis-{Guid.NewGuid():N}"], RecordPath = folder.RecordPath("redis"), IsEphemeral = true },
                TimeProvider.System);
        stops.Push(() => redis.StopAsync(StopGrace, CancellationToken.None));
        await Task.WhenAll(StartPostgresAsync(), redis.StartAsync(ct), isWhole ? StartSimAsync() : Task.CompletedTask);

        var settings = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["ConnectionStrings:generation"] = postgres.ConnectionString(Database),
            ["Security:AllowOwnerLogin"] = "true", // before Postgres 17 no other login may vacuum the outbox, which is part of what is measured
            ["ConnectionStrings:redis"] = redis.ConnectionString,
            ["Media:Folder:Root"] = folder["media"],
            ["Submit:OutstandingPerUser"] = "1000000000", // one user stands for many
            ["RateLimits:KeyPerMinute"] = "0",
            ["RateLimits:GlobalPerMinute"] = "0",
            ["Shutdown:DrainDelay"] = "00:00:00", // no load balancer
        };
        if (isWhole)
        {
            settings["Media:AllowPrivateAddresses"] = "true"; // the simulator's
            settings["Providers:Ark:BaseUrl"] = new Uri(Sim.Address, "api/v3").ToString();
            settings["Providers:Ark:ApiKey"] = ProviderKey;
            settings["Providers:Ark:SourceHosts"] = "127.0.0.1";
        }

        foreach (var (key, value) in more)
        {
            settings[key] = value;
        }

        var relay = AddAsync("Generation.Relay", "/readyz", settings);
        var api = AddAsync("Generation.Api", "/readyz", settings);
        await Task.WhenAll(relay, api);
        (Relay, Api) = (await relay, await api);
        if (scope != BenchScope.Submits)
        {
            Worker = await AddAsync("Generation.Worker", "/readyz", settings);
        }

        await using (var database = NpgsqlDataSource.Create(OwnerConnectionString + ";Pooling=false"))
        {
            await DevelopmentAccounts.CreateUserAsync(database, "bench", "user", UserKey, Credits, ct);
        }

        Http = new HttpClient
        {
            BaseAddress = Api.Address,
            Timeout = Timeout.InfiniteTimeSpan,
            DefaultRequestHeaders = { Authorization = new AuthenticationHeaderValue("Bearer", UserKey) },
        };
        stops.Push(() =>
        {
            Http.Dispose();
            return Task.CompletedTask;
        });

        async Task StartPostgresAsync()
        {
            await postgres.StartAsync(ct);
            await postgres.EnsureDatabaseAsync(Database, ct);
        }

        async Task StartSimAsync() =>
            Sim = await AddAsync("Generation.ProviderSim", "/healthz", new Dictionary<string,
                string>(StringComparer.Ordinal)
            { ["Sim:LatencyMs"] = "0" });

        async Task<ServiceChild> AddAsync(string project, string healthPath, IReadOnlyDictionary<string, string> its)
        {
            var service = await ServiceChild.StartAsync(project, healthPath, its, folder, ct);
            lock (stops)
            {
                stops.Push(async () => await service.DisposeAsync());
            }

            return service;
        }
    }
}
