using Generation.ProviderSim.Calls;
using Generation.ProviderSim.Faults;
using Generation.ProviderSim.Files;
using Generation.ProviderSim.Pictures;
using Microsoft.Extensions.Options;

namespace Generation.ProviderSim.Films;

/// <summary>A requested film. Its state follows from the clock.</summary>
public sealed record FilmTask(string Id, string Key, string Model, string Prompt, Call Call, ResultTicket Ticket, DateTimeOffset CreatedAt,
    DateTimeOffset StartsAt, DateTimeOffset EndsAt, Fault? Fault)
{
    /// <summary>It ends without a film, and is not billed. A film that is only missing from the answer is.</summary>
    public bool Fails => Fault is { Stage: FaultStage.Outcome, Word: not ("empty-data" or Fault.AbsurdUsage) };

    /// <summary>Whole percent of its time, 0…99 before the end and 100 at it; never falls.</summary>
    public int PercentAt(DateTimeOffset now) =>
        now >= EndsAt ? 100 : now <= StartsAt ? 0 : (int)Math.Min(99, (now - StartsAt) * 100 / (EndsAt - StartsAt));

    internal bool IsBilledAt(DateTimeOffset now) => now >= EndsAt && !Fails;
}

/// <summary>
/// One provider's films, which run independently. They are billed when they are done, whether or not they are polled:
/// every read brings the bills up to date.
/// </summary>
public sealed class FilmTasks
{
    /// <summary>Beyond this the oldest are forgotten: a simulator must not grow with its load test.</summary>
    private const int MaxTasks = 100_000;

    private readonly SimOptions options;
    private readonly FaultDesk faults;
    private readonly RecentPictures recent;
    private readonly TimeProvider time;
    private readonly Lock gate = new();
    private readonly Dictionary<string, FilmTask> tasks = new(StringComparer.Ordinal);
    private readonly List<FilmTask> unbilled = [];
    private ulong serial;

    public FilmTasks(IOptions<SimOptions> options, FaultDesk faults, RecentPictures recent, CallLog calls, TimeProvider time)
    {
        (this.options, this.faults, this.recent, this.time) = (options.Value, faults, recent, time);
        calls.BeforeReading(Bill);
    }

    /// <summary>32 hexadecimal digits that no other film has.</summary>
    public string NextId()
    {
        var count = Interlocked.Increment(ref serial);
        var mixed = Dice.Mix(options.Seed ^ (ulong)time.GetUtcNow().Ticks ^ count << 48);
        return $"{mixed:x16}{Dice.Mix(mixed ^ count):x16}";
    }

    /// <summary>Begins a film.</summary>
    /// <param name="call">Will be paid when it is done.</param>
    /// <param name="id">From <see cref="NextId"/>, in the provider's shape.</param>
    /// <param name="key">Whose it is.</param>
    /// <param name="prompt">As sent.</param>
    /// <param name="verdict">What goes wrong with it.</param>
    /// <param name="size">In pixels.</param>
    /// <param name="seconds">Its length.</param>
    /// <param name="references">Hash of the pictures it is to show; 0: none.</param>
    public FilmTask Begin(Call call, string id, string key, string prompt, FaultDesk.Verdict verdict, (int Width, int Height) size, int seconds,
        ulong references)
    {
        var words = PromptWords.Parse(prompt);
        var promptKey = Recipe.Hash(prompt);
        var seed = Dice.Mix(options.Seed) ^ Dice.Mix((ulong)faults.Occurrence(promptKey)) ^ references;
        var ticketWords = words.ForDownload + verdict.DownloadWords;
        if (options.PictureBytes > 0 && words.Bytes is null)
        {
            ticketWords += $"[bytes={options.PictureBytes}]";
        }

        var recipe = Recipe.For(words.Text, seed, size.Width, size.Height, watermark: false, PictureFormat.Jpeg);
        var now = time.GetUtcNow();
        var starts = now.AddMilliseconds(words.QueuedMs ?? options.VideoQueueMs);
        var task = new FilmTask(
            id, key, call.Model, prompt, call, new ResultTicket(recipe, promptKey, ticketWords, (byte)seconds), now, starts,
            starts.AddMilliseconds(words.LatencyMs ?? options.VideoLatencyMs), verdict.Fault);
        lock (gate)
        {
            if (tasks.Count >= MaxTasks)
            {
                tasks.Remove(tasks.Values.MinBy(old => old.CreatedAt)!.Id);
            }

            tasks[id] = task;
            unbilled.Add(task);
        }

        recent.Add($"{task.Ticket.ToId(now)}_0.{task.Ticket.Extension}", prompt, call.At);
        return task;
    }

    /// <summary>Null: there is none of that id for that key.</summary>
    public FilmTask? Find(string key, string id)
    {
        lock (gate)
        {
            return tasks.TryGetValue(id, out var task) && task.Key == key ? task : null;
        }
    }

    /// <summary>A key's films, the newest first.</summary>
    public IReadOnlyList<FilmTask> List(string key)
    {
        lock (gate)
        {
            return [.. tasks.Values.Where(task => task.Key == key).OrderByDescending(task => task.CreatedAt)];
        }
    }

    /// <summary>Forgets a film. One that has not been begun is not billed; one that has been is.</summary>
    public void Remove(FilmTask task)
    {
        lock (gate)
        {
            tasks.Remove(task.Id);
            if (time.GetUtcNow() < task.StartsAt)
            {
                unbilled.Remove(task);
            }
        }
    }

    private void Bill()
    {
        lock (gate)
        {
            var now = time.GetUtcNow();
            unbilled.RemoveAll(task =>
            {
                if (task.IsBilledAt(now))
                {
                    task.Call.Images = 1;
                }

                return now >= task.EndsAt;
            });
        }
    }
}
