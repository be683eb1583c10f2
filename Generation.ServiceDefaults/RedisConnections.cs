using System.Net;
using Generation.Core.Queue;
using Generation.Core.Settings;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using OpenTelemetry;
using StackExchange.Redis;

namespace Generation.ServiceDefaults;

/// <summary>
/// The ways to reach Redis: one shared multiplexer, and a dedicated one for each blocking reader
/// (a blocking command holds up every other command on its connection).
/// <para>Redis may be unavailable at start and come later: nothing here throws for that, commands do. Asking the container
/// for <see cref="IConnectionMultiplexer"/> waits up to <see cref="ConnectTimeoutMilliseconds"/> the first time; code
/// that runs at start awaits <see cref="SharedAsync"/> instead.</para>
/// </summary>
public sealed class RedisConnections(
    IServiceProvider services, IConfiguration configuration, RedisConnections.ClientIdentity identity, TimeProvider time,
    ILogger<RedisConnections> log) : BackgroundService
{
    /// <summary>The name in <c>ConnectionStrings</c>; the value is StackExchange's <c>host:port,password=…,ssl=true</c>.</summary>
    public const string ConnectionName = "redis";

    public const int ConnectTimeoutMilliseconds = 2000;

    /// <summary>A caller waits no longer than this for a command; the client's own default is 5 s.</summary>
    private const int CommandTimeoutMilliseconds = 2000;

    /// <summary>How often a write is tried: a service that only reads and listens would not notice that its server became a replica.</summary>
    private static readonly TimeSpan WriteInterval = TimeSpan.FromSeconds(5);

    private readonly Lazy<Task<IConnectionMultiplexer>> shared = new(() => Task.Run(services.GetRequiredService<IConnectionMultiplexer>));

    /// <summary>The service's name as Redis's <c>CLIENT LIST</c> shows it.</summary>
    public sealed record ClientIdentity(string ServiceName);

    /// <summary>
    /// The shared multiplexer, without holding a thread while it connects. It may come back not connected: look at <c>IsConnected</c>, or let the
    /// command fail.
    /// </summary>
    public Task<IConnectionMultiplexer> SharedAsync() => shared.Value;

    /// <summary>
    /// A connection of the caller's own, which the caller disposes.
    /// </summary>
    /// <param name="purpose">Shown in <c>CLIENT LIST</c> after the service's name; letters and dashes.</param>
    /// <param name="longestWait">The longest <c>BLOCK</c> that will be used on it: a command may take this plus two seconds before it counts as
    /// lost.</param>
    public async Task<DedicatedRedis> ConnectDedicatedAsync(string purpose, TimeSpan longestWait)
    {
        var options = ReadOptions(configuration, $"{identity.ServiceName}-{purpose}");
        options.AsyncTimeout += (int)longestWait.TotalMilliseconds;
        return new DedicatedRedis(await ConnectionMultiplexer.ConnectAsync(options));
    }

    /// <summary>
    /// Tries a write. A server that takes none, after a failover for example, is left for whichever answers at the address now.
    /// </summary>
    /// <exception cref="RedisException">It was refused, or did not arrive.</exception>
    public async Task TryWriteAsync()
    {
        var redis = await SharedAsync();
        try
        {
            await redis.GetDatabase().StringSetAsync($"generation:writable:{identity.ServiceName}", "1", TimeSpan.FromMinutes(1));
        }
        catch (RedisException e)
        {
            if (await RedisFailover.ReconnectAfterAsync(redis, e, time))
            {
                log.LogWarning("Redis takes no writes ({Problem}): connecting anew, for another server may be the primary now", e.Message);
            }

            throw;
        }
    }

    /// <summary>Connects in the background as the process starts, so that the first request does not pay for it; then tries to write.</summary>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        await SharedAsync().WaitAsync(stoppingToken);
        using var timer = new PeriodicTimer(WriteInterval, time);
        while (await timer.WaitForNextTickAsync(stoppingToken))
        {
            using var noSpans = SuppressInstrumentationScope.Begin();
            try
            {
                await TryWriteAsync();
            }
            catch (Exception e) when (!stoppingToken.IsCancellationRequested)
            {
                log.LogDebug(e, "Redis took no write");
            }
        }
    }

    /// <summary>Closes the shared multiplexer. What is registered after <c>AddGenerationData</c> has stopped by then.</summary>
    public override async Task StopAsync(CancellationToken ct)
    {
        await base.StopAsync(ct);
        if (shared is { IsValueCreated: true, Value.IsCompletedSuccessfully: true })
        {
            // no command is in flight by now, and closing would wait for a Redis that is unavailable
            await (await shared.Value).CloseAsync(allowCommandsToComplete: false);
        }
    }

    /// <summary>Whether traffic to Redis crosses the network unencrypted.</summary>
    internal static bool CrossesNetworkInClear(IConfiguration configuration)
    {
        var options = ReadOptions(configuration, "check");
        return !options.Ssl && options.EndPoints.Any(endpoint => endpoint switch
        {
            DnsEndPoint name => name.Host is not "localhost",
            IPEndPoint address => !IPAddress.IsLoopback(address.Address),
            _ => false, // a socket file
        });
    }

    internal static ConfigurationOptions ReadOptions(IConfiguration configuration, string clientName)
    {
        var given = configuration.GetConnectionString(ConnectionName);
        if (string.IsNullOrWhiteSpace(given))
        {
            throw new SettingException($"ConnectionStrings:{ConnectionName} is not set (environment: ConnectionStrings__{ConnectionName})");
        }

        try
        {
            var options = ConfigurationOptions.Parse(given);
            Harden(options, clientName);
            return options;
        }
        catch (ArgumentException)
        {
            // Without the inner exception: it may quote the value, password included.
#pragma warning disable MA0054
            throw new SettingException($"ConnectionStrings:{ConnectionName} is not valid (host:port,password=…,ssl=true)");
#pragma warning restore MA0054
        }
    }

    internal static void Harden(ConfigurationOptions options, string clientName)
    {
        options.AbortOnConnectFail = false; // a missing Redis degrades the service; it must not stop it, and it is found again
        options.ConnectTimeout = ConnectTimeoutMilliseconds;
        options.SyncTimeout = CommandTimeoutMilliseconds;
        options.AsyncTimeout = CommandTimeoutMilliseconds;
        options.ClientName = clientName;
        options.AllowAdmin = true; // for RedisFailover, which closes our own connections
    }

    internal static string ServiceName(IHostApplicationBuilder builder) =>
        (builder.Configuration["OTEL_SERVICE_NAME"] ?? builder.Environment.ApplicationName).Replace(' ', '-');
}

/// <summary>
/// A multiplexer that one owner uses for blocking reads. Disposing it abandons a read that is under way, which then fails
/// with <see cref="RedisConnectionException"/>: read only what an abandoned read gives back (a consumer group's pending
/// entries, not BLPOP).
/// </summary>
public sealed class DedicatedRedis(ConnectionMultiplexer multiplexer) : IAsyncDisposable
{
    public IConnectionMultiplexer Multiplexer => multiplexer;

    public IDatabase Database => multiplexer.GetDatabase();

    // The gentle way sends QUIT behind the read and waits for its answer, as long as the read blocks (tried: 11.5 s for one
    // that had 11.5 s to go); closed this way it takes no time. Closing is all that disposing does.
    public ValueTask DisposeAsync() => new(multiplexer.CloseAsync(allowCommandsToComplete: false));
}
