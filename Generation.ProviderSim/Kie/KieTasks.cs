using System.Text.Json;
using Generation.ProviderSim.Ark;
using Generation.ProviderSim.Calls;
using Generation.ProviderSim.Faults;
using Generation.ProviderSim.Pictures;
using Microsoft.Extensions.Options;

namespace Generation.ProviderSim.Kie;

/// <summary>A task of Kie's: all of its states follow from the clock.</summary>
internal sealed record KieTask(
    string Id, string Key, KieModel Model, string Param, string? CallBackUrl, Call Call, string Prompt, PromptWords Words, DateTimeOffset CreatedAt,
    TimeSpan Queued, TimeSpan Takes, KieError? Fails, decimal Credits)
{
    public DateTimeOffset StartsAt => CreatedAt + Queued;

    public DateTimeOffset EndsAt => StartsAt + Takes;

    /// <summary>Name of the result, without the model.</summary>
    public required string FileName { get; init; }

    /// <summary>Scheme and host of its address.</summary>
    public required string FileHost { get; init; }

    /// <summary>
    /// What is wrong with the result of a task that succeeds: <c>empty-data</c>, <c>malformed-result</c>, <c>late-result</c>; null: nothing.
    /// </summary>
    public string? ResultFault { get; init; }

    public bool HasAbsurdUsage { get; init; }

    /// <summary>How often it was said that it has succeeded.</summary>
    public int SuccessesTold { get; set; }

    public bool IsBilled { get; set; }

    /// <summary>Callbacks sent for it, newest last.</summary>
    public List<KieDelivery> Callbacks { get; } = [];

    public string StateAt(DateTimeOffset now) =>
        now < CreatedAt + Queued / 2 ? "waiting"
        : now < StartsAt ? "queuing"
        : now < EndsAt ? "generating"
        : Fails is null ? "success" : "fail";
}

/// <summary>A callback that was sent.</summary>
/// <param name="Kind">Which of the callback faults, or <c>callback</c>.</param>
/// <param name="Status">The receiver's status; 0: it gave no answer.</param>
public sealed record KieDelivery(string Kind, DateTimeOffset At, int Status);

/// <summary>The tasks, the account's balance and the limits of its keys.</summary>
public sealed class KieTasks
{
    /// <summary>Beyond this the oldest are forgotten: a simulator must not grow with its load test.</summary>
    private const int MaxTasks = 100_000;

    private static readonly TimeSpan CreationWindow = TimeSpan.FromSeconds(10);

    private readonly SimOptions options;
    private readonly TimeProvider time;
    private readonly Lock gate = new();
    private readonly Dictionary<string, KieTask> tasks = new(StringComparer.Ordinal);
    private readonly Queue<string> order = new();
    private readonly List<KieTask> unbilled = [];
    private readonly Dictionary<string, Queue<DateTimeOffset>> creations = new(StringComparer.Ordinal);
    private readonly Dictionary<string, (long Second, int Count)> reads = new(StringComparer.Ordinal);
    private ulong serial;
    private decimal spent;

    public KieTasks(IOptions<SimOptions> options, CallLog calls, TimeProvider time)
    {
        (this.options, this.time) = (options.Value, time);
        calls.BeforeReading(() =>
        {
            lock (gate)
            {
                Bill(time.GetUtcNow());
            }
        });
    }

    public static void Map(IEndpointRouteBuilder routes) => routes.MapGet("/sim/kie/tasks", (string? prompt, KieTasks tasks) =>
        new { tasks = tasks.List(prompt ?? "") });

    /// <summary>What the account has left. Tasks that run are not counted: Kie bills what has succeeded.</summary>
    public decimal Balance
    {
        get
        {
            lock (gate)
            {
                Bill(time.GetUtcNow());
                return options.KieCredits - spent;
            }
        }
    }

    /// <summary>An id in one of Kie's shapes.</summary>
    internal string NextId(KieModel model, DateTimeOffset now)
    {
        var number = Interlocked.Increment(ref serial);
        var mixed = Dice.Mix(options.Seed ^ (ulong)now.Ticks ^ number << 48);
        return model.IsOfOldShape ? $"task_elevenlabs_{now.ToUnixTimeMilliseconds()}{number % 1000:D3}" : $"{mixed:x16}{Dice.Mix(mixed):x16}";
    }

    /// <summary>Whether the key may create one more task. A refused creation does not count.</summary>
    internal bool MayCreate(string key)
    {
        if (options.KieCreationsPerWindow == 0)
        {
            return true;
        }

        lock (gate)
        {
            var now = time.GetUtcNow();
            if (!creations.TryGetValue(key, out var recent))
            {
                creations[key] = recent = new Queue<DateTimeOffset>();
            }

            while (recent.TryPeek(out var oldest) && oldest + CreationWindow <= now)
            {
                recent.Dequeue();
            }

            if (recent.Count >= options.KieCreationsPerWindow)
            {
                return false;
            }

            recent.Enqueue(now);
            return true;
        }
    }

    /// <summary>Whether the key may ask once more in this second.</summary>
    internal bool MayRead(string key)
    {
        if (options.KieReadsPerSecond == 0)
        {
            return true;
        }

        lock (gate)
        {
            var second = time.GetUtcNow().ToUnixTimeSeconds();
            var (last, count) = reads.GetValueOrDefault(key);
            reads[key] = (second, last == second ? count + 1 : 1);
            return last != second || count < options.KieReadsPerSecond;
        }
    }

    internal void Add(KieTask task)
    {
        lock (gate)
        {
            if (order.Count >= MaxTasks)
            {
                tasks.Remove(order.Dequeue());
            }

            tasks[task.Id] = task;
            order.Enqueue(task.Id);
            unbilled.Add(task);
        }
    }

    /// <summary>Null: the key has no such task.</summary>
    internal KieTask? Find(string key, string id)
    {
        lock (gate)
        {
            return tasks.TryGetValue(id, out var task) && task.Key == key ? task : null;
        }
    }

    internal void Record(KieTask task, KieDelivery delivery)
    {
        lock (gate)
        {
            task.Callbacks.Add(delivery);
        }
    }

    private object[] List(string prompt)
    {
        lock (gate)
        {
            var now = time.GetUtcNow();
            return
            [
                .. tasks.Values.Where(task => task.Prompt.Contains(prompt, StringComparison.Ordinal)).OrderBy(task => task.CreatedAt).Select(task =>
                    new { taskId = task.Id, task.Prompt, state = task.StateAt(now), task.CallBackUrl, callbacks = task.Callbacks.ToArray() }),
            ];
        }
    }

    private void Bill(DateTimeOffset now)
    {
        foreach (var ended in unbilled.Where(task => task.EndsAt <= now).ToList())
        {
            unbilled.Remove(ended);
            if (ended.Fails is not null)
            {
                continue;
            }

            ended.Call.Images = 1;
            spent += ended.Credits;
        }
    }

    /// <summary>The fields of <c>data</c> in an answer and in a callback, as the task stands at that time.</summary>
    /// <param name="json">Inside the object.</param>
    /// <param name="task">Of which.</param>
    /// <param name="state">Its state, or what is to be said instead.</param>
    /// <param name="resultUrl">Where its result is.</param>
    /// <param name="now">When it is said.</param>
    /// <param name="idName"><c>taskId</c>, or <c>task_id</c> as one of the samples has it.</param>
    internal static void Write(Utf8JsonWriter json, KieTask task, string state, string resultUrl, DateTimeOffset now, string idName = "taskId")
    {
        var (isOver, isOld) = (state is "success" or "fail", task.Model.IsOfOldShape);
        json.WriteString(idName, task.Id);
        json.WriteString("model", task.Model.Id);
        json.WriteString("state", state);
        json.WriteString("param", task.Param);
        if (state == "success")
        {
            json.WriteString("resultJson", task.ResultFault switch
            {
                "empty-data" => """{"resultUrls":[]}""",
                "late-result" when task.SuccessesTold++ < 2 => "",
                "malformed-result" => """{"resultUrls":["https://""",
                _ => JsonSerializer.Serialize(new { resultUrls = new[] { resultUrl } }, Unescaped),
            });
        }
        else if (isOld)
        {
            json.WriteNull("resultJson");
        }
        else
        {
            json.WriteString("resultJson", "");
        }

        if (state == "fail")
        {
            json.WriteString("failCode", $"{task.Fails?.Code ?? 500}");
            json.WriteString("failMsg", task.Fails?.Text ?? KieError.Internal.Text);
        }
        else if (isOld)
        {
            json.WriteNull("failCode");
            json.WriteNull("failMsg");
        }
        else
        {
            json.WriteString("failCode", "");
            json.WriteString("failMsg", "");
        }

        if (isOver)
        {
            json.WriteNumber("costTime", (long)(isOld ? task.Takes.TotalSeconds : task.Takes.TotalMilliseconds));
            json.WriteNumber("completeTime", task.EndsAt.ToUnixTimeMilliseconds());
        }
        else
        {
            json.WriteNull("costTime");
            json.WriteNull("completeTime");
        }

        json.WriteNumber("createTime", task.CreatedAt.ToUnixTimeMilliseconds());
        json.WriteNumber("updateTime", (isOver ? task.EndsAt : task.StartsAt <= now ? task.StartsAt : task.CreatedAt).ToUnixTimeMilliseconds());
        if (isOld)
        {
            return;
        }

        if (task.HasAbsurdUsage)
        {
            Fault.WriteAbsurd(json, "progress", "-9223372036854775808");
            Fault.WriteAbsurd(json, "creditsConsumed");
            return;
        }

        json.WriteNumber("progress", state == "success" ? 100 : state != "generating" ? 0
            : (int)Math.Clamp(100 * (now - task.StartsAt) / task.Takes, 1, 99));
        json.WriteNumber("creditsConsumed", state == "success" ? task.Credits : 0);
    }

    private static readonly JsonSerializerOptions Unescaped = new() { Encoder = ArkError.JsonOptions.Encoder };
}
