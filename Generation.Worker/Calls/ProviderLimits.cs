using Generation.Core.Queue;
using StackExchange.Redis;

namespace Generation.Worker.Calls;

/// <summary>
/// Enforces a provider's rate limits over all workers: a sliding window of the last calls in Redis, by Redis's clock. It never waits: a
/// rejected call is told when to retry. Without Redis nothing is rejected; the provider's own limit then applies.
/// </summary>
public sealed class ProviderLimits(IConnectionMultiplexer redis, QueueOptions options, Random random, ILogger<ProviderLimits> log)
{
    // KEYS[1] the window · ARGV[1] calls · ARGV[2] its length in ms. Answers 0, or the ms until the oldest call leaves the window.
    private const string Script =
        """
        local t = redis.call('TIME')
        local now = t[1] * 1000 + math.floor(t[2] / 1000)
        redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
        if redis.call('ZCARD', KEYS[1]) < tonumber(ARGV[1]) then
            redis.call('ZADD', KEYS[1], now, t[1] .. '.' .. t[2] .. '.' .. redis.call('INCR', KEYS[1] .. ':n'))
            redis.call('PEXPIRE', KEYS[1], ARGV[2])
            redis.call('PEXPIRE', KEYS[1] .. ':n', ARGV[2])
            return 0
        end
        local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
        return math.max(oldest[2] + ARGV[2] - now, 1)
        """;

    /// <summary>
    /// A call is counted here and again when it arrives, and not all take equally long on the way: two that are a window apart here may be
    /// closer there.
    /// </summary>
    private static TimeSpan MarginOf(TimeSpan window) => window / 5 > TimeSpan.FromSeconds(2) ? TimeSpan.FromSeconds(2) : window / 5;

    /// <summary>Null when a call may be made, which is then counted; else the delay until the next attempt, with jitter.</summary>
    public async Task<TimeSpan?> TakeAsync(string provider, RateLimit limit)
    {
        ArgumentNullException.ThrowIfNull(limit);
        try
        {
            var key = $"{{{options.Prefix}:limit:{provider}:{limit.Name}}}";
            var wait = (long)await redis.GetDatabase().ScriptEvaluateAsync(Script, [key],
                [limit.Calls, (long)(limit.Window + MarginOf(limit.Window)).TotalMilliseconds]);
            return wait == 0 ? null : TimeSpan.FromMilliseconds(wait) + (limit.Window * (Jitter() / 4));
        }
        catch (Exception e) when (e is RedisException or TimeoutException)
        {
            log.LogDebug(e, "Limit {Limit} of {Provider} is not enforced while Redis is unavailable", limit.Name, provider);
            return null;
        }
    }

    private double Jitter()
    {
        lock (random)
        {
            return random.NextDouble();
        }
    }
}
