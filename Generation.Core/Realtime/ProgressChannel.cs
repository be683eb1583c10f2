using System.Text.Json;
using Microsoft.Extensions.Logging;
using StackExchange.Redis;

namespace Generation.Core.Realtime;

/// <summary>How far a running session is. Has no id and is not kept: the row gets it with the next lease renewal.</summary>
/// <param name="SessionId">Whose.</param>
/// <param name="Version">The session's version when this was true; an older one than a watcher has seen is dropped.</param>
/// <param name="LeaseToken">Of the worker that says so.</param>
/// <param name="Percent">0 to 100.</param>
/// <param name="Phase">A word such as <c>generating</c>.</param>
public sealed record Progress(Guid SessionId, long Version, long LeaseToken, int Percent, string Phase)
{
    /// <summary>What an output looks like so far, where the provider shows it.</summary>
    public Preview? Preview { get; init; }
}

/// <param name="Ordinal">Of which output.</param>
/// <param name="ObjectKey">Where it is stored until the output comes.</param>
public sealed record Preview(int Ordinal, string ObjectKey);

/// <summary>Progress over Redis pub/sub, a channel a session. Redis being unavailable means that progress pauses, nothing else.</summary>
public sealed class ProgressChannel(IConnectionMultiplexer redis, Queue.QueueOptions options, ILogger<ProgressChannel> log)
{
    public void Publish(Progress progress)
    {
        try
        {
            redis.GetSubscriber().Publish(Name(progress.SessionId), JsonSerializer.Serialize(progress, JsonSerializerOptions.Web),
                CommandFlags.FireAndForget);
        }
        catch (Exception e) when (e is RedisException or TimeoutException or ObjectDisposedException)
        {
            log.LogDebug(e, "Progress of {SessionId} was not published", progress.SessionId);
        }
    }

    /// <summary>Calls <paramref name="onProgress"/> until the result is disposed.</summary>
    public async Task<IAsyncDisposable> SubscribeAsync(Guid sessionId, Action<Progress> onProgress)
    {
        var subscription = new Subscription(redis, Name(sessionId), onProgress, log);
        try
        {
            await redis.GetSubscriber().SubscribeAsync(subscription.Channel, subscription.Receive);
        }
        catch (Exception e) when (e is RedisException or TimeoutException)
        {
            log.LogDebug(e, "No progress of {SessionId} while Redis is unavailable", sessionId);
        }

        return subscription;
    }

    private RedisChannel Name(Guid sessionId) => new($"{options.Prefix}:progress:{sessionId}", RedisChannel.PatternMode.Literal);

    private sealed class Subscription(IConnectionMultiplexer redis, RedisChannel channel, Action<Progress> onProgress, ILogger log) : IAsyncDisposable
    {
        public RedisChannel Channel => channel;

        public void Receive(RedisChannel from, RedisValue message)
        {
            try
            {
                if (JsonSerializer.Deserialize<Progress>((string?)message ?? "null", JsonSerializerOptions.Web) is { } progress)
                {
                    onProgress(progress);
                }
            }
            catch (JsonException)
            {
                log.LogDebug("Ignored a message on {Channel} that is not progress", channel);
            }
        }

        public async ValueTask DisposeAsync()
        {
            try
            {
                await redis.GetSubscriber().UnsubscribeAsync(channel, Receive);
            }
            catch (Exception e) when (e is RedisException or TimeoutException or ObjectDisposedException)
            {
                log.LogDebug(e, "Could not unsubscribe from {Channel}; the connection is closed", channel);
            }
        }
    }
}
