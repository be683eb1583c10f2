using System.ComponentModel.DataAnnotations;

namespace Generation.Core.Outbox;

/// <summary>Where a generation stands in its queue, and when it will be ready.</summary>
public sealed record QueueView
{
    /// <summary>Jobs of the lane that will be taken before it; 0: it is next. Null when it does not stand in line.</summary>
    public long? Ahead { get; init; }

    /// <summary>False where <c>ahead</c> is an estimate, less than 500 off, or a count that was cut off.</summary>
    public required bool Exact { get; init; }

    /// <summary>When this was so.</summary>
    public required DateTimeOffset AsOf { get; init; }

    /// <summary><c>image</c>, <c>video</c> or <c>gpu</c>.</summary>
    [AllowedValues("image", "video", "gpu")]
    public required string Lane { get; init; }

    /// <summary>Why it waits, or why it takes so long; null when it runs as usual.</summary>
    [AllowedValues("in_line", "gpu_busy", "provider_limit", "provider_unavailable", "no_workers", "lane_paused", "retry_backoff",
        "longer_than_usual", null)]
    public string? Reason { get; init; }

    /// <summary>Until a worker takes it; 0 when one has, null when that is not known.</summary>
    public int? StartsInSeconds { get; init; }

    /// <summary>Until its first output, in seconds, if it is among the quickest fifth; null when that is not known.</summary>
    public int? EtaLow { get; init; }

    /// <summary>The same, if it is among the slowest tenth.</summary>
    public int? EtaHigh { get; init; }
}

/// <summary>The outbox row of a session that waits.</summary>
/// <param name="OutboxId">Its id.</param>
/// <param name="Rank">Its place in the lane's order; null while it waits for its time, and of some rows of the release before.</param>
/// <param name="IsDispatched">Its message is in the queue.</param>
/// <param name="AvailableAt">Not dispatched before.</param>
public readonly record struct QueuePlace(long OutboxId, double? Rank, bool IsDispatched, DateTimeOffset AvailableAt)
{
    /// <summary>Whether it has a place in line.</summary>
    public bool IsInLine => IsDispatched || Rank is not null;
}

/// <summary>What an estimate needs to know of an open session.</summary>
public sealed record OpenJob
{
    public required string Lane { get; init; }

    public required string Provider { get; init; }

    public required string Model { get; init; }

    /// <summary>See <see cref="Providers.JobVariant"/>.</summary>
    public required string Variant { get; init; }

    /// <summary>Expected slot-seconds.</summary>
    public required double Work { get; init; }

    public required string Phase { get; init; }

    /// <summary>Its status is <c>processing</c>.</summary>
    public bool IsProcessing { get; init; }

    public DateTimeOffset? StartedAt { get; init; }

    /// <summary>Percent.</summary>
    public int Progress { get; init; }

    /// <summary>Its outbox row; null when it has none, such as while it runs.</summary>
    public QueuePlace? Place { get; init; }
}

/// <summary>When a job starts and ends, from its lane's state: functions without a clock, whatever the numbers.</summary>
public static class QueueEstimate
{
    /// <summary>A week: what would take longer is said to take that.</summary>
    public const int MaxSeconds = 604_800;

    /// <summary>From here on a percentage says more than the time that others took.</summary>
    private const int MinPercent = 10;

    /// <summary>Providers that count percent of the work. The stages of the others say nothing about time.</summary>
    private static readonly HashSet<string> CountingProviders = new(StringComparer.Ordinal) { "forge", "kie" };

    /// <summary>The view, and seconds until the first output.</summary>
    /// <param name="job">The session.</param>
    /// <param name="lane">Its lane; null when nothing is known of it.</param>
    /// <param name="ahead">What will be taken before it; null when it does not stand in line, or that is not known.</param>
    /// <param name="now">The moment.</param>
    /// <returns>Both null when there is nothing to say.</returns>
    public static (QueueView? View, int? EtaSeconds) Of(OpenJob job, LaneState? lane, Ahead? ahead, DateTimeOffset now)
    {
        ArgumentNullException.ThrowIfNull(job);
        return job.IsProcessing ? Running(job, lane, now) : Waiting(job, lane, ahead, now);
    }

    private static (QueueView? View, int? EtaSeconds) Running(OpenJob job, LaneState? lane, DateTimeOffset now)
    {
        var (p20, p50, p90) = RunTimes(job, lane);
        var elapsed = Math.Max(0, (now - (job.StartedAt ?? now)).TotalSeconds);
        var view = new QueueView
        {
            Exact = true,
            AsOf = now,
            Lane = job.Lane,
            Reason = elapsed > p90 ? "longer_than_usual" : null,
            StartsInSeconds = 0,
        };
        double Left(double runs)
        {
            // Around the median what is left shrinks towards the ninth tenth, or twice the median; after that any moment may be the last.
            var byTime = Math.Max(Math.Max(runs - elapsed, (Math.Min(p90, 2 * p50) - elapsed) / 2), 1);
            return CountingProviders.Contains(job.Provider) && job.Progress is >= MinPercent and < 100
                ? (byTime + (elapsed * (100 - job.Progress) / job.Progress)) / 2
                : byTime;
        }

        return (view with { EtaLow = Whole(Left(p20)), EtaHigh = Whole(Left(p90)) }, Whole(Left(p50)));
    }

    private static (QueueView? View, int? EtaSeconds) Waiting(OpenJob job, LaneState? lane, Ahead? ahead, DateTimeOffset now)
    {
        if (job.Place is not { } place)
        {
            return (null, null);
        }

        var pause = place.IsInLine ? 0 : Math.Max(0, (place.AvailableAt - now).TotalSeconds);
        var openFor = lane?.Providers.FirstOrDefault(one => one.Provider == job.Provider)?.OpenUntil is { } until
            ? (until - now).TotalSeconds : 0;
        var reason = Reason(job, place, lane, ahead, openFor);
        double? starts = reason is "lane_paused" or "no_workers" ? null
            : place.IsInLine ? StartsIn(lane, ahead) is { } wait ? Math.Max(wait, Math.Max(0, openFor)) : null
            : Math.Max(pause, openFor);
        var (p20, p50, p90) = RunTimes(job, lane);
        return (
            new QueueView
            {
                Ahead = place.IsInLine ? ahead?.Count : null,
                Exact = ahead?.IsExact ?? true,
                AsOf = ahead?.AsOf ?? lane?.AsOf ?? now,
                Lane = job.Lane,
                Reason = reason,
                StartsInSeconds = Whole(starts),
                EtaLow = Whole(starts + p20),
                EtaHigh = Whole(starts + p90),
            },
            Whole(starts + p50));
    }

    private static string Reason(OpenJob job, QueuePlace place, LaneState? lane, Ahead? ahead, double openFor) =>
        lane is { IsPaused: true } ? "lane_paused"
        : lane is { HasWorkers: false } ? "no_workers"
        : openFor > 0 ? "provider_unavailable"
        : place.IsInLine ? job.Lane == "gpu" && ahead is { Count: 0 } && lane is not null && lane.Running >= lane.Slots ? "gpu_busy" : "in_line"
        : job.Phase != "waiting" ? "retry_backoff" // nothing was tried yet
        : job.Lane == "gpu" ? "gpu_busy"
        : "provider_limit";

    /// <summary>The work ahead at the rate at which it is claimed; at one slot-second a second and slot where the rate is not known.</summary>
    private static double? StartsIn(LaneState? lane, Ahead? ahead)
    {
        if (lane is null || ahead is not { } line)
        {
            return null;
        }

        var rate = double.IsFinite(lane.WorkRate) && lane.WorkRate > 0 ? lane.WorkRate : lane.Slots;
        var work = double.IsFinite(line.Work) ? Math.Max(0, line.Work) : double.MaxValue;
        return line.Count <= 0 ? 0 : rate > 0 ? Math.Min(work / rate, MaxSeconds) : null;
    }

    /// <summary>Quick, usual and slow, in seconds: as workers measured it, else from half to twice the expected work.</summary>
    private static (double P20, double P50, double P90) RunTimes(OpenJob job, LaneState? lane)
    {
        static double Sane(double seconds) => double.IsFinite(seconds) ? Math.Clamp(seconds, 0, MaxSeconds) : MaxSeconds;
        var measured = lane?.Durations.FirstOrDefault(one => one.Count > 0 && one.Model == job.Model && one.Variant == job.Variant);
        if (measured is not null && double.IsFinite(measured.P50) && measured.P50 >= 0)
        {
            var median = Sane(measured.P50);
            return (Math.Min(Sane(measured.P20), median), median, Math.Max(Sane(measured.P90), median));
        }

        var expected = job.Work > 0 ? Sane(job.Work) : 1;
        return (expected / 2, expected, expected * 2);
    }

    /// <summary>Seconds as they are shown.</summary>
    private static int? Whole(double? seconds) => seconds is not { } value ? null
        : double.IsNaN(value) ? null
        : (int)Math.Ceiling(Math.Clamp(value, 0, MaxSeconds));
}
