using System.Collections.Concurrent;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text.Json.Nodes;
using Generation.Bench.Harness;
using Generation.Core.Database;
using Generation.Core.Identity;
using Generation.LocalServers;
using Npgsql;

namespace Generation.Bench.Chaos;

/// <summary>
/// The whole system as processes: two Apis, two relays, two workers, the provider simulator, and a Postgres, a Redis and an S3 server
/// behind proxies that can be slow. Times are short, so that a minute holds what in production takes an hour: a lease lasts five seconds.
/// </summary>
internal sealed class ChaosSystem : IAsyncDisposable
{
    public const string AdminKey = "gk_chaos_admin";
    public const int Users = 4;
    public const long CreditsPerUser = 10_000_000;
    private const string Database = "generation";
    private static readonly TimeSpan StopGrace = TimeSpan.FromSeconds(10);

    private readonly Stack<Func<Task>> stops = new();

    private ChaosSystem()
    {
    }

    public PostgresProcess Postgres { get; private set; } = null!;

    public RedisProcess Redis { get; private set; } = null!;

    /// <summary>Null when jobs go by Redis.</summary>
    public SqsServer? Sqs { get; private set; }

    public DatabaseFaults DatabaseFaults { get; private set; } = null!;

    public TcpProxy PostgresNetwork { get; private set; } = null!;

    public TcpProxy RedisNetwork { get; private set; } = null!;

    public TcpProxy StorageNetwork { get; private set; } = null!;

    public Fleet Apis { get; private set; } = null!;

    public Fleet Relays { get; private set; } = null!;

    public Fleet Workers { get; private set; } = null!;

    /// <summary>The simulator's own endpoints: faults, and what was paid.</summary>
    public HttpClient Sim { get; private set; } = null!;

    /// <summary>The database as its superuser, not through the slow network. Without a pool: it is killed now and then.</summary>
    public NpgsqlDataSource Db { get; private set; } = null!;

    /// <summary>What happened to the processes, for the run's log.</summary>
    public ConcurrentQueue<string> Events { get; } = new();

    /// <summary>This release of each fleet's service, in the order of <see cref="Fleets"/>.</summary>
    public IReadOnlyList<Deployment> Deployments { get; private set; } = [];

    /// <summary>The release before, which the run begins with; empty when there is none.</summary>
    public IReadOnlyList<Deployment> PreviousDeployments { get; private set; } = [];

    public IEnumerable<Fleet> Fleets => [Apis, Relays, Workers];

    public static string UserKey(int user) => $"gk_chaos_user_{user}";

    /// <param name="folder">For everything it writes.</param>
    /// <param name="previousRelease">The checkout of a release that was built there, to begin with; null: begin with this one.</param>
    /// <param name="usesSqs">Jobs go by SQS instead of Redis.</param>
    /// <param name="ct">Stops the start.</param>
    /// <param name="postgresArguments">More for the server.</param>
    public static async Task<ChaosSystem> StartAsync(RunFolder folder, string? previousRelease, bool usesSqs, CancellationToken ct,
        params IReadOnlyList<string> postgresArguments)
    {
        if (!S3Server.IsInstalled)
        {
            throw new StartFailure(
            "The storage is the tests' S3 server, which npm has not installed yet: (cd Generation.Tests/Servers && npm ci)");
        }

        var system = new ChaosSystem();
        try
        {
            await system.StartCoreAsync(folder, previousRelease, usesSqs, postgresArguments, ct);
            return system;
        }
        catch
        {
            await system.DisposeAsync();
            throw;
        }
    }

    /// <summary>A client of one Api. Who has not answered for so long is paused or gone: the next try goes to the other one.</summary>
    public HttpClient Client(int api, string key, TimeSpan timeout) =>
        new(new SocketsHttpHandler { ConnectTimeout = TimeSpan.FromSeconds(2), PooledConnectionLifetime = TimeSpan.FromSeconds(30) })
        {
            BaseAddress = Apis.Addresses[api % Apis.Addresses.Count],
            Timeout = timeout,
            DefaultRequestHeaders = { Authorization = new AuthenticationHeaderValue("Bearer", key) },
        };

    public async ValueTask DisposeAsync()
    {
        while (stops.TryPop(out var stop))
        {
            await stop();
        }
    }

    private async Task StartCoreAsync(
        RunFolder folder, string? previousRelease, bool usesSqs, IReadOnlyList<string> postgresArguments, CancellationToken ct)
    {
        Directory.CreateDirectory(folder["logs"]);
        Postgres = new PostgresProcess(
            new PostgresOptions
            {
                Folder = folder["postgres"],
                RecordPath = folder.RecordPath("postgres"),
                // the machine lives on: only the process is killed
                ServerArguments = ["-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=200", .. postgresArguments],
                OnLine = line => Events.Enqueue($"postgres: {line}"),
            },
            TimeProvider.System);
        stops.Push(async () =>
        {
            await Postgres.StopAsync(StopGrace, CancellationToken.None);
            if (Directory.Exists(Postgres.Folder))
            {
                Directory.Delete(Postgres.Folder, recursive: true);
            }
        });
        Redis = new RedisProcess(new RedisOptions { Folder = folder["redis"], RecordPath = folder.RecordPath("redis") }, TimeProvider.System);
        stops.Push(() => Redis.StopAsync(StopGrace, CancellationToken.None));
        ServiceChild sim = null!;
        S3Server storage = null!;
        await Task.WhenAll(StartPostgresAsync(), Redis.StartAsync(ct), StartSimAsync(), StartStorageAsync());

        PostgresNetwork = Keep(new TcpProxy(Postgres.Port));
        RedisNetwork = Keep(new TcpProxy(Redis.Port));
        StorageNetwork = Keep(new TcpProxy(new Uri(storage.Settings["Media:S3:Endpoint"]).Port));
        Sim = new HttpClient { BaseAddress = sim.Address };
        Db = NpgsqlDataSource.Create(Postgres.ConnectionString(Database) + ";Pooling=false;Timeout=20;Command Timeout=20");
        DatabaseFaults = new DatabaseFaults(Db);

        var settings = ChaosSettings.Make(Postgres, Redis, sim.Address, storage.Settings, PostgresNetwork.Port, RedisNetwork.Port,
            StorageNetwork.Port, Database);
        if (usesSqs)
        {
            Sqs = await SqsServer.StartAsync(ct);
            stops.Push(() =>
            {
                Sqs.Dispose();
                return Task.CompletedTask;
            });
            foreach (var (name, value) in Sqs.Settings)
            {
                settings[name] = value;
            }
        }

        var port = Ports.Free();
        settings["Worker:PublicBaseUrl"] = $"http://127.0.0.1:{port}";
        Deployments =
        [
            new Deployment("new", null, ChaosSettings.WithLogin(settings, ServiceLogins.Api)),
            new Deployment("new", null, ChaosSettings.ForRelay(settings)),
            new Deployment("new", null, ChaosSettings.WithLogin(settings, ServiceLogins.Worker)),
        ];
        if (previousRelease is not null)
        {
            PreviousDeployments = [.. Deployments.Select(_ => new Deployment("previous", previousRelease, settings))];
        }

        var first = PreviousDeployments.Count > 0 ? PreviousDeployments : Deployments;
        Apis = new Fleet("Generation.Api", 2, first[0], folder, Events, port);
        Relays = new Fleet("Generation.Relay", 2, first[1], folder, Events);
        Workers = new Fleet("Generation.Worker", 2, first[2], folder, Events);
        foreach (var fleet in Fleets)
        {
            stops.Push(async () => await fleet.DisposeAsync());
        }

        await Relays.StartAsync(ct); // makes the schema
        await Task.WhenAll(Apis.StartAsync(ct), Workers.StartAsync(ct));
        await DevelopmentAccounts.CreateUserAsync(Db, "chaos-admin", "admin", AdminKey, 0, ct);
        for (var user = 0; user < Users; user++)
        {
            await DevelopmentAccounts.CreateUserAsync(
            Db, $"chaos-{user}", "user", UserKey(user), CreditsPerUser, ct);
        }

        async Task StartPostgresAsync()
        {
            await Postgres.StartAsync(ct);
            await Postgres.EnsureDatabaseAsync(Database, ct);
        }

        async Task StartSimAsync()
        {
            sim = await ServiceChild.StartAsync("Generation.ProviderSim", "/healthz", ChaosSettings.Sim, folder, ct);
            lock (stops)
            {
                stops.Push(async () => await sim.DisposeAsync());
            }
        }

        async Task StartStorageAsync()
        {
            storage = await S3Server.StartAsync(folder, ct);
            lock (stops)
            {
                stops.Push(() =>
                {
                    storage.Dispose();
                    return Task.CompletedTask;
                });
            }
        }

        TcpProxy Keep(TcpProxy proxy)
        {
            stops.Push(async () => await proxy.DisposeAsync());
            return proxy;
        }
    }

    /// <summary>A permission to run a request as a mock.</summary>
    public async Task<string> MockTokenAsync(CancellationToken ct)
    {
        using var admin = Client(0, AdminKey, TimeSpan.FromSeconds(10));
        using var answer = await admin.PostAsync(new Uri("/api/admin/mock-overrides?mock=true", UriKind.Relative), null, ct);
        answer.EnsureSuccessStatusCode();
        return (string)(await answer.Content.ReadFromJsonAsync<JsonObject>(ct))!["token"]!;
    }
}

/// <summary>The settings of a run: production's, but for addresses and times.</summary>
internal static class ChaosSettings
{
    public static readonly TimeSpan LeaseDuration = TimeSpan.FromSeconds(5);

    /// <summary>Quick, with small files, and without the limits that real accounts have.</summary>
    public static readonly Dictionary<string, string> Sim = new(StringComparer.Ordinal)
    {
        ["Sim:LatencyMs"] = "300",
        ["Sim:PictureBytes"] = "20000",
        ["Sim:VideoLatencyMs"] = "700",
        ["Sim:VideoQueueMs"] = "200",
        ["Sim:VideoConcurrency"] = "100",
        ["Sim:VideoQueueLength"] = "1000",
        ["Sim:VideoReadsPerSecond"] = "0",
        ["Sim:KieQueueMs"] = "200",
        ["Sim:KieCreationsPerWindow"] = "0",
        ["Sim:KieReadsPerSecond"] = "0",
    };

    private const string DatabaseSetting = "ConnectionStrings:generation";
    private const string LoginPassword = "only-for-a-chaos-run";

    /// <summary>The settings of one service, which logs in as itself.</summary>
    public static Dictionary<string, string> WithLogin(IReadOnlyDictionary<string, string> settings, string login) =>
        new(settings, StringComparer.Ordinal)
        {
            [DatabaseSetting] = new NpgsqlConnectionStringBuilder(
            settings[DatabaseSetting])
            { Username = login, Password = LoginPassword }.ConnectionString,
        };

    /// <summary>The relays also have the owner's login, and make schema and logins as they start.</summary>
    public static Dictionary<string, string> ForRelay(IReadOnlyDictionary<string, string> settings) =>
        new(WithLogin(settings, ServiceLogins.Relay), StringComparer.Ordinal)
        {
            ["ConnectionStrings:generation-owner"] = settings[DatabaseSetting],
            ["Database:Roles:Api:Password"] = LoginPassword,
            ["Database:Roles:Relay:Password"] = LoginPassword,
            ["Database:Roles:Worker:Password"] = LoginPassword,
        };

    public static Dictionary<string, string> Make(
        PostgresProcess postgres, RedisProcess redis, Uri sim, IReadOnlyDictionary<string, string> storage, int postgresPort, int redisPort,
            int storagePort, string database)
    {
        var settings = new Dictionary<string, string>(storage, StringComparer.Ordinal)
        {
            ["Media:S3:Endpoint"] = $"http://127.0.0.1:{storagePort}",
            [DatabaseSetting] = new NpgsqlConnectionStringBuilder(postgres.ConnectionString(database)) { Port = postgresPort }.ConnectionString,
            ["ConnectionStrings:redis"] = redis.ConnectionString.Replace($":{redis.Port}", $":{redisPort}", StringComparison.Ordinal),
            ["Queue:VisibilityTimeout"] = "00:00:05",
            ["Settings:CacheMs"] = "500",
            ["Media:AllowPrivateAddresses"] = "true", // the simulator's
            ["Providers:Ark:BaseUrl"] = new Uri(sim, "api/v3").ToString(),
            ["Providers:Ark:ApiKey"] = "sim-ark-key",
            ["Providers:Ark:VideoCallTimeout"] = "00:00:10", // a provider that hangs is given up soon
            ["Providers:Google:CallTimeout"] = "00:00:10",
            ["Providers:Kie:CallTimeout"] = "00:00:10",
            ["Providers:OpenAi:VideoCallTimeout"] = "00:00:10",
            ["Providers:Ark:VideoPollInterval"] = "00:00:00.500",
            ["Providers:Ark:VideoCallbackPatience"] = "00:00:02",
            ["Providers:Ark:VideoCreatesPerMinute"] = "0",
            ["Providers:Ark:VideoReadsPerSecond"] = "0",
            ["Providers:Ark:SourceHosts"] = "localhost,127.0.0.1",
            ["Providers:OpenAi:BaseUrl"] = new Uri(sim, "v1").ToString(),
            ["Providers:OpenAi:ApiKey"] = "sim-openai-key",
            ["Providers:OpenAi:VideoBaseUrl"] = new Uri(sim, "v1").ToString(), // else Sora is retired
            ["Providers:OpenAi:VideoApiKey"] = "sim-openai-key",
            ["Providers:OpenAi:VideoPollInterval"] = "00:00:00.500",
            ["Providers:Google:BaseUrl"] = new Uri(sim, "v1beta").ToString(),
            ["Providers:Google:ApiKey"] = "sim-google-key",
            ["Providers:Google:PollInterval"] = "00:00:00.500",
            ["Providers:Google:SourceHosts"] = "localhost,127.0.0.1",
            ["Providers:Forge:Endpoints"] = sim.ToString(),
            ["Providers:Forge:PollInterval"] = "00:00:00.200",
            ["Providers:Forge:SlotPatience"] = "00:00:01",
            ["Providers:Kie:BaseUrl"] = sim.ToString(),
            ["Providers:Kie:ApiKey"] = "sim-kie-key",
            ["Providers:Kie:WebhookHmacKey"] = "sim-kie-webhook-key",
            ["Providers:Kie:PollInterval"] = "00:00:00.500",
            ["Providers:Kie:CallbackPatience"] = "00:00:02",
            ["Providers:Kie:VideoCallbackPatience"] = "00:00:02",
            ["Providers:Kie:SourceHosts"] = "localhost,127.0.0.1",
            ["Providers:Kie:CreationsPerWindow"] = "0",
            ["Providers:ElevenLabs:BaseUrl"] = sim.ToString(),
            ["Providers:ElevenLabs:ApiKey"] = "sim-elevenlabs-key",
            ["Relay:PollInterval"] = "00:00:00.200",
            ["Relay:LostDispatchInterval"] = "00:00:00.500",
            ["Relay:DeadLeaseInterval"] = "00:00:00.500",
            ["Relay:LeaseGrace"] = "00:00:02",
            ["Relay:DeadlineInterval"] = "00:00:01",
            ["Relay:HoldInterval"] = "00:00:01",
            ["Worker:LeaseDuration"] = LeaseDuration.ToString(),
            ["Worker:RenewInterval"] = "00:00:00.500",
            ["Worker:SlotRetries:0"] = "00:00:00.200",
            ["Worker:SlotRetries:1"] = "00:00:00.500",
            ["Worker:RetryBackoff"] = "00:00:00.500",
            ["Worker:MaxRetryBackoff"] = "00:00:05",
            ["Worker:MaxLostLeases"] = "20", // three kills and three pauses a minute are ours, not the session's
            ["Worker:BreakDuration"] = "00:00:02",
            ["Worker:DrainTimeout"] = "00:00:20",
            ["Worker:Concurrency"] = "8",
            ["Api:Reread"] = "00:00:02",
            ["Api:Heartbeat"] = "00:00:02",
            ["Mock:StageDelay"] = "00:00:00.100",
            ["Mock:OverrideKey"] = "only for a chaos run, long enough",
            ["Shutdown:DrainDelay"] = "00:00:00", // no load balancer
            ["Database:PoolSize"] = "10",
        };
        return settings;
    }
}
