using System.Runtime.CompilerServices;
using StackExchange.Redis;

namespace Generation.Core.Queue;

/// <summary>
/// A failover that leaves connections open: the server behind them is a replica now, every write is refused, and the client, whose
/// connections are whole, would stay there. New connections lead to the new primary (by name, proxy or address), so the old ones are closed.
/// </summary>
public static class RedisFailover
{
    /// <summary>A client is not sent away more often, for a failover may take a while.</summary>
    private static readonly TimeSpan MinInterval = TimeSpan.FromSeconds(3);

    private static readonly ConditionalWeakTable<IConnectionMultiplexer, StrongBox<long>> LastReconnects = [];

    /// <summary>Whether this server answers and takes no writes: it is a replica, or still reads its data from disk.</summary>
    public static bool IsNotWritable(IConnectionMultiplexer redis, Exception failure)
    {
        ArgumentNullException.ThrowIfNull(redis);
        ArgumentNullException.ThrowIfNull(failure);
        if (failure is RedisServerException)
        {
            return failure.Message.Contains("READONLY", StringComparison.Ordinal) || failure.Message.StartsWith("LOADING", StringComparison.Ordinal)
                || failure.Message.StartsWith("MASTERDOWN", StringComparison.Ordinal);
        }

        // Once the client has found out by itself, it refuses writes without asking.
        var connected = redis.GetServers().Where(server => server.IsConnected).ToList();
        return failure is RedisException && connected.Count > 0 && connected.TrueForAll(server => server.IsReplica);
    }

    /// <summary>
    /// Closes this client's connections when <paramref name="failure"/> says so; it opens new ones by itself. Needs <c>allowAdmin</c>. Never throws.
    /// </summary>
    /// <returns>Whether they were closed.</returns>
    public static async Task<bool> ReconnectAfterAsync(IConnectionMultiplexer redis, Exception failure, TimeProvider time)
    {
        ArgumentNullException.ThrowIfNull(time);
        if (!IsNotWritable(redis, failure) || !IsTurn(redis, time))
        {
            return false;
        }

        foreach (var server in redis.GetServers().Where(server => server.IsConnected))
        {
            try
            {
                // By name: a client has one connection for commands and one for subscriptions, and only the first can be asked for its id.
                foreach (var client in (await server.ClientListAsync()).Where(client => client.Name == redis.ClientName))
                {
                    await server.ClientKillAsync(id: client.Id, skipMe: false);
                }
            }
            catch (Exception e) when (e is RedisException or RedisCommandException or TimeoutException or ObjectDisposedException)
            {
                // The last one that was killed was ours; or the server is gone, and with it the connections.
            }
        }

        return true;
    }

    private static bool IsTurn(IConnectionMultiplexer redis, TimeProvider time)
    {
        var last = LastReconnects.GetOrCreateValue(redis);
        var before = Interlocked.Read(ref last.Value);
        return (before == 0 || time.GetElapsedTime(before) >= MinInterval)
            && Interlocked.CompareExchange(ref last.Value, time.GetTimestamp(), before) == before;
    }
}
