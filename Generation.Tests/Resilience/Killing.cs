using Generation.Tests.Harness;
using Npgsql;
using StackExchange.Redis;

namespace Generation.Tests.Resilience;

/// <summary>What tests of crashes do to a system.</summary>
internal static class Killing
{
    public static readonly TimeSpan MaxWait = TimeSpan.FromSeconds(60);

    /// <summary>Adds a service as a process of its own to a system whose other services live in the test's process.</summary>
    public static async Task<ProcessService> AsProcessAsync(this TestSystemOptions options, Func<Task<ITestService>> add)
    {
        options.AsProcesses = true; // read before the first await of add
        var adding = add();
        options.AsProcesses = false;
        return (ProcessService)await adding;
    }

    /// <summary>Waits for a line of a service's log that contains <paramref name="text"/>.</summary>
    public static async Task UntilLoggedAsync(this ITestService service, string text)
    {
        var started = TimeProvider.System.GetTimestamp();
        while (!service.Log.Any(line => line.Contains(text, StringComparison.Ordinal)))
        {
            Assert.True(TimeProvider.System.GetElapsedTime(started) < MaxWait,
                $"Never logged: {text}\n{string.Join('\n', service.Log.TakeLast(40))}");
            await Task.Delay(TimeSpan.FromMilliseconds(20), TimeProvider.System, CancellationToken.None);
        }
    }

    /// <summary>Lets whoever waits at the gate pass, and holds the next.</summary>
    public static async Task LetOnePassAsync(this TestSim sim, string gate)
    {
        using var http = new HttpClient { BaseAddress = sim.Address };
        (await http.DeleteAsync(new Uri($"/sim/gates/{gate}", UriKind.Relative))).EnsureSuccessStatusCode();
    }

    /// <summary>The keys of all whole objects in the store.</summary>
    public static IReadOnlyList<string> Objects(this TestSystem system) => !Directory.Exists(system.MediaFolder) ? []
        : [.. Directory.EnumerateFiles(system.MediaFolder, "output-*", SearchOption.AllDirectories)
            .Select(file => Path.GetRelativePath(system.MediaFolder, file)).Order(StringComparer.Ordinal)];

    /// <summary>So many sessions were completed, each with one claim and one end: the token grows with both.</summary>
    public static async Task AssertRanOnceAsync(this TestSystem system, int sessions) => Assert.Equal(
        $"{sessions} completed, token 2, lost 0",
        await system.ScalarAsync<string>(
            """
            SELECT string_agg(format('%s %s, token %s, lost %s', n, status, lease_token, lost_leases), '; ')
            FROM (SELECT count(*) AS n, status, lease_token, lost_leases FROM generation_sessions GROUP BY 2, 3, 4) AS g
            """));

    /// <summary>What must hold when everything is over: every session ended once, money and media agree, each row has its object.</summary>
    public static async Task AssertAllIsWellAsync(this TestSystem system)
    {
        await system.UntilAsync("SELECT count(*) = 0 FROM generation_sessions WHERE completed_at IS NULL");
        await system.UntilAsync("SELECT count(*) = 0 FROM outbox WHERE set_aside_at IS NULL");
        await system.AssertBooksAreCleanAsync();
        await system.AssertMediaAreStoredAsync();
    }
}

/// <summary>
/// A point in the database at which a service stands still until the test lets it go: see <see cref="Stall"/>.
/// </summary>
internal sealed class StandStill : IAsyncDisposable
{
    private readonly TestSystem system;
    private readonly NpgsqlConnection holder;

    private StandStill(TestSystem system, NpgsqlConnection holder) => (this.system, this.holder) = (system, holder);

    /// <param name="system">Where.</param>
    /// <param name="triggers">
    /// Triggers without name and function: <c>BEFORE UPDATE ON outbox FOR EACH ROW WHEN (…)</c>. There, <c>slept_at(session_id, 'words')</c>
    /// says whether a session's prompt contains the words.
    /// </param>
    public static async Task<StandStill> AtAsync(TestSystem system, params string[] triggers)
    {
        var connection = await system.Db.OpenConnectionAsync();
        await using var command = new NpgsqlCommand(
            """
            CREATE FUNCTION slept_at(id uuid, words text) RETURNS boolean LANGUAGE sql SECURITY DEFINER AS $$
                SELECT EXISTS (SELECT FROM generation_sessions WHERE session_id = id AND params ->> 'prompt' LIKE '%' || words || '%') $$
            """,
            connection);
        await command.ExecuteNonQueryAsync();
        await Stall.AtAsync(connection, triggers);
        return new StandStill(system, connection);
    }

    /// <summary>Waits until so many have come to the point.</summary>
    public Task ReachedAsync(int count = 1) => system.UntilAsync($"SELECT count(*) >= {count} FROM pg_stat_activity WHERE {Stall.Waiting}");

    /// <summary>Cuts off whoever stands there, as the end of its process does sooner or later; what it had begun is rolled back.</summary>
    public async Task CutOffAsync()
    {
        await system.ExecuteAsync($"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {Stall.Waiting}");
        await system.UntilAsync($"SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE {Stall.Waiting})");
    }

    /// <summary>Lets everybody go, now and from now on.</summary>
    public async Task LetGoAsync()
    {
        await using var command = new NpgsqlCommand("SELECT pg_advisory_unlock_all()", holder);
        await command.ExecuteNonQueryAsync();
    }

    public async ValueTask DisposeAsync() => await holder.DisposeAsync();
}

/// <summary>The image lane's stream, seen from outside.</summary>
internal sealed class ImageStream : IDisposable
{
    private readonly ConnectionMultiplexer redis;
    private readonly RedisKey key;

    private ImageStream(ConnectionMultiplexer redis, RedisKey key) => (this.redis, this.key) = (redis, key);

    public static async Task<ImageStream> OpenAsync(TestSystem system) => new(
        await ConnectionMultiplexer.ConnectAsync(system.Redis.ConnectionString),
        $"{await system.ScalarAsync<string>("SELECT current_database()::text")}:{{image}}:jobs");

    /// <summary>Messages that no worker has completed.</summary>
    public Task<long> LengthAsync() => redis.GetDatabase().StreamLengthAsync(key);

    /// <summary>Messages that were ever added: one more than sessions means that one was sent twice.</summary>
    public async Task<long> EverAddedAsync() => (await redis.GetDatabase().StreamInfoAsync(key)).EntriesAdded;

    /// <summary>Receives messages as a worker that dies before it has claimed them; returns how many.</summary>
    public async Task<int> ReceiveAndDieAsync(int count) =>
        (await redis.GetDatabase().StreamReadGroupAsync(key, "workers", "a-worker-that-died", StreamPosition.NewMessages, count)).Length;

    public void Dispose() => redis.Close(allowCommandsToComplete: false);
}
