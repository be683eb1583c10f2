using Generation.LocalServers;
using Generation.Tests.Harness;
using Npgsql;

namespace Generation.Tests.AppHost;

public sealed class LocalServersTests
{
    [Fact]
    public async Task A_half_initialised_cluster_is_initialised_again()
    {
        var folder = TestServers.NewFolder("half");
        Directory.CreateDirectory(Path.Combine(folder, "cluster.new", "base"));
        Directory.CreateDirectory(Path.Combine(folder, "cluster"));
        await File.WriteAllTextAsync(Path.Combine(folder, "cluster", "PG_VERSION"), "15\n");

        var postgres = EphemeralPostgres(folder);
        Assert.True(await postgres.StartAsync(CancellationToken.None));
        await postgres.EnsureDatabaseAsync("sample", CancellationToken.None);
        await postgres.EnsureDatabaseAsync("sample", CancellationToken.None); // it is there already
        Assert.Equal("sample", await ScalarAsync(postgres.ConnectionString("sample"), "SELECT current_database()"));

        await postgres.StopAsync(TimeSpan.FromSeconds(20), CancellationToken.None);
        Assert.Equal(0, await postgres.Exited);
        Assert.False(Directory.Exists(Path.Combine(folder, "cluster.new")));
    }

    [Fact]
    public async Task A_server_that_a_killed_run_left_running_is_stopped_before_the_next_starts()
    {
        var folder = TestServers.NewFolder("orphan");
        var orphan = EphemeralPostgres(folder);
        await orphan.StartAsync(CancellationToken.None);

        var next = EphemeralPostgres(folder);
        await next.StartAsync(CancellationToken.None);
        Assert.True(orphan.Exited.IsCompleted);
        Assert.Equal("1", await ScalarAsync(next.ConnectionString("postgres"), "SELECT 1"));
        await next.StopAsync(TimeSpan.FromSeconds(20), CancellationToken.None);
    }

    [Fact]
    public async Task A_recorded_child_is_stopped_and_a_stranger_with_its_number_is_not()
    {
        var folder = TestServers.NewFolder("records");
        var orphan = await ChildProcess.StartAsync(new ChildCommand("sleep", "1000") { RecordPath = Path.Combine(folder, "orphan.pid") }, _ => { });
        var stranger = await ChildProcess.StartAsync(new ChildCommand("sleep", "1000"), _ => { });
        await File.WriteAllTextAsync(Path.Combine(folder, "stranger.pid"), $"{stranger.Id} 15 started-at-another-time");

        Assert.Equal(["orphan"], await ChildRecords.StopOrphansAsync(folder, TimeProvider.System, CancellationToken.None));
        Assert.Equal(128 + 15, await orphan.Exited);
        Assert.False(stranger.Exited.IsCompleted);
        Assert.Empty(Directory.GetFiles(folder));

        stranger.Signal(UnixSignal.Kill);
        Assert.Equal(128 + 9, await stranger.Exited);
    }

    [Fact]
    public void Crashes_are_followed_by_longer_and_longer_pauses_and_five_within_a_minute_are_the_end()
    {
        var clock = new ManualClock();
        var sparse = new CrashHistory(clock);
        var pauses = new List<double?>();
        foreach (var upSeconds in new[] { 0, 20, 20, 20, 20, 20, 20, 90 })
        {
            clock.Advance(TimeSpan.FromSeconds(upSeconds));
            pauses.Add(sparse.NextRestart()?.TotalSeconds);
        }

        Assert.Equal([1, 2, 4, 8, 16, 30, 30, 1], pauses);

        var dense = new CrashHistory(clock);
        for (var crash = 1; crash < CrashHistory.FatalCrashes; crash++)
        {
            Assert.NotNull(dense.NextRestart());
            clock.Advance(TimeSpan.FromSeconds(14));
        }

        Assert.Null(dense.NextRestart());
    }

    [Fact]
    public async Task Databases_are_copies_of_the_template_and_know_nothing_of_each_other()
    {
        await using var one = await TestPostgres.CreateDatabaseAsync();
        await using var other = await TestPostgres.CreateDatabaseAsync();
        await ScalarAsync(one.ConnectionString, "CREATE TABLE mine (id int)");

        Assert.Equal("mine", await ScalarAsync(one.ConnectionString, "SELECT to_regclass('mine')::text"));
        Assert.Equal("", await ScalarAsync(other.ConnectionString, "SELECT to_regclass('mine')::text"));

        await using var copy = await TestPostgres.CreateDatabaseAsync(one.Name);
        Assert.Equal("mine", await ScalarAsync(copy.ConnectionString, "SELECT to_regclass('mine')::text"));

        await TestPostgres.DropDatabaseAsync(one.Name);
        await Assert.ThrowsAsync<PostgresException>(() => ScalarAsync(one.ConnectionString, "SELECT 1"));
    }

    [Fact]
    public async Task A_killed_redis_comes_back_at_the_same_port_with_what_it_had_acknowledged()
    {
        await using var redis = await TestRedis.StartAsync();
        Assert.Equal("+OK", await SendAsync(redis, "SET kept 42"));
        var port = redis.Port;

        await redis.KillAsync();
        await redis.RestartAsync();
        Assert.Equal(port, redis.Port);
        Assert.Equal("$2", await SendAsync(redis, "GET kept"));

        await redis.WipeAsync();
        Assert.Equal("$-1", await SendAsync(redis, "GET kept"));
    }

    [Fact]
    public async Task The_shared_redis_is_one_for_all_who_ask()
    {
        var servers = await Task.WhenAll(TestRedis.Shared, TestRedis.Shared);
        Assert.Same(servers[0], servers[1]);
        Assert.Equal("+PONG", await SendAsync(servers[0], "PING"));
    }

    private static PostgresProcess EphemeralPostgres(string folder) => new(new PostgresOptions
    {
        Folder = folder,
        RecordPath = TestServers.NewRecordPath("postgres"),
        IsEphemeral = true,
    }, TimeProvider.System);

    private static async Task<string?> ScalarAsync(string connectionString, string sql)
    {
        await using var connection = new NpgsqlConnection(connectionString + ";Pooling=false");
        await connection.OpenAsync();
        await using var command = new NpgsqlCommand(sql, connection);
        return (await command.ExecuteScalarAsync())?.ToString();
    }

    private static async Task<string> SendAsync(TestRedis redis, string command)
    {
        using var client = new System.Net.Sockets.TcpClient();
        await client.ConnectAsync("127.0.0.1", redis.Port);
        await using var stream = client.GetStream();
        var password = redis.ConnectionString.Split("password=") is [_, var given] ? given : null;
        using var reader = new StreamReader(stream);
        if (password is not null)
        {
            await stream.WriteAsync(System.Text.Encoding.ASCII.GetBytes($"AUTH {password}\r\n"));
            Assert.Equal("+OK", await reader.ReadLineAsync());
        }

        await stream.WriteAsync(System.Text.Encoding.ASCII.GetBytes(command + "\r\n"));
        return await reader.ReadLineAsync() ?? "";
    }

    private sealed class ManualClock : TimeProvider
    {
        private long now = 1_000_000;

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => now;

        public void Advance(TimeSpan time) => now += time.Ticks;
    }
}
