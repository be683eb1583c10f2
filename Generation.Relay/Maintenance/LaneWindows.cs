using System.Collections.Concurrent;
using Generation.Core;
using Generation.Core.Outbox;
using Generation.Core.Providers;
using Generation.Core.Queue;
using StackExchange.Redis;

namespace Generation.Relay.Maintenance;

/// <summary>
/// How many messages of each lane may be unclaimed in the queue. What is in the queue has its place for good, so the window follows the lane: what
/// its workers take in <see cref="RelayOptions.WindowSeconds"/>, and at least their free slots and eight; in <c>gpu</c> the free GPUs and one.
/// Never more than <see cref="RelayOptions.DispatchWindow"/>, which is also the window while the workers are not known: Redis is unavailable, or
/// one of them is of the release before.
/// </summary>
public sealed class LaneWindows(ProviderHealth health, RelayOptions options, TimeProvider time, ILogger<LaneWindows> log)
{
    /// <summary>Messages beyond the free slots: a worker finds the next job when it ends one.</summary>
    private const int Ahead = 8;

    private const int GpusAhead = 1;

    /// <summary>The reading is waited for no longer; a dispatch goes on without.</summary>
    private static readonly TimeSpan ReadTimeout = TimeSpan.FromMilliseconds(500);

    /// <summary>A rate follows a rise at once, and a fall in about this time: a worker that waits for its database will go on.</summary>
    private static readonly TimeSpan Decay = TimeSpan.FromSeconds(4);

    private readonly SemaphoreSlim reading = new(1, 1);
    private readonly Dictionary<(string Worker, string Lane), (DateTimeOffset At, double Claimed)> claims = [];
    private readonly Dictionary<string, double> rates = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, int> windows = new(StringComparer.Ordinal);
    private long? readAt;
    private long? followedAt;

    /// <summary>Of a lane, from reports that are at most a second older than those that the workers publish.</summary>
    public async ValueTask<int> OfAsync(string lane, CancellationToken ct)
    {
        if (options.WindowSeconds == 0)
        {
            return options.DispatchWindow;
        }

        // All lanes ask at once. While there is a reading they go on with it; the first is waited for, or a relay that starts would fill them.
        if (IsOld && await reading.WaitAsync(readAt is null ? ReadTimeout * 2 : TimeSpan.Zero, ct))
        {
            try
            {
                if (IsOld)
                {
                    Follow(await health.ReadAsync().WaitAsync(ReadTimeout, time, ct));
                }
            }
            catch (Exception e) when (e is RedisException or TimeoutException or ObjectDisposedException or System.Text.Json.JsonException)
            {
                log.LogDebug("The workers' reports cannot be read, so the whole window is used: {Problem}", e.Message);
                windows.Clear();
            }
            finally
            {
                readAt = time.GetTimestamp();
                reading.Release();
            }
        }

        return Current(lane);
    }

    /// <summary>As it was last set.</summary>
    public int Current(string lane) => windows.GetValueOrDefault(lane, options.DispatchWindow);

    private bool IsOld => readAt is not { } at || time.GetElapsedTime(at) >= ProviderHealth.Interval;

    /// <summary>Takes the reports of all workers.</summary>
    public void Follow(IReadOnlyList<WorkerReport> reports)
    {
        ArgumentNullException.ThrowIfNull(reports);
        if (reports.Any(report => report.Lanes is null))
        {
            windows.Clear();
            return;
        }

        var since = followedAt is { } at ? time.GetElapsedTime(at) : TimeSpan.Zero;
        followedAt = time.GetTimestamp();
        foreach (var lane in QueueOptions.Lanes)
        {
            var workers = reports.Select(report => (report.Worker, report.At, Lane: report.Lanes!.FirstOrDefault(l => l.Lane == lane)))
                .Where(worker => worker.Lane is not null).ToList();
            var newest = workers.Sum(worker => RateOf(worker.Worker, worker.At, worker.Lane!));
            var before = rates.GetValueOrDefault(lane);
            var rate = newest >= before ? newest : newest + ((before - newest) * Math.Exp(-since / Decay));
            rates[lane] = rate;
            var now = LaneRates.Sum(lane, reports);
            var free = Math.Max(0d, (double)now.Slots - now.Running);
            var wanted = lane == Lane.Gpu.Name() ? free + GpusAhead : Math.Max(rate * options.WindowSeconds, free + Ahead);
            windows[lane] = (int)Math.Clamp(wanted, 1d, options.DispatchWindow);
        }

        var known = reports.Select(report => report.Worker).ToHashSet(StringComparer.Ordinal);
        foreach (var gone in claims.Keys.Where(key => !known.Contains(key.Worker)).ToList())
        {
            claims.Remove(gone);
        }
    }

    /// <summary>Claims a second since the report before; 0 for a worker's first, and for one that began anew.</summary>
    private double RateOf(string worker, DateTimeOffset at, LaneReport lane)
    {
        var claimed = lane.Providers.Sum(provider => (double)provider.Claimed);
        var isKnown = claims.TryGetValue((worker, lane.Lane), out var before);
        claims[(worker, lane.Lane)] = (at, claimed);
        return isKnown && at > before.At && claimed >= before.Claimed ? (claimed - before.Claimed) / (at - before.At).TotalSeconds : 0;
    }
}
