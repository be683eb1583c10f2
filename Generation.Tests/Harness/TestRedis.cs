using Generation.LocalServers;

namespace Generation.Tests.Harness;

/// <summary>A Redis server: one of a test's own, to kill and wipe as it likes, or the one that the whole run shares.</summary>
public sealed class TestRedis : IAsyncDisposable
{
    private static readonly Lock Gate = new();
    private static Task<TestRedis>? shared;

    private readonly RedisProcess process;
    private readonly string folder;

    private TestRedis(RedisProcess process, string folder)
    {
        this.process = process;
        this.folder = folder;
    }

    /// <summary>One server for the whole run: never wipe it, and give your keys a prefix.</summary>
    public static Task<TestRedis> Shared
    {
        get
        {
            lock (Gate) return shared ??= StartSharedAsync();
        }
    }

    public int Port => process.Port;

    /// <summary>In StackExchange's form. It stays the same when the server is restarted.</summary>
    public string ConnectionString => process.ConnectionString;

    /// <summary>The same server by another port, which leads to it.</summary>
    public string ConnectionStringBy(int port) => process.ConnectionString.Replace(process.Address, $"127.0.0.1:{port}", StringComparison.Ordinal);

    /// <summary>Starts a server of the caller's own.</summary>
    /// <param name="keepsData">True: it has an append-only file as in production, so what it acknowledged survives a kill.</param>
    public static async Task<TestRedis> StartAsync(bool keepsData = true)
    {
        var ownFolder = TestServers.NewFolder("redis");
        var server = new RedisProcess(new RedisOptions
        {
            Folder = ownFolder,
            RecordPath = TestServers.NewRecordPath("redis"),
            IsEphemeral = !keepsData,
        }, TimeProvider.System);
        await server.StartAsync(CancellationToken.None);
        return new TestRedis(server, ownFolder);
    }

    /// <summary>Kills the server, as a crash would. Clients notice at once.</summary>
    public Task KillAsync() => process.KillAsync();

    /// <summary>Starts it again, killing it first if it runs: same port, same password, same folder.</summary>
    public async Task RestartAsync()
    {
        await process.KillAsync();
        await process.StartAsync(CancellationToken.None);
    }

    /// <summary>FLUSHALL: everything is gone, and connections stay.</summary>
    public Task WipeAsync() => TellAsync("FLUSHALL");

    /// <summary>More than so many bytes make every command that would store something answer OOM; 0: no limit.</summary>
    public Task LimitMemoryAsync(long bytes) => TellAsync($"CONFIG SET maxmemory {bytes}");

    private async Task TellAsync(string command)
    {
        var reply = await process.CommandAsync(command, CancellationToken.None);
        if (reply != "+OK") throw new InvalidOperationException($"{command} answered {reply}");
    }

    public async ValueTask DisposeAsync()
    {
        await process.KillAsync();
        Directory.Delete(folder, recursive: true);
    }

    private static async Task<TestRedis> StartSharedAsync()
    {
        var redis = await StartAsync(keepsData: false);
        TestServers.StopAtTheEnd(async () => await redis.DisposeAsync());
        return redis;
    }
}
