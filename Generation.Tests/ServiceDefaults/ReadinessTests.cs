using System.Net;
using Generation.Core.Database;
using Generation.ServiceDefaults;
using Generation.Tests.Harness;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Npgsql;
using StackExchange.Redis;

namespace Generation.Tests.ServiceDefaults;

[Trait("tier", "slow")]
public sealed class ReadinessTests : IAsyncLifetime
{
    private LocalServer postgres = null!;

    public async ValueTask InitializeAsync() => postgres = await LocalServer.StartPostgresAsync();

    public ValueTask DisposeAsync() => postgres.DisposeAsync();

    [Fact]
    public async Task Without_postgres_the_process_is_alive_but_not_ready()
    {
        await using var redis = await LocalServer.StartRedisAsync();
        await using var service = await StartAsync($"Host=127.0.0.1;Port={LocalServer.FreePort()};Username=postgres", redis.Redis);

        var alive = await service.Client.GetAsync("/healthz");
        Assert.Equal(HttpStatusCode.OK, alive.StatusCode);
        Assert.Equal("""{"status":"ok"}""", await alive.Content.ReadAsStringAsync());

        var ready = await service.ReadyAsync();
        Assert.Equal((HttpStatusCode.ServiceUnavailable, "unready"), (ready.Code, ready.Status));
        Assert.Equal("unreachable", (string?)ready.Checks["postgres"]);
        Assert.Null(ready.Checks["schema"]);
    }

    [Fact]
    public async Task Without_redis_readiness_is_degraded_until_redis_comes_and_again_when_it_goes()
    {
        await CreateServiceRoleAsync();
        var redisPort = LocalServer.FreePort();
        await using var service = await StartAsync(postgres.Postgres, $"127.0.0.1:{redisPort}");

        var ready = await service.ReadyAsync();
        Assert.Equal((HttpStatusCode.OK, "degraded"), (ready.Code, ready.Status));
        Assert.Equal(("ok", "unreachable"), ((string?)ready.Checks["postgres"], (string?)ready.Checks["redis"]));

        await using (await LocalServer.StartRedisAsync(redisPort))
            await service.WaitForStatusAsync("ready");
        await service.WaitForStatusAsync("degraded");

        // Three states, three lines: a change is told once, however often the probe comes.
        var changes = service.Logs.Where(log => log.Message.StartsWith("Readiness is now", StringComparison.Ordinal))
            .Select(log => log.Message.Split(' ')[3]);
        Assert.Equal(["degraded:", "ready:", "degraded:"], changes);
    }

    [Fact]
    public async Task Before_the_first_migration_postgres_answers_and_the_schema_is_outdated()
    {
        await using var service = await StartAsync(postgres.Postgres, "127.0.0.1:1", builder => builder.AddSchemaCheck(
            (_, _) => Task.FromResult(true)));

        var ready = await service.ReadyAsync();
        Assert.Equal((HttpStatusCode.ServiceUnavailable, "unready"), (ready.Code, ready.Status));
        Assert.Equal(("ok", "outdated"), ((string?)ready.Checks["postgres"], (string?)ready.Checks["schema"]));
    }

    [Fact]
    public async Task A_migration_makes_the_process_ready()
    {
        await CreateServiceRoleAsync();
        await using var service = await StartAsync(postgres.Postgres, "127.0.0.1:1", builder => builder.AddSchemaCheck(
            async (connection, cancellation) =>
        {
            await using var command = new NpgsqlCommand("SELECT version = 2 FROM schema_under_test", connection);
            return await command.ExecuteScalarAsync(cancellation) is true;
        }));
        Assert.Equal("outdated", (string?)(await service.ReadyAsync()).Checks["schema"]); // no table at all

        await ExecuteAsync("CREATE TABLE schema_under_test AS SELECT 2 AS version; GRANT SELECT ON schema_under_test TO generation_service");
        await service.WaitForStatusAsync("degraded");
        await ExecuteAsync("UPDATE schema_under_test SET version = 1");
        await service.WaitForStatusAsync("unready");
    }

    [Fact]
    public async Task A_stop_turns_readiness_to_503_while_the_listener_still_answers()
    {
        await CreateServiceRoleAsync();
        await using var service = await ServiceUnderTest.StartAsync(
            [.. Connections(postgres.Postgres, "127.0.0.1:1"), ("Shutdown:DrainDelay", "00:00:20"), ("Shutdown:GracePeriod", "00:00:30")],
            builder => builder.AddGenerationData());
        Assert.Equal("degraded", (await service.ReadyAsync()).Status);

        using var gracePeriodOver = new CancellationTokenSource();
        var drain = service.App.Services.GetRequiredService<DrainState>();
        Assert.False(drain.IsDraining);
        var stop = service.App.StopAsync(gracePeriodOver.Token);

        var ready = await service.ReadyAsync();
        Assert.True(drain.IsDraining);
        Assert.Equal((HttpStatusCode.ServiceUnavailable, "draining"), (ready.Code, ready.Status));
        Assert.Equal(HttpStatusCode.OK, (await service.Client.GetAsync("/healthz")).StatusCode);
        Assert.False(stop.IsCompleted);

        await gracePeriodOver.CancelAsync(); // ends the wait: nobody drains longer than the grace period
        await stop.WaitAsync(TimeSpan.FromSeconds(10));
        await Assert.ThrowsAsync<HttpRequestException>(() => service.Client.GetAsync("/healthz"));
    }

    [Fact]
    public async Task A_host_starts_at_once_while_both_servers_are_unavailable()
    {
        // A listener that accepts and never answers is the slowest kind of away: everything waits for its timeout.
        using var silent = new System.Net.Sockets.TcpListener(IPAddress.Loopback, 0);
        silent.Start();
        var port = ((IPEndPoint)silent.LocalEndpoint).Port;

        await using var service = await StartAsync($"Host=127.0.0.1;Port={port};Username=postgres", $"127.0.0.1:{port}", builder =>
            builder.Services.AddHostedService<NextToStart>());
        Assert.False(service.App.Services.GetServices<IHostedService>().OfType<NextToStart>().Single().StartWaitedForRedis);
        Assert.Equal("unready", (await service.ReadyAsync()).Status);
        Assert.Equal(HttpStatusCode.OK, (await service.Client.GetAsync("/healthz")).StatusCode);
    }

    [Fact]
    public async Task Pooled_connections_act_as_the_service_role_however_often_they_come_back()
    {
        await CreateServiceRoleAsync();
        await ExecuteAsync("CREATE ROLE generation_reader; GRANT generation_reader TO generation_service");
        await using var service = await StartAsync(postgres.Postgres, "127.0.0.1:1");
        var dataSource = service.App.Services.GetRequiredService<NpgsqlDataSource>();
        var backends = new HashSet<int>();
        for (var use = 0; use < 5; use++)
        {
            await using var connection = await dataSource.OpenConnectionAsync();
            backends.Add(connection.ProcessID);
            Assert.Equal("generation_service", await ScalarAsync(connection, "SELECT current_user::text"));
            Assert.Equal("postgres", await ScalarAsync(connection, "SELECT session_user::text"));

            // A user-facing read that gives its connection back in the middle: its role and its user end with its transaction.
            await using var begin = new NpgsqlCommand("BEGIN", connection);
            await begin.ExecuteNonQueryAsync();
            Assert.Equal("generation_reader", await ScalarAsync(connection,
                "SET LOCAL ROLE generation_reader; SET LOCAL app.user_id = 'somebody'; SELECT current_user::text"));
        }

        Assert.Single(backends);
        await using var after = await dataSource.OpenConnectionAsync();
        Assert.Equal("", await ScalarAsync(after, "SELECT coalesce(current_setting('app.user_id', true), '')"));
        Assert.Equal("DatabaseConnections", service.App.Services.GetRequiredService<DatabaseConnections>().ToString());
    }

    [Fact]
    public async Task A_redis_that_became_a_replica_takes_no_writes_and_degrades()
    {
        await CreateServiceRoleAsync();
        await using var redis = await TestRedis.StartAsync(keepsData: false);
        await using var admin = await ConnectionMultiplexer.ConnectAsync($"{redis.ConnectionString},allowAdmin=true");
        await using var service = await StartAsync(postgres.Postgres, redis.ConnectionString);
        await service.WaitForStatusAsync("ready");

        await admin.GetServers()[0].ExecuteAsync("REPLICAOF", "127.0.0.1", "1");
        await service.WaitForStatusAsync("degraded");
        Assert.Equal("read-only", (string?)(await service.ReadyAsync()).Checks["redis"]);

        await admin.GetServers()[0].ExecuteAsync("REPLICAOF", "NO", "ONE");
        await service.WaitForStatusAsync("ready");
    }

    [Fact]
    public async Task A_redis_whose_name_is_not_known_yet_only_degrades()
    {
        await CreateServiceRoleAsync();
        await using var service = await StartAsync(postgres.Postgres, "redis.invalid:6379,password=hunter2");
        var shared = await service.App.Services.GetRequiredService<RedisConnections>().SharedAsync();
        Assert.False(shared.IsConnected);
        Assert.Equal((HttpStatusCode.OK, "degraded"), ((await service.ReadyAsync()).Code, (await service.ReadyAsync()).Status));
        Assert.DoesNotContain(service.Logs, log => log.Message.Contains("hunter2", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_blocking_read_on_a_dedicated_connection_holds_up_nobody()
    {
        await using var redis = await LocalServer.StartRedisAsync();
        await using var service = await StartAsync(postgres.Postgres, redis.Redis);
        var connections = service.App.Services.GetRequiredService<RedisConnections>();
        var shared = (await connections.SharedAsync()).GetDatabase();
        var dedicated = await connections.ConnectDedicatedAsync("reader", longestWait: TimeSpan.FromSeconds(20));

        // Longer than the two seconds that an ordinary command may take.
        var blocked = dedicated.Database.ExecuteAsync("BLPOP", "list-under-test", "20");
        await Assert.ThrowsAsync<TimeoutException>(() => blocked.WaitAsync(TimeSpan.FromSeconds(2.5)));
        await shared.PingAsync().WaitAsync(TimeSpan.FromSeconds(2));
        await using var admin = await ConnectionMultiplexer.ConnectAsync($"{redis.Redis},allowAdmin=true"); // CLIENT counts as administration
        var clients = (await admin.GetDatabase().ExecuteAsync("CLIENT", "LIST")).ToString()!;
        Assert.Contains("-reader ", clients, StringComparison.Ordinal);
        await shared.ListLeftPushAsync("list-under-test", "work");
        Assert.Equal(["list-under-test", "work"], (string[])(await blocked)!);

        var abandoned = dedicated.Database.ExecuteAsync("BLPOP", "list-under-test", "20");
        await dedicated.DisposeAsync().AsTask().WaitAsync(TimeSpan.FromSeconds(2));
        await Assert.ThrowsAsync<RedisConnectionException>(() => abandoned.WaitAsync(TimeSpan.FromSeconds(2)));
    }

    private static (string, string)[] Connections(string postgres, string redis) =>
        [("ConnectionStrings:generation", postgres), ("ConnectionStrings:redis", redis)];

    private static Task<ServiceUnderTest> StartAsync(string postgres, string redis, Action<IHostApplicationBuilder>? add = null) =>
        ServiceUnderTest.StartAsync(Connections(postgres, redis), builder =>
        {
            builder.AddGenerationData();
            add?.Invoke(builder);
        });

    private static async Task<string?> ScalarAsync(NpgsqlConnection connection, string sql)
    {
        await using var command = new NpgsqlCommand(sql, connection);
        return (string?)await command.ExecuteScalarAsync();
    }

    private Task CreateServiceRoleAsync() => ExecuteAsync($"CREATE ROLE {ServiceLogins.Group}");

    private async Task ExecuteAsync(string sql)
    {
        await using var connection = new NpgsqlConnection(postgres.Postgres + ";Pooling=false");
        await connection.OpenAsync();
        await using var command = new NpgsqlCommand(sql, connection);
        await command.ExecuteNonQueryAsync();
    }

    /// <summary>Starts right after the connections do, and sees whether they kept it waiting.</summary>
    private sealed class NextToStart(RedisConnections redis) : IHostedService
    {
        public bool StartWaitedForRedis { get; private set; }

        public Task StartAsync(CancellationToken cancellationToken)
        {
            StartWaitedForRedis = redis.SharedAsync().IsCompleted;
            return Task.CompletedTask;
        }

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }
}
