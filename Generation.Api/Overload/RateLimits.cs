using System.Collections.Concurrent;
using System.Globalization;
using Generation.Core.Queue;
using Generation.Core.Settings;
using StackExchange.Redis;

namespace Generation.Api.Overload;

/// <summary>Section <c>RateLimits</c>.</summary>
public sealed class RateLimitOptions
{
    public const string Section = "RateLimits";

    /// <summary>Submits a minute of one API key, over all Apis; as many may come at once; default 5,000. 0 is no limit.</summary>
    public int KeyPerMinute { get; set; } = 5_000;

    /// <summary>Submits a minute of all keys together; as many may come at once; default 100,000. 0 is no limit.</summary>
    public int GlobalPerMinute { get; set; } = 100_000;

    internal void Check(SettingsCheck check)
    {
        check.AtLeast(nameof(KeyPerMinute), KeyPerMinute, 0);
        check.AtLeast(nameof(GlobalPerMinute), GlobalPerMinute, 0);
    }
}

/// <summary>What a limit says to one request.</summary>
/// <param name="Policy"><c>key</c> or <c>global</c>.</param>
/// <param name="Limit">A minute; 0 is none.</param>
/// <param name="Remaining">As many more may come now; negative when this request is one too many.</param>
/// <param name="ResetSeconds">Until the whole limit is there again, or, to one that is refused, until there is room for it.</param>
public readonly record struct Allowance(string Policy, int Limit, long Remaining, int ResetSeconds)
{
    public bool IsRefused => Remaining < 0;

    /// <summary>The headers of the IETF draft "RateLimit header fields for HTTP".</summary>
    public void Announce(IHeaderDictionary headers)
    {
        if (Limit == 0)
        {
            return; // there is none
        }

        headers["RateLimit-Policy"] = $"\"{Policy}\";q={Limit.ToString(CultureInfo.InvariantCulture)};w=60";
        headers["RateLimit"] = string.Create(CultureInfo.InvariantCulture, $"\"{Policy}\";r={Math.Max(Remaining, 0)};t={ResetSeconds}");
        if (IsRefused)
        {
            headers.RetryAfter = ResetSeconds.ToString(CultureInfo.InvariantCulture);
        }
    }
}

/// <summary>
/// Submits a minute, by key and in all, shared by all Apis: a bucket that holds a minute's worth and is refilled evenly, so that a
/// burst is welcome, and whoever was over the limit is served again as soon as there is room for one, not at the turn of the minute.
/// No request waits for Redis: each Api counts by itself and tells it ten times a second what it has counted, in one script, which
/// answers with everybody's count. So a limit is exact on one Api; several together may overshoot by what they take in within a tenth
/// of a second. Without Redis each Api keeps the limit for itself.
/// </summary>
public sealed class RateLimits(
    RateLimitOptions limits, IConnectionMultiplexer redis, QueueOptions queue, TimeProvider time, ILogger<RateLimits> log) : BackgroundService
{
    private const string Global = "all";
    private static readonly TimeSpan SyncInterval = TimeSpan.FromMilliseconds(100);

    // KEYS: buckets, hashes of the level and the second it was true at · ARGV: for each what is added, and what drains a second.
    // SubmitResponder the new levels, as text: a number would be cut to an integer. An empty bucket is as good as none.
    private const string Script =
        """
        local clock = redis.call('TIME')
        local now = clock[1] + clock[2] / 1000000
        local levels = {}
        for i, key in ipairs(KEYS) do
            local was = redis.call('HMGET', key, 'level', 'at')
            local elapsed = now - (tonumber(was[2]) or now)
            local level = math.max(0, (tonumber(was[1]) or 0) - math.max(0, elapsed) * ARGV[2 * i]) + ARGV[2 * i - 1]
            redis.call('HSET', key, 'level', string.format('%.3f', level), 'at', string.format('%.6f', now))
            redis.call('EXPIRE', key, 120)
            levels[i] = string.format('%.3f', level)
        end
        return levels
        """;

    private readonly ConcurrentDictionary<string, Bucket> buckets = new(StringComparer.Ordinal);

    /// <summary>Counts one submit of this key, or refuses it; a refused one is not counted.</summary>
    public Allowance Take(string key)
    {
        var own = Take("key", key, limits.KeyPerMinute);
        if (own.IsRefused)
        {
            return own;
        }

        var all = Take("global", Global, limits.GlobalPerMinute);
        if (all.IsRefused && own.Limit > 0)
        {
            BucketOf(key, own.Limit).Return();
        }

        return all.IsRefused || own.Limit == 0 ? all : own;
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(SyncInterval, time);
        try
        {
            while (await timer.WaitForNextTickAsync(stoppingToken))
            {
                await SyncAsync();
            }
        }
        catch (OperationCanceledException)
        {
            log.LogDebug("Stopped sharing rate limits");
        }
    }

    private Allowance Take(string policy, string key, int limit)
    {
        if (limit == 0)
        {
            return new Allowance(policy, 0, long.MaxValue, 0);
        }

        while (true)
        {
            if (BucketOf(key, limit).Take(policy) is { } allowance)
            {
                return allowance;
            }
        }
    }

    private Bucket BucketOf(string key, int limit) => buckets.GetOrAdd(key, static (_, its) => new Bucket(its.limit, its.time), (limit, time));

    private async Task SyncAsync()
    {
        var news = new List<(string Key, Bucket Bucket, long Count)>();
        foreach (var (key, bucket) in buckets)
        {
            if (bucket.TakePending() is > 0 and var count)
            {
                news.Add((key, bucket, count));
            }
            else if (bucket.TryRetire()) // so their number is bounded by the keys that submit in a minute
            {
                buckets.TryRemove(KeyValuePair.Create(key, bucket));
            }
        }

        if (news.Count == 0)
        {
            return;
        }

        try
        {
            var keys = news.Select(n => (RedisKey)$"{{{queue.Prefix}:rate}}:{n.Key}").ToArray();
            var levels = (RedisResult[])(await redis.GetDatabase().ScriptEvaluateAsync(
                Script, keys, [.. news.SelectMany(n => new RedisValue[] { n.Count, n.Bucket.PerSecond })]))!;
            for (var i = 0; i < news.Count; i++)
            {
                news[i].Bucket.Update(double.Parse((string)levels[i]!, CultureInfo.InvariantCulture));
            }
        }
        catch (Exception e) when (e is RedisException or TimeoutException or ObjectDisposedException)
        {
            news.ForEach(n => n.Bucket.PutBack(n.Count));
            log.LogDebug(e, "Rate limits are local to this process while Redis is unavailable");
        }
    }

    /// <summary>What this Api knows of one bucket: it fills with every submit and drains evenly; a full one refuses.</summary>
    private sealed class Bucket(int limit, TimeProvider time)
    {
        private const double Rounding = 1e-6; // of many small steps

        private readonly Lock gate = new();
        private double level; // of all Apis as last reported, and ours
        private long levelAt = time.GetTimestamp();
        private long fresh; // ours, not yet reported to Redis
        private bool isRetired;

        public double PerSecond => limit / 60.0;

        /// <summary>Null when this bucket has just been retired: get another.</summary>
        public Allowance? Take(string policy)
        {
            lock (gate)
            {
                if (isRetired)
                {
                    return null;
                }

                Drain();
                if (level + 1 > limit + Rounding)
                {
                    return new Allowance(policy, limit, -1, Seconds(level + 1 - limit));
                }

                level++;
                fresh++;
                return new Allowance(policy, limit, (long)(limit + Rounding - level), Seconds(level));
            }
        }

        /// <summary>Reported already or not: an excess in Redis drains there.</summary>
        public void Return()
        {
            lock (gate)
            {
                level = Math.Max(0, level - 1);
                fresh = Math.Max(0, fresh - 1);
            }
        }

        public long TakePending()
        {
            lock (gate)
            {
                var pending = fresh;
                fresh = 0;
                return pending;
            }
        }

        /// <summary>The level that Redis answered. A lower level than ours comes from a Redis that has lost its data.</summary>
        public void Update(double told)
        {
            lock (gate)
            {
                Drain();
                level = Math.Max(level, told + fresh);
            }
        }

        /// <summary>Redis was not reached. What has drained in the meantime need not be reported.</summary>
        public void PutBack(long count)
        {
            lock (gate)
            {
                Drain();
                fresh = Math.Min(fresh + count, (long)Math.Ceiling(level));
            }
        }

        /// <summary>True when it is empty, and then nothing may be counted in it any more.</summary>
        public bool TryRetire()
        {
            lock (gate)
            {
                Drain();
                return isRetired = level == 0 && fresh == 0;
            }
        }

        private void Drain()
        {
            var now = time.GetTimestamp();
            level = Math.Max(0, level - (time.GetElapsedTime(levelAt, now).TotalSeconds * PerSecond));
            levelAt = now;
        }

        private int Seconds(double submits) => (int)Math.Ceiling((submits / PerSecond) - Rounding);
    }
}
