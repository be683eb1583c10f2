using Generation.Core.Providers;
using Generation.Core.Sessions;

namespace Generation.Worker.Hosting;

/// <summary>
/// How long this worker's jobs took from their claim to their end, by model and variant: the last 200 of each kind, of the 200 kinds that were seen
/// last. A job that waited for its provider without a slot is counted from its first call.
/// </summary>
public sealed class JobDurations
{
    /// <summary>Jobs that are remembered of a kind.</summary>
    public const int MaxJobs = 200;

    /// <summary>Kinds that are remembered.</summary>
    public const int MaxKinds = 200;

    private readonly Lock gate = new();
    private readonly Dictionary<(string Model, string Variant), LinkedListNode<Kind>> kinds = [];
    private readonly LinkedList<Kind> bySight = new(); // the latest first

    /// <summary>A job completed. One that another worker died of says nothing about how long it takes.</summary>
    /// <param name="session">As it was claimed.</param>
    /// <param name="sinceClaim">From its claim to the end of its work.</param>
    public void Completed(ClaimedSession session, TimeSpan sinceClaim)
    {
        ArgumentNullException.ThrowIfNull(session);
        if (session.LostLeases > 0)
        {
            return;
        }

        var before = session.Tasks.Count == 0 ? TimeSpan.Zero : session.ClaimedAt - session.Tasks.Min(task => task.CreatedAt);
        Record(session.Model, JobVariant.NameOf(session.Settings, session.RequestedOutputs, session.Mock),
            (sinceClaim + (before > TimeSpan.Zero ? before : TimeSpan.Zero)).TotalSeconds);
    }

    /// <summary>Adds one duration.</summary>
    public void Record(string model, string variant, double seconds)
    {
        lock (gate)
        {
            if (kinds.TryGetValue((model, variant), out var known))
            {
                bySight.Remove(known);
            }
            else
            {
                kinds[(model, variant)] = known = new LinkedListNode<Kind>(new Kind(model, variant));
                if (kinds.Count > MaxKinds)
                {
                    var last = bySight.Last!;
                    bySight.Remove(last);
                    kinds.Remove((last.Value.Model, last.Value.Variant));
                }
            }

            bySight.AddFirst(known);
            known.Value.Add(seconds);
        }
    }

    /// <summary>Percentiles of each kind.</summary>
    public IReadOnlyList<DurationReport> Report()
    {
        lock (gate)
        {
            return [.. bySight.Select(kind => kind.Report())];
        }
    }

    private sealed class Kind(string model, string variant)
    {
        private readonly double[] seconds = new double[MaxJobs];
        private int count;
        private int next;
        private DurationReport? report;

        public string Model => model;

        public string Variant => variant;

        public void Add(double duration)
        {
            seconds[next] = Math.Max(0, duration);
            (next, count, report) = ((next + 1) % MaxJobs, Math.Min(count + 1, MaxJobs), null);
        }

        public DurationReport Report() => report ??= Measure();

        private DurationReport Measure()
        {
            var sorted = seconds[..count];
            Array.Sort(sorted);
            double At(double share) => Math.Round(sorted[(int)Math.Ceiling(share * count) - 1], 3);
            return new DurationReport(model, variant, count, At(0.2), At(0.5), At(0.9));
        }
    }
}
