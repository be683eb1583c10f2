using Generation.ProviderSim.Calls;
using Generation.ProviderSim.Pictures;
using Microsoft.Extensions.Options;

namespace Generation.ProviderSim.Ark;

/// <summary>A task, and when it changes its state: all of it follows from the clock.</summary>
internal sealed record VideoTask(
    string Id, string Key, ArkVideoRequest Request, Call Call, DateTimeOffset CreatedAt, TimeSpan Queued, TimeSpan Takes, ArkError? Fails,
        bool IsEmpty)
{
    /// <summary>When a slot was or is free for it; null while that is not known.</summary>
    public DateTimeOffset? StartsAt { get; set; }

    public DateTimeOffset? EndsAt => StartsAt + Takes;

    public DateTimeOffset? CancelledAt { get; set; }

    public bool HasAbsurdUsage { get; init; }

    /// <summary>Name of the film, without the model.</summary>
    public string FileName { get; init; } = "";

    /// <summary>Name of its last frame, without the model; null when it was not asked for.</summary>
    public string? LastFrameName { get; init; }

    /// <summary>Scheme and host of its results.</summary>
    public string FileHost { get; init; } = "";

    public bool HasExpired(DateTimeOffset now) => StartsAt is null && now >= CreatedAt.AddSeconds(Request.ExpiresAfterSeconds);

    public string StatusAt(DateTimeOffset now) =>
        CancelledAt is not null ? "cancelled"
        : HasExpired(now) ? "expired"
        : StartsAt is not { } start || now < start ? "queued"
        : now < EndsAt ? "running"
        : Fails is null ? "succeeded" : "failed";
}

/// <summary>
/// The tasks of each key: so many run at once, the rest wait by priority, then in the order in which they came. There is no timer:
/// every read brings all tasks up to date.
/// </summary>
public sealed class VideoTasks
{
    /// <summary>Beyond this the oldest are forgotten: a simulator must not grow with its load test.</summary>
    private const int MaxTasks = 100_000;

    private static readonly TimeSpan Kept = TimeSpan.FromDays(7);
    private static readonly TimeSpan CancelledKept = TimeSpan.FromHours(24);

    private readonly SimOptions options;
    private readonly TimeProvider time;
    private readonly Lock gate = new();
    private readonly Dictionary<string, VideoTask> tasks = new(StringComparer.Ordinal);
    private readonly List<VideoTask> open = []; // not ended, or not billed yet
    private readonly Dictionary<(string Key, string Operation), (long Second, int Count)> asked = [];
    private ulong serial;

    public VideoTasks(IOptions<SimOptions> options, CallLog calls, TimeProvider time)
    {
        (this.options, this.time) = (options.Value, time);
        calls.BeforeReading(() =>
        {
            lock (gate)
            {
                Advance(time.GetUtcNow());
            }
        });
    }

    /// <summary>An id in Ark's shape.</summary>
    internal string NextId(DateTimeOffset now)
    {
        const string Letters = "bcdfghjklmnpqrstvwxz23456789";
        var mixed = Dice.Mix(options.Seed ^ (ulong)now.Ticks ^ Interlocked.Increment(ref serial) << 48);
        return $"cgt-{now:yyyyMMddHHmmss}-"
            + string.Concat(Enumerable.Range(0, 5).Select(n => Letters[(int)((mixed >> (n * 8) & 0xFF) % (ulong)Letters.Length)]));
    }

    /// <summary>False: too many are queued.</summary>
    internal bool Add(VideoTask task)
    {
        lock (gate)
        {
            Advance(task.CreatedAt);
            if (open.Count(other => other.Key == task.Key && other.StatusAt(task.CreatedAt) == "queued") >= options.VideoQueueLength)
            {
                return false;
            }

            if (tasks.Count >= MaxTasks)
            {
                tasks.Remove(tasks.Values.MinBy(old => old.CreatedAt)!.Id);
            }

            tasks[task.Id] = task;
            open.Add(task);
            Advance(task.CreatedAt);
            return true;
        }
    }

    /// <summary>Null: there is none of that id for that key, or no longer.</summary>
    internal VideoTask? Find(string key, string id)
    {
        lock (gate)
        {
            var now = time.GetUtcNow();
            Advance(now);
            if (!tasks.TryGetValue(id, out var task) || task.Key != key)
            {
                return null;
            }

            return now >= task.CreatedAt + Kept || now >= task.CancelledAt + CancelledKept ? null : task;
        }
    }

    internal IReadOnlyList<VideoTask> List(string key)
    {
        lock (gate)
        {
            var now = time.GetUtcNow();
            Advance(now);
            return [.. tasks.Values.Where(task => task.Key == key && now < task.CreatedAt + Kept && !(now >= task.CancelledAt + CancelledKept))
                .OrderByDescending(task => task.CreatedAt)];
        }
    }

    /// <summary>Cancels a queued task, forgets an ended one; an error for any other.</summary>
    internal ArkError? Delete(string key, string id)
    {
        lock (gate)
        {
            var now = time.GetUtcNow();
            Advance(now);
            if (!tasks.TryGetValue(id, out var task) || task.Key != key)
            {
                return ArkError.UnknownTask(id);
            }

            switch (task.StatusAt(now))
            {
                case "queued":
                    task.CancelledAt = now;
                    open.Remove(task);
                    return null;
                case "running" or "cancelled": return ArkError.Invalid("id", $"the task is {task.StatusAt(now)} and cannot be deleted");
                default:
                    tasks.Remove(id);
                    return null;
            }
        }
    }

    /// <summary>Whether a key may do this once more in this second.</summary>
    internal bool MayAsk(string key, string operation, int perSecond)
    {
        if (perSecond == 0)
        {
            return true;
        }

        lock (gate)
        {
            var second = time.GetUtcNow().ToUnixTimeSeconds();
            var (last, count) = asked.GetValueOrDefault((key, operation));
            asked[(key, operation)] = (second, last == second ? count + 1 : 1);
            return last != second || count < perSecond;
        }
    }

    /// <summary>Gives free slots to the next tasks, as often as the elapsed time allows, and bills those that succeeded.</summary>
    private void Advance(DateTimeOffset now)
    {
        foreach (var own in open.Where(task => task.StartsAt is null && !task.HasExpired(now)).GroupBy(task => task.Key).ToList())
        {
            var ends = open.Where(task => task.Key == own.Key && task.EndsAt is not null).Select(task => task.EndsAt!.Value).OrderDescending()
                .ToList();
            foreach (var next in own.OrderByDescending(task => task.Request.Priority).ThenBy(task => task.CreatedAt))
            {
                var free = ends.Count < options.VideoConcurrency ? DateTimeOffset.MinValue : ends[options.VideoConcurrency - 1];
                var start = next.CreatedAt + next.Queued > free ? next.CreatedAt + next.Queued : free;
                if (start > now)
                {
                    continue;
                }

                next.StartsAt = start;
                ends.Add(start + next.Takes);
                ends.Sort((one, other) => other.CompareTo(one));
            }
        }

        // Tasks that start from now on start after these have ended, so these occupy no slot.
        foreach (var ended in open.Where(task => task.EndsAt <= now).ToList())
        {
            if (ended.Fails is null)
            {
                ended.Call.Images = 1;
            }

            open.Remove(ended);
        }

        open.RemoveAll(task => task.HasExpired(now));
    }
}
