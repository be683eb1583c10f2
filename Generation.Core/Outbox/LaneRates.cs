using Generation.Core.Providers;

namespace Generation.Core.Outbox;

/// <summary>A lane over all workers that report it.</summary>
/// <param name="Slots">Jobs that they run at once.</param>
/// <param name="Running">Slots that are taken.</param>
/// <param name="HasWorkers">Whether there is any.</param>
/// <param name="RunningByProvider">Slots that are taken, by provider.</param>
public sealed record LaneWorkers(int Slots, int Running, bool HasWorkers, IReadOnlyDictionary<string, int> RunningByProvider);

/// <summary>
/// How much work a slot of a lane claims a second: an exponentially weighted mean over a minute of the differences between workers' reports, over
/// times in which there was more work than slots. It begins at 1, as if every job took as long as was expected, which weighs as much as two seconds
/// that were seen; and it is kept a slot, so that it holds when workers come and go. Not for concurrent use.
/// </summary>
public sealed class LaneRates
{
    /// <summary>A worker of the release before says nothing of its lanes: it serves all, each with the default of Worker:Concurrency.</summary>
    public const int UnknownSlots = 16;

    private static readonly TimeSpan Window = TimeSpan.FromSeconds(60);
    private static readonly TimeSpan MaxGap = TimeSpan.FromSeconds(30);

    /// <summary>Seconds that a lane's first rate weighs.</summary>
    private const double FirstWeight = 2;

    private readonly Dictionary<string, (double Mean, double Weight)> speeds = new(StringComparer.Ordinal);
    private readonly Dictionary<string, bool> backlogs = new(StringComparer.Ordinal);
    private readonly Dictionary<(string Lane, string Worker), (DateTimeOffset At, Dictionary<string, double> Work)> last = [];

    /// <summary>Whether a lane has a history here.</summary>
    public bool Knows(string lane) => speeds.ContainsKey(lane);

    /// <summary>Goes on from another relay's rate.</summary>
    public void Adopt(string lane, double workRate, int slots)
    {
        var speed = workRate / slots;
        speeds.TryAdd(lane, double.IsFinite(speed) && speed > 0 ? (speed, Window.TotalSeconds / 2) : (1, FirstWeight));
    }

    /// <summary>The lane's workers now.</summary>
    public static LaneWorkers Sum(string lane, IReadOnlyList<WorkerReport> reports)
    {
        ArgumentNullException.ThrowIfNull(reports);
        var old = reports.Count(report => report.Lanes is null);
        var own = reports.SelectMany(report => report.Lanes ?? []).Where(report => report.Lane == lane).ToList();
        var gpus = own.Exists(report => report.Gpus is not null)
            ? own.SelectMany(report => report.Gpus ?? []).Distinct(StringComparer.Ordinal).Count() : (int?)null;
        return new LaneWorkers(
            (int)Math.Min(int.MaxValue, (old * UnknownSlots) + (gpus ?? own.Sum(report => Math.Max(0L, report.Slots)))),
            (int)Math.Min(int.MaxValue, own.Sum(report => Math.Max(0L, report.Running))),
            old + own.Count > 0,
            own.SelectMany(report => report.Providers).GroupBy(report => report.Provider, StringComparer.Ordinal)
                .ToDictionary(
                    same => same.Key, same => (int)Math.Min(int.MaxValue, same.Sum(report => Math.Max(0L, report.Running))), StringComparer.Ordinal));
    }

    /// <summary>Slot-seconds a second that the lane's workers claim, after these reports.</summary>
    /// <param name="lane">Its name.</param>
    /// <param name="reports">Of all workers that live.</param>
    /// <param name="hasBacklog">Whether more waits than is claimed at once: an idle lane says nothing of what its workers can do.</param>
    public double Update(string lane, IReadOnlyList<WorkerReport> reports, bool hasBacklog)
    {
        ArgumentNullException.ThrowIfNull(reports);
        var (claimed, slotSeconds, gap) = (0d, 0d, 0d);
        var own = reports
            .SelectMany(report => (report.Lanes ?? []).Where(one => one.Lane == lane).Select(one => (report.Worker, report.At, Lane: one)))
            .ToList();
        foreach (var (worker, at, report) in own)
        {
            var work = report.Providers.GroupBy(one => one.Provider, StringComparer.Ordinal)
                .ToDictionary(same => same.Key, same => same.Sum(one => one.Work), StringComparer.Ordinal);
            if (!work.Values.All(sum => double.IsFinite(sum) && sum >= 0))
            {
                continue;
            }

            if (last.TryGetValue((lane, worker), out var before) && at > before.At && at - before.At < MaxGap)
            {
                var seconds = (at - before.At).TotalSeconds;
                var differences = work.Select(one => one.Value - before.Work.GetValueOrDefault(one.Key)).ToList();
                if (differences.TrueForAll(difference => difference >= 0)) // else it has started anew
                {
                    (claimed, slotSeconds, gap) =
                        (claimed + differences.Sum(), slotSeconds + (Math.Max(0, report.Slots) * seconds), Math.Max(gap, seconds));
                }
            }

            last[(lane, worker)] = (at, work);
        }

        foreach (var gone in last.Keys.Where(key => key.Lane == lane && !own.Exists(one => one.Worker == key.Worker)).ToList())
        {
            last.Remove(gone);
        }

        speeds.TryAdd(lane, (1, FirstWeight));
        var (mean, weight) = speeds[lane];
        var slots = Sum(lane, reports).Slots;
        if (hasBacklog && backlogs.GetValueOrDefault(lane) && slotSeconds > 0)
        {
            var shared = own.Sum(worker => Math.Max(0d, worker.Lane.Slots)); // GPUs that several workers share are slots of each
            var seen = claimed / slotSeconds * (shared > 0 && slots > 0 ? shared / slots : 1);
            weight = (weight * Math.Exp(-gap / Window.TotalSeconds)) + gap;
            mean += gap / weight * (seen - mean);
            speeds[lane] = (mean, weight);
        }

        backlogs[lane] = hasBacklog;
        return Math.Max(0, mean) * slots;
    }
}
