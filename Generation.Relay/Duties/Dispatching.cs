using System.Collections.Concurrent;
using Generation.Core;
using Generation.Core.Outbox;
using Generation.Core.Queue;
using Generation.Core.Realtime;
using Generation.ServiceDefaults;

namespace Generation.Relay.Duties;

/// <summary>
/// Moves what is due from the outbox to the queue, lane by lane; woken by NOTIFY, and by its interval when one was missed. Only lanes that
/// were named are looked at in between: at hundreds of submits a second the others cost more than the dispatches.
/// </summary>
public sealed class Dispatch(OutboxDispatcher dispatcher, RelayOptions options, LostDispatches lost, TimeProvider time, ILogger<Dispatch> log)
    : Duty(options.PollInterval, time, log)
{
    /// <summary>Workers that end jobs at once use up a quarter of the default window in this time at 50,000 a second.</summary>
    private static readonly TimeSpan MinRoomPause = TimeSpan.FromMilliseconds(5);

    /// <summary>A queue that restarts is away for one lane a moment longer than for another.</summary>
    private const int FailuresToSaySo = 3;

    private static readonly TimeSpan MinLanePause = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan MaxLanePause = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan ComplaintInterval = TimeSpan.FromMinutes(1);

    private readonly ConcurrentDictionary<string, LaneTrouble> troubled = new(StringComparer.Ordinal);
    private readonly Lock gate = new();
    private readonly HashSet<string> due = new(StringComparer.Ordinal); // lanes, under the gate, as are the next two
    private readonly HashSet<string> full = new(StringComparer.Ordinal); // due or not, they are looked at when the timer says so
    private long? lookedAtAll;
    private ITimer? roomTimer;
    private TimeSpan roomPause = MinRoomPause;

    /// <summary>Something is due, in any lane.</summary>
    public override void Wake() => Wake("");

    /// <summary>Something is due in these lanes, separated by commas; in any when it is empty.</summary>
    public void Wake(string lanes)
    {
        ArgumentNullException.ThrowIfNull(lanes);
        lock (gate)
        {
            due.UnionWith(lanes.Length == 0 ? QueueOptions.Lanes : lanes.Split(',').Intersect(QueueOptions.Lanes, StringComparer.Ordinal));
            if (due.IsSubsetOf(full))
            {
                return;
            }
        }

        base.Wake();
    }

    public override async Task<bool> RunOnceAsync(CancellationToken ct)
    {
        var lanes = TakeLanes();
        try
        {
            return await DispatchAsync(lanes, ct);
        }
        catch
        {
            lock (gate)
            {
                due.UnionWith(lanes); // what was due still is
            }

            throw;
        }
    }

    /// <summary>Those that were named, and all of them once an interval.</summary>
    private List<string> TakeLanes()
    {
        lock (gate)
        {
            if (lookedAtAll is not { } at || Time.GetElapsedTime(at) >= options.PollInterval)
            {
                lookedAtAll = Time.GetTimestamp();
                due.UnionWith(QueueOptions.Lanes);
                full.Clear();
            }

            var lanes = due.Except(full, StringComparer.Ordinal).ToList();
            due.ExceptWith(lanes);
            return lanes;
        }
    }

    private async Task<bool> DispatchAsync(List<string> lanes, CancellationToken ct)
    {
        // The lanes go side by side: a slow or full one does not hold up the others, nor does one whose queue is away.
        var passes = await Task.WhenAll(lanes.Select(lane => DispatchAsync(lane, ct)));
        if (Array.Find(passes, p => p.Problem is not null).Problem is { } newest && QueueOptions.Lanes.All(troubled.ContainsKey))
        {
            // It is the transport and no lane's own trouble, also when they have failed one after another and some are pausing: the whole duty
            // waits and says so.
            troubled.Clear();
            throw new QueueException(newest.Message, newest);
        }

        foreach (var (lane, (_, problem)) in lanes.Zip(passes))
        {
            if (problem is not null && troubled[lane] is { Failures: >= FailuresToSaySo } trouble && (trouble.SaidAt is not { } said || Time.GetElapsedTime(said) > ComplaintInterval))
            {
                troubled[lane] = trouble with { SaidAt = Time.GetTimestamp() };
                log.LogError(LogEvents.OutboxQueueMissing, problem, "Lane {Lane} takes no messages; they wait in the outbox, and the other lanes go on: {Problem}", lane, problem.Message);
            }
        }

        var results = passes.Select(p => p.Result).ToList();
        if (results.Any(r => r.QueueWasLost))
        {
            lost.Wake();
        }

        // Room comes without a notification: it is looked for soon, and less often the longer there is none.
        if (results.Any(r => r.WaitsForRoom))
        {
            roomPause = results.Any(r => r.Published > 0) ? MinRoomPause : roomPause * 2 < options.PollInterval ? roomPause * 2 : options.PollInterval;
            lock (gate)
            {
                full.UnionWith(lanes.Where((_, i) => results[i].WaitsForRoom));
            }

            roomTimer ??= Time.CreateTimer(_ => LookForRoom(), null, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
            roomTimer.Change(roomPause, Timeout.InfiniteTimeSpan);
        }

        lock (gate)
        {
            due.UnionWith(lanes.Where((_, i) => results[i].IsMore));
        }

        return results.Any(r => r.IsMore);
    }

    private void LookForRoom()
    {
        lock (gate)
        {
            due.UnionWith(full);
            full.Clear();
        }

        base.Wake();
    }

    /// <summary>One lane. While its own queue is away it pauses by itself, and says so once a minute.</summary>
    private async Task<(DispatchResult Result, QueueException? Problem)> DispatchAsync(string lane, CancellationToken ct)
    {
        if (troubled.TryGetValue(lane, out var trouble) && Time.GetElapsedTime(trouble.FailedAt) < trouble.Pause)
        {
            return (default, null);
        }

        try
        {
            var result = await dispatcher.DispatchAsync(lane, options.OutboxBatch, options.DispatchWindow, ct);
            if (troubled.TryRemove(lane, out var over) && over.SaidAt is not null)
            {
                log.LogInformation("Lane {Lane} takes messages again", lane);
            }

            return (result, null);
        }
        catch (QueueException e)
        {
            var pause = trouble is null ? MinLanePause : trouble.Pause * 2 > MaxLanePause ? MaxLanePause : trouble.Pause * 2;
            troubled[lane] = new LaneTrouble((trouble?.Failures ?? 0) + 1, Time.GetTimestamp(), pause, trouble?.SaidAt);
            return (default, e);
        }
    }

    public override void Dispose()
    {
        roomTimer?.Dispose();
        base.Dispose();
        GC.SuppressFinalize(this);
    }

    protected override void Complain(Exception e)
    {
        if (e is QueueException)
        {
            log.LogError(LogEvents.OutboxQueueMissing, e, "The queue does not take messages; they wait in the outbox: {Problem}", e.Message);
        }
        else
        {
            base.Complain(e);
        }
    }

    /// <param name="Failures">In a row.</param>
    /// <param name="FailedAt">The last of them, a timestamp.</param>
    /// <param name="Pause">Until it is tried again.</param>
    /// <param name="SaidAt">When it was said last, a timestamp.</param>
    private sealed record LaneTrouble(int Failures, long FailedAt, TimeSpan Pause, long? SaidAt);
}

/// <summary>Hears of new outbox rows, so that a job does not wait for the next poll.</summary>
public sealed class OutboxListener(DatabaseConnections connections, Dispatch dispatch, TimeProvider time, ILogger<OutboxListener> log) : BackgroundService
{
    protected override Task ExecuteAsync(CancellationToken stoppingToken) =>
        new ChangeListener(connections.Dedicated, [ChangeChannel.Outbox], time, log)
            .RunAsync(dispatch.Wake, dispatch.Wake, stoppingToken);
}

/// <summary>Measures what waits, for the gauges <c>generation.outbox.lag</c> and <c>generation.queue.depth</c>: a collection does no I/O.</summary>
public sealed class Measuring : Duty
{
    private readonly OutboxDispatcher dispatcher;
    private readonly IJobQueue queue;
    private readonly IDisposable[] gauges;
    private double lagSeconds;
    private (string Lane, long Messages)[] depths = [];

    public Measuring(OutboxDispatcher dispatcher, IJobQueue queue, RelayOptions options, TimeProvider time, ILogger<Measuring> log)
        : base(options.MeasureInterval, time, log)
    {
        (this.dispatcher, this.queue) = (dispatcher, queue);
        gauges = [Telemetry.ObserveOutboxLag(() => Volatile.Read(ref lagSeconds)), Telemetry.ObserveQueueDepth(() => depths)];
    }

    public override async Task<bool> RunOnceAsync(CancellationToken ct)
    {
        Volatile.Write(ref lagSeconds, await dispatcher.LagSecondsAsync(ct));
        depths = await Task.WhenAll(QueueOptions.Lanes.Select(async lane => (lane, await queue.DepthAsync(lane, ct))));
        return false;
    }

    public override void Dispose()
    {
        Array.ForEach(gauges, gauge => gauge.Dispose());
        base.Dispose();
        GC.SuppressFinalize(this);
    }
}
