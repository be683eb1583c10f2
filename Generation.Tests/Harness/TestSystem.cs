using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Runtime.CompilerServices;
using System.Text.Json;
using System.Text.Json.Nodes;
using Generation.Api;
using Generation.Bench.Harness;
using Generation.Core.Database;
using Generation.Core.Identity;
using Generation.Relay;
using Generation.Worker;
using Microsoft.Extensions.DependencyInjection;
using Npgsql;

namespace Generation.Tests.Harness;

/// <summary>What a <see cref="TestSystem"/> is made of.</summary>
public sealed class TestSystemOptions
{
    public int Apis { get; set; } = 1;

    public int Relays { get; set; } = 1;

    public int Workers { get; set; } = 1;

    /// <summary>Services as processes of their own, which can be killed.</summary>
    public bool AsProcesses { get; set; }

    /// <summary>A Redis that the test may kill and wipe.</summary>
    public bool OwnRedis { get; set; }

    /// <summary>A Postgres that the test may restart and kill.</summary>
    public bool OwnPostgres { get; set; }

    /// <summary>Connections that <see cref="OwnPostgres"/> takes.</summary>
    public int MaxConnections { get; set; } = 100;

    /// <summary>Services reach Postgres and Redis by a proxy each; the test itself does not.</summary>
    public bool Proxies { get; set; }

    /// <summary>Settings of the simulator.</summary>
    public Dictionary<string, string> Sim { get; } = new(StringComparer.Ordinal);

    /// <summary>Credits of the user that the test acts as.</summary>
    public long Credits { get; set; } = 1_000;

    /// <summary>Settings of all services, over the quick ones that tests use.</summary>
    public Dictionary<string, string> Settings { get; } = new(StringComparer.Ordinal);

    /// <summary>Workers know the first Api's address, so that providers call back there and fetch uploads.</summary>
    public bool IsPublic { get; set; }

    /// <summary>Services of the workers in this process: a test adds handlers and clocks here.</summary>
    public Action<IServiceCollection>? Worker { get; set; }

    /// <summary>Services of the relays in this process: a test adds clocks here.</summary>
    public Action<IServiceCollection>? Relay { get; set; }

    /// <summary>Services of the Apis in this process: a test adds models here.</summary>
    public Action<IServiceCollection>? Api { get; set; }
}

/// <summary>
/// The whole system for one test: its own database, its own part of Redis, its own media folder, its own provider simulator, and as
/// many of each service as it wants. Times are short: a lease lasts two seconds.
/// </summary>
public sealed class TestSystem : IAsyncDisposable
{
    public const string UserKey = "gk_test_user";
    private const string DatabaseSetting = "ConnectionStrings:generation";

    private readonly TestSystemOptions options;
    private readonly TestDatabase database;
    private readonly DirectoryInfo folder;
    private readonly Dictionary<string, string> settings;

    private TestSystem(TestSystemOptions options, TestDatabase database, TestRedis redis, DirectoryInfo folder, TestSim sim, Guid userId)
    {
        (this.options, this.database, Redis, this.folder, Sim, UserId) = (options, database, redis, folder, sim, userId);
        // pooled ones would die with the server
        Db = NpgsqlDataSource.Create(database.ConnectionString + (options.OwnPostgres ? ";Pooling=false" : ""));
        settings = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            [DatabaseSetting] = database.ConnectionString,
            ["ConnectionStrings:redis"] = redis.ConnectionString,
            ["Queue:Prefix"] = database.Name,
            ["Queue:VisibilityTimeout"] = "00:00:02",
            ["Settings:CacheMs"] = "100",
            ["Media:Folder:Root"] = Path.Combine(folder.FullName, "media"),
            ["Media:AllowPrivateAddresses"] = "true",
            ["Providers:Ark:BaseUrl"] = new Uri(sim.Address, "api/v3").ToString(),
            ["Providers:Ark:ApiKey"] = "sim-ark-key",
            ["Providers:Ark:VideoPollInterval"] = "00:00:00.200",
            ["Providers:Ark:SourceHosts"] = "localhost,127.0.0.1",
            ["Providers:OpenAi:BaseUrl"] = new Uri(sim.Address, "v1").ToString(),
            ["Providers:OpenAi:ApiKey"] = "sim-openai-key",
            ["Providers:OpenAi:VideoBaseUrl"] = new Uri(sim.Address, "v1").ToString(), // else Sora is retired
            ["Providers:OpenAi:VideoApiKey"] = "sim-openai-key",
            ["Providers:OpenAi:VideoPollInterval"] = "00:00:00.200",
            ["Providers:Google:BaseUrl"] = new Uri(sim.Address, "v1beta").ToString(),
            ["Providers:Google:ApiKey"] = "sim-google-key",
            ["Providers:Google:PollInterval"] = "00:00:00.200",
            ["Providers:Google:SourceHosts"] = "localhost,127.0.0.1",
            ["Providers:Forge:Endpoints"] = sim.Address.ToString(),
            ["Providers:Forge:PollInterval"] = "00:00:00.050",
            ["Providers:Forge:SlotPatience"] = "00:00:01",
            ["Providers:Kie:BaseUrl"] = sim.Address.ToString(),
            ["Providers:Kie:ApiKey"] = "sim-kie-key",
            ["Providers:Kie:WebhookHmacKey"] = "sim-kie-webhook-key",
            ["Providers:Kie:PollInterval"] = "00:00:00.200",
            ["Providers:Kie:SourceHosts"] = "localhost,127.0.0.1",
            ["Providers:Kie:CreationsPerWindow"] = "0",
            ["Providers:ElevenLabs:BaseUrl"] = sim.Address.ToString(),
            ["Providers:ElevenLabs:ApiKey"] = "sim-elevenlabs-key",
            ["Relay:PollInterval"] = "00:00:00.100",
            ["Relay:WindowSeconds"] = options.Workers == 0 ? "0" : "2", // without workers next to nothing would be sent
            ["Relay:LostDispatchInterval"] = "00:00:00.250",
            ["Relay:DeadLeaseInterval"] = "00:00:00.250",
            ["Relay:LeaseGrace"] = "00:00:01",
            ["Relay:DeadlineInterval"] = "00:00:00.250",
            ["Relay:HoldInterval"] = "00:00:00.250",
            ["Relay:AbandonedHoldInterval"] = "00:00:00.250",
            ["Relay:OverdueLotInterval"] = "00:00:00.250",
            ["Worker:LeaseDuration"] = "00:00:02",
            ["Worker:RenewInterval"] = "00:00:00.200",
            ["Worker:SlotRetries:0"] = "00:00:00.050",
            ["Worker:RetryBackoff"] = "00:00:00.100",
            ["Worker:DrainTimeout"] = "00:00:10",
            ["Worker:ResultTimeout"] = "00:00:01",
            ["Worker:EndedTaskInterval"] = "01:00:00",
            ["Api:Reread"] = "00:00:01",
            ["Mock:StageDelay"] = "00:00:00.020",
            ["Mock:OverrideKey"] = "only for tests, long enough",
            ["Shutdown:DrainDelay"] = "00:00:00",
            ["Database:PoolSize"] = "10",
        };
        if (options.Proxies)
        {
            var direct = new NpgsqlConnectionStringBuilder(database.ConnectionString);
            (PostgresWay, RedisWay) = (new TcpProxy(direct.Port), new TcpProxy(redis.Port));
            settings[DatabaseSetting] = new NpgsqlConnectionStringBuilder(database.ConnectionString) { Port = PostgresWay.Port }.ConnectionString;
            settings["ConnectionStrings:redis"] = redis.ConnectionStringBy(RedisWay.Port);
        }

        foreach (var (key, value) in options.Settings)
        {
            settings[key] = value;
        }
    }

    /// <summary>Direct access as the database's superuser, for looking and for breaking things.</summary>
    public NpgsqlDataSource Db { get; }

    public TestRedis Redis { get; }

    /// <summary>With <see cref="TestSystemOptions.OwnPostgres"/>.</summary>
    public OwnPostgres? Postgres { get; private set; }

    /// <summary>What stands before Postgres, with <see cref="TestSystemOptions.Proxies"/>.</summary>
    internal TcpProxy? PostgresWay { get; }

    /// <summary>What stands before Redis, with <see cref="TestSystemOptions.Proxies"/>.</summary>
    internal TcpProxy? RedisWay { get; }

    public TestSim Sim { get; }

    public Guid UserId { get; }

    public List<ITestService> Apis { get; } = [];

    public List<ITestService> Relays { get; } = [];

    public List<ITestService> Workers { get; } = [];

    public string MediaFolder => settings["Media:Folder:Root"];

    /// <summary>The first Api, as the test's user.</summary>
    public HttpClient Http { get; private set; } = null!;

    public static async Task<TestSystem> StartAsync(Action<TestSystemOptions>? configure = null)
    {
        var wanted = new TestSystemOptions();
        configure?.Invoke(wanted);
        TestPostgres.Migrate = connectionString => DatabaseMigrator.MigrateAsync(connectionString, CancellationToken.None);
        var ownServer = wanted.OwnPostgres ? await OwnPostgres.StartAsync(wanted.MaxConnections) : null;
        var ownDatabase = ownServer is null ? await TestPostgres.CreateDatabaseAsync() : new TestDatabase("own", ownServer.ConnectionString);
        var redis = wanted.OwnRedis ? await TestRedis.StartAsync() : await TestRedis.Shared;
        var sim = await TestSim.StartAsync(wanted.Sim);
        Guid userId;
        await using (var db = NpgsqlDataSource.Create(ownDatabase.ConnectionString + ";Pooling=false"))
        {
            userId = (await DevelopmentAccounts.CreateUserAsync(db, "user", "user", UserKey, wanted.Credits, CancellationToken.None))!.Value;
        }

        var system = new TestSystem(wanted, ownDatabase, redis, Directory.CreateTempSubdirectory("generation-media-"), sim, userId)
        {
            Postgres =
            ownServer
        };
        var servers = Enumerable.Repeat(0, wanted.Relays).Select(_ => system.AddRelayAsync())
            .Concat(Enumerable.Repeat(0, wanted.Apis).Select(_ => system.AddApiAsync())).ToList();
        if (wanted.IsPublic)
        {
            await Task.WhenAll(servers);
            system.settings["Worker:PublicBaseUrl"] = system.Apis[0].Address.ToString();
        }

        await Task.WhenAll(servers.Concat(Enumerable.Repeat(0, wanted.Workers).Select(_ => system.AddWorkerAsync())));
        if (system.Apis.Count > 0)
        {
            system.Http = system.Client(system.Apis[0]);
        }

        return system;
    }

    public Task<ITestService> AddApiAsync() => AddAsync<ApiOptions>(Apis, "Generation.Api", ServiceLogins.Api, options.Api);

    public Task<ITestService> AddRelayAsync() => AddAsync<RelayOptions>(Relays, "Generation.Relay", ServiceLogins.Relay, options.Relay);

    public Task<ITestService> AddWorkerAsync() => AddAsync<WorkerOptions>(Workers, "Generation.Worker", ServiceLogins.Worker, options.Worker);

    public HttpClient Client(ITestService api, string key = UserKey) => new()
    {
        BaseAddress = api.Address,
        Timeout = TimeSpan.FromSeconds(100),
        DefaultRequestHeaders = { Authorization = new AuthenticationHeaderValue("Bearer", key) },
    };

    /// <summary>Another user with a key of its own.</summary>
    public async Task<(Guid UserId, string Key)> AddUserAsync(string handle, long credits, string role = "user")
    {
        var key = $"gk_test_{handle}";
        return ((await DevelopmentAccounts.CreateUserAsync(Db, handle, role, key, credits, CancellationToken.None))!.Value, key);
    }

    public async Task<HttpResponseMessage> PostAsync(object body, string? key = null, HttpClient? http = null, (string Name, string Value)? header =
        null)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, "/api/generations") { Content = JsonContent.Create(body) };
        if (key is not null)
        {
            request.Headers.Add("Idempotency-Key", key);
        }

        if (header is { } more)
        {
            request.Headers.Add(more.Name, more.Value);
        }

        return await (http ?? Http).SendAsync(request);
    }

    /// <summary>Posts a picture and returns its session, which must be accepted.</summary>
    public async Task<Guid> SubmitAsync(string prompt, int n = 1, string size = "1K", string? key = null, HttpClient? http = null)
    {
        using var response = await PostAsync(new { model = "seedream-4", @params = new { prompt, size, n } }, key ?? Guid.NewGuid().ToString(), http);
        var answer = await ReadAsync(response);
        Assert.True(response.StatusCode == System.Net.HttpStatusCode.Accepted, $"{response.StatusCode}: {answer}");
        return answer["sessionId"]!.GetValue<Guid>();
    }

    /// <summary>Posts any request and returns its session, which must be accepted.</summary>
    public async Task<Guid> SubmitAsync(string model, object parameters, HttpClient? http = null)
    {
        using var response = await PostAsync(new { model, @params = parameters }, Guid.NewGuid().ToString(), http);
        var answer = await ReadAsync(response);
        Assert.True(response.StatusCode == System.Net.HttpStatusCode.Accepted, $"{response.StatusCode}: {answer}");
        return answer["sessionId"]!.GetValue<Guid>();
    }

    public async Task<JsonObject> GetAsync(Guid sessionId, HttpClient? http = null) =>
        (await (http ?? Http).GetFromJsonAsync<JsonObject>($"/api/generations/{sessionId}"))!;

    /// <summary>Watches until the session has ended, and returns its last state.</summary>
    public async Task<JsonObject> EndOfAsync(Guid sessionId, HttpClient? http = null, TimeSpan? maxWait = null)
    {
        using var timeout = new CancellationTokenSource(maxWait ?? TimeSpan.FromSeconds(60));
        try
        {
            await foreach (var e in EventsAsync(sessionId, http, ct: timeout.Token))
            {
                if (e.Name is "done" or "failed" or "canceled")
                {
                    return e.Data;
                }
            }
        }
        catch (OperationCanceledException e)
        {
            throw new TimeoutException($"The session did not end: {await GetAsync(sessionId, http)}\n{Logs()}", e);
        }

        throw new InvalidOperationException($"The stream ended before the session did: {await GetAsync(sessionId, http)}");
    }

    /// <summary>The events of a session until the stream ends. Comments come as events without a name.</summary>
    public async IAsyncEnumerable<SseEvent> EventsAsync(
        Guid sessionId, HttpClient? http = null, long? lastEventId = null, [EnumeratorCancellation] CancellationToken ct = default)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, $"/api/generations/{sessionId}/events");
        if (lastEventId is { } id)
        {
            request.Headers.Add("Last-Event-ID", id.ToString());
        }

        using var response = await (http ?? Http).SendAsync(request, HttpCompletionOption.ResponseHeadersRead, ct);
        response.EnsureSuccessStatusCode();
        if (response.StatusCode == System.Net.HttpStatusCode.NoContent)
        {
            yield break;
        }

        using var reader = new StreamReader(await response.Content.ReadAsStreamAsync(ct));
        var (name, eventId, data) = ("", (long?)null, "");
        while (await reader.ReadLineAsync(ct) is { } line)
        {
            if (line.StartsWith("id: ", StringComparison.Ordinal))
            {
                eventId = long.Parse(line[4..]);
            }
            else if (line.StartsWith("event: ", StringComparison.Ordinal))
            {
                name = line[7..];
            }
            else if (line.StartsWith("data: ", StringComparison.Ordinal))
            {
                data = line[6..];
            }
            else if (line.Length == 0 && name.Length > 0)
            {
                yield return new SseEvent(name, eventId, JsonNode.Parse(data)!.AsObject());
                (name, eventId, data) = ("", null, "");
            }
        }
    }

    /// <summary>Waits until a query of one truth value says so; fails with its text when that takes too long.</summary>
    public async Task UntilAsync(string condition, TimeSpan? maxWait = null)
    {
        var end = TimeProvider.System.GetTimestamp();
        while (!(await ScalarAsync<bool?>($"SELECT ({condition})") ?? false))
        {
            Assert.True(TimeProvider.System.GetElapsedTime(end) < (maxWait ?? TimeSpan.FromSeconds(60)), $"Did not come true: {condition}\n{Logs()}");
            await Task.Delay(TimeSpan.FromMilliseconds(50), TimeProvider.System, CancellationToken.None);
        }
    }

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

    /// <summary>The promises about money, over the whole database.</summary>
    public Task AssertBooksAreCleanAsync() => Books.AssertCleanAsync(Db);

    /// <summary>Every media row has its object, with the bytes it says.</summary>
    public async Task AssertMediaAreStoredAsync()
    {
        await using var command = Db.CreateCommand("SELECT object_key, bytes, sha256 FROM media WHERE object_key NOT LIKE 'samples/%'");
        await using var reader = await command.ExecuteReaderAsync();
        while (await reader.ReadAsync())
        {
            var bytes = await File.ReadAllBytesAsync(Path.Combine(MediaFolder, reader.GetString(0)));
            Assert.Equal(reader.GetInt64(1), bytes.LongLength);
            Assert.Equal(reader.GetFieldValue<byte[]>(2), System.Security.Cryptography.SHA256.HashData(bytes));
        }
    }

    public string Logs() => string.Join('\n', Apis.Concat(Relays).Concat(Workers).SelectMany(s => s.Log.TakeLast(40).Prepend($"--- {s.Address}")));

    public async ValueTask DisposeAsync()
    {
        Http?.Dispose();
        await Task.WhenAll(Apis.Concat(Workers).Concat(Relays).Select(s => s.DisposeAsync().AsTask()));
        await Sim.DisposeAsync();
        await Db.DisposeAsync();
        NpgsqlConnection.ClearAllPools();
        if (PostgresWay is not null && RedisWay is not null)
        {
            await PostgresWay.DisposeAsync();
            await RedisWay.DisposeAsync();
        }

        await (Postgres?.DisposeAsync() ?? database.DisposeAsync());
        if (options.OwnRedis)
        {
            await Redis.DisposeAsync();
        }

        folder.Delete(recursive: true);
        Assert.DoesNotContain(Apis.Concat(Relays).Concat(Workers).SelectMany(service => service.Log), line =>
            line.Contains("(null)", StringComparison.Ordinal)); // a log line says what is not known
    }

    public static async Task<JsonObject> ReadAsync(HttpResponseMessage response)
    {
        var text = await response.Content.ReadAsStringAsync();
        try
        {
            return JsonNode.Parse(text)!.AsObject();
        }
        catch (JsonException e)
        {
            throw new InvalidOperationException($"{response.StatusCode} without JSON: {text}", e);
        }
    }

    /// <summary>As in production, a service has a login of its own and knows nothing of the owner's; the schema was there before it.</summary>
    private async Task<ITestService> AddAsync<TMarker>(List<ITestService> to, string project, string login, Action<IServiceCollection>? configure)
        where TMarker : class
    {
        var its = new Dictionary<string, string>(settings, StringComparer.Ordinal)
        {
            [DatabaseSetting] = new NpgsqlConnectionStringBuilder(
                settings[DatabaseSetting])
            { Username = login, Password = TestPostgres.LoginPassword }.ConnectionString,
        };
        if (settings.GetValueOrDefault("environment") == "Development")
        {
            its["ConnectionStrings:generation-owner"] = settings[DatabaseSetting]; // there a relay migrates as it starts
        }

        ITestService service = options.AsProcesses
            ? await ProcessService.StartAsync(project, its)
            : await Task.Run(() => new InProcessService<TMarker>(its, configure));
        lock (to)
        {
            to.Add(service);
        }

        return service;
    }
}

/// <param name="Name">snapshot, status, progress, media, queue, done, failed or canceled.</param>
/// <param name="Id">The version; null for progress and queue.</param>
/// <param name="Data">What it carries.</param>
public sealed record SseEvent(string Name, long? Id, JsonObject Data);
