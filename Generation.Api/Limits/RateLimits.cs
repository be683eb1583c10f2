using System.Collections.Concurrent;
using System.Globalization;
using Generation.Core.Queue;
using StackExchange.Redis;

namespace Generation.Api.Limits;

/// <summary>Section <c>RateLimits</c>.</summary>
public sealed class RateLimitOptions
{
    public const string Section = "RateLimits";

    /// <summary>Submits a minute of one API key, over all Apis; default 5,000. 0 is no limit.</summary>
    public int KeyPerMinute { get; set; } = 5_000;

    /// <summary>Submits a minute of all keys together; default 100,000. 0 is no limit.</summary>
    public int GlobalPerMinute { get; set; } = 100_000;

    public string? Problem() => KeyPerMinute < 0 || GlobalPerMinute < 0 ? "RateLimits:KeyPerMinute and RateLimits:GlobalPerMinute must not be negative; 0 is no limit." : null;
}

/// <summary>What a limit says to one request.</summary>
/// <param name="Policy"><c>key</c> or <c>global</c>.</param>
/// <param name="Limit">In a window of a minute.</param>
/// <param name="Remaining">In this window; negative when this request is one too many.</param>
/// <param name="ResetSeconds">Until the next window.</param>
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
        headers["RateLimit"] = $"\"{Policy}\";r={Math.Max(Remaining, 0).ToString(CultureInfo.InvariantCulture)};t={ResetSeconds.ToString(CultureInfo.InvariantCulture)}";
        if (IsRefused)
        {
            headers.RetryAfter = ResetSeconds.ToString(CultureInfo.InvariantCulture);
        }
    }
}

/// <summary>
/// Submits a minute, by key and in all, shared by all Apis. No request waits for it: each Api counts by itself and tells Redis ten times
/// a second what it has counted, in one script, which answers with everybody's count. So a limit is exact on one Api; several together
/// may overshoot by what they take in within a tenth of a second. Without Redis each Api keeps the limit for itself.
/// </summary>
public sealed class RateLimits(
    RateLimitOptions limits, IConnectionMultiplexer redis, QueueOptions queue, TimeProvider time, ILogger<RateLimits> log) : BackgroundService
{
    private const string Global = "all";
    private static readonly TimeSpan SyncInterval = TimeSpan.FromMilliseconds(100);

    // KEYS: counters · ARGV: what is to be added to each. Answers the new values; they are forgotten two minutes later.
    private const string Script =
        """
        local totals = {}
        for i, key in ipairs(KEYS) do
            totals[i] = redis.call('INCRBY', key, ARGV[i])
            redis.call('EXPIRE', key, 120)
        end
        return totals
        """;

    private Window window = new(0);

    /// <summary>Counts one submit of this key, or refuses it; a refused one is not counted.</summary>
    public Allowance Take(string key)
    {
        var now = time.GetUtcNow().ToUnixTimeSeconds();
        var current = WindowAt(now / 60);
        var reset = (int)(60 - (now % 60));
        var own = new Allowance("key", limits.KeyPerMinute, current.Take(key, limits.KeyPerMinute), reset);
        if (own.IsRefused)
        {
            return own;
        }

        var all = new Allowance("global", limits.GlobalPerMinute, current.Take(Global, limits.GlobalPerMinute), reset);
        if (all.IsRefused)
        {
            current.GiveBack(key, limits.KeyPerMinute);
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
            log.LogDebug("Nothing is counted any more");
        }
    }

    private Window WindowAt(long minute)
    {
        var current = Volatile.Read(ref window);
        if (current.Minute < minute)
        {
            Interlocked.CompareExchange(ref window, new Window(minute), current);
            current = Volatile.Read(ref window);
        }

        return current;
    }

    private async Task SyncAsync()
    {
        var current = Volatile.Read(ref window);
        var news = current.TakeNews();
        if (news.Count == 0)
        {
            return;
        }

        try
        {
            var keys = news.Select(n => (RedisKey)$"{{{queue.Prefix}:rate}}:{current.Minute}:{n.Key}").ToArray();
            var totals = (RedisResult[])(await redis.GetDatabase().ScriptEvaluateAsync(Script, keys, [.. news.Select(n => (RedisValue)n.Count)]))!;
            for (var i = 0; i < news.Count; i++)
            {
                current.Learn(news[i].Key, news[i].Count, (long)totals[i]);
            }
        }
        catch (Exception e) when (e is RedisException or TimeoutException or ObjectDisposedException)
        {
            news.ForEach(n => current.PutBack(n.Key, n.Count));
            log.LogDebug(e, "Rates are counted by this Api alone while Redis is away");
        }
    }

    /// <summary>The counts of one minute. It lives as long as its minute, so what it holds is bounded by the keys that submit in one.</summary>
    private sealed class Window(long minute)
    {
        private readonly ConcurrentDictionary<string, Counter> counters = new(StringComparer.Ordinal);

        public long Minute => minute;

        /// <summary>Counts one; how many are left, or negative when there was none left, and then nothing was counted. What has no limit is not counted.</summary>
        public long Take(string key, int limit) => limit == 0 ? long.MaxValue : counters.GetOrAdd(key, _ => new Counter()).Take(limit);

        public void GiveBack(string key, int limit)
        {
            if (limit > 0)
            {
                counters[key].GiveBack();
            }
        }

        public List<(string Key, long Count)> TakeNews() =>
            [.. counters.Select(c => (c.Key, Count: c.Value.TakeNews())).Where(n => n.Count != 0)];

        public void Learn(string key, long told, long total) => counters[key].Learn(told, total);

        public void PutBack(string key, long count) => counters[key].PutBack(count);
    }

    private sealed class Counter
    {
        private readonly Lock gate = new();
        private long shared; // as Redis last said, ours included
        private long underWay; // told to Redis, not answered yet
        private long fresh; // not told yet

        public long Take(int limit)
        {
            lock (gate)
            {
                var left = limit - (shared + underWay + fresh) - 1;
                fresh += left < 0 ? 0 : 1;
                return left;
            }
        }

        /// <summary>Told already or not: what Redis was told too much is taken back with the next news.</summary>
        public void GiveBack()
        {
            lock (gate)
            {
                fresh--;
            }
        }

        public long TakeNews()
        {
            lock (gate)
            {
                (underWay, fresh) = (underWay + fresh, 0);
                return underWay;
            }
        }

        public void Learn(long told, long total)
        {
            lock (gate)
            {
                underWay -= told;
                shared = Math.Max(shared, total);
            }
        }

        public void PutBack(long count)
        {
            lock (gate)
            {
                underWay -= count;
                fresh += count;
            }
        }
    }
}
