using System.Collections.Concurrent;
using Generation.Core;
using Generation.Core.Database;
using Generation.Core.Outbox;
using Generation.Core.Queue;
using Generation.Core.Realtime;
using Generation.ServiceDefaults;

namespace Generation.Relay.Maintenance;

/// <summary>
/// Dispatches due outbox rows to the queue, lane by lane; woken by NOTIFY, and by its interval when a notification was missed. Between polls only
/// the lanes that were named are read: at hundreds of submits a second reading all of them cost more than the dispatches.
/// </summary>
public sealed class DispatchService(
    OutboxDispatcher dispatcher, LaneWindows windows, RelayOptions options, LostDispatchSweep lost, TimeProvider time, ILogger<DispatchService> log)
    : PeriodicService(options.PollInterval, time, log)
{
    /// <summary>At 50,000 jobs a second workers consume a quarter of the default window in this time.</summary>
    private static readonly TimeSpan MinWindowDelay = TimeSpan.FromMilliseconds(5);

    /// <summary>Failures of a lane in a row before it is logged: while a queue restarts, lanes recover at slightly different times.</summary>
    private const int FailuresToReport = 3;

    private static readonly TimeSpan MinLanePause = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan MaxLanePause = TimeSpan.FromSeconds(5);

    private readonly ConcurrentDictionary<string, LaneOutage> outages = new(StringComparer.Ordinal);
    private readonly Lock gate = new();
    private readonly HashSet<string> due = new(StringComparer.Ordinal); // lanes, under the gate, as are the next two
    private readonly HashSet<string> full = new(StringComparer.Ordinal); // due or not, they are read when the timer fires
    private long? polledAt;
    private ITimer? windowTimer;
    private TimeSpan windowDelay = MinWindowDelay;

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
                due.UnionWith(lanes); // what was due is still due
            }

            throw;
        }
    }

    /// <summary>The lanes that were named, and all of them once an interval.</summary>
    private List<string> TakeLanes()
    {
        lock (gate)
        {
            if (polledAt is not { } at || Time.GetElapsedTime(at) >= options.PollInterval)
            {
                polledAt = Time.GetTimestamp();
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
        // Lanes are dispatched concurrently: a slow or full lane, or one whose queue is unavailable, does not delay the others.
        var passes = await Task.WhenAll(lanes.Select(lane => DispatchAsync(lane, ct)));
        if (Array.Find(passes, p => p.Problem is not null).Problem is { } newest && QueueOptions.Lanes.All(outages.ContainsKey))
        {
            // All lanes fail, perhaps one after another: it is the transport, so the whole service backs off and reports it.
            outages.Clear();
            throw new QueueException(newest.Message, newest);
        }

        foreach (var (lane, (_, problem)) in lanes.Zip(passes))
        {
            if (problem is not null && outages[lane] is { Failures: >= FailuresToReport } outage && outage.Log.Report())
            {
                log.LogError(LogEvents.OutboxQueueMissing, problem,
                    "Lane {Lane} cannot be dispatched; its messages wait in the outbox, other lanes continue: {Problem}", lane, problem.Message);
            }
        }

        var results = passes.Select(p => p.Result).ToList();
        if (results.Any(r => r.IsQueueLost))
        {
            lost.Wake();
        }

        // There is no notification when workers free the window: it is polled soon, and less often the longer it stays full.
        if (results.Any(r => r.IsWindowFull))
        {
            windowDelay = results.Any(r => r.Published > 0) ? MinWindowDelay : windowDelay * 2 < options.PollInterval ? windowDelay * 2
                : options.PollInterval;
            lock (gate)
            {
                full.UnionWith(lanes.Where((_, i) => results[i].IsWindowFull));
            }

            windowTimer ??= Time.CreateTimer(_ => PollWindow(), null, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
            windowTimer.Change(windowDelay, Timeout.InfiniteTimeSpan);
        }

        lock (gate)
        {
            due.UnionWith(lanes.Where((_, i) => results[i].HasMore));
        }

        return results.Any(r => r.HasMore);
    }

    private void PollWindow()
    {
        lock (gate)
        {
            due.UnionWith(full);
            full.Clear();
        }

        base.Wake();
    }

    /// <summary>One lane. While its queue is unavailable it backs off by itself, which is logged once a minute.</summary>
    private async Task<(DispatchResult Result, QueueException? Problem)> DispatchAsync(string lane, CancellationToken ct)
    {
        if (outages.TryGetValue(lane, out var outage) && Time.GetElapsedTime(outage.FailedAt) < outage.Pause)
        {
            return (default, null);
        }

        try
        {
            var window = await windows.OfAsync(lane, ct);
            var result = await TransientErrors.RepeatOnDisconnectAsync(() => dispatcher.DispatchAsync(lane, options.OutboxBatch, window, ct));
            if (outages.TryRemove(lane, out var over) && over.Log.Recovered())
            {
                log.LogInformation(OperationEvents.QueueRecovered, "Lane {Lane} is dispatched again", lane);
            }

            return (result, null);
        }
        catch (QueueException e)
        {
            var pause = outage is null ? MinLanePause : outage.Pause * 2 > MaxLanePause ? MaxLanePause : outage.Pause * 2;
            outages[lane] = new LaneOutage((outage?.Failures ?? 0) + 1, Time.GetTimestamp(), pause, outage?.Log ?? new ThrottledLog(Time));
            return (default, e);
        }
    }

    public override void Dispose()
    {
        windowTimer?.Dispose();
        base.Dispose();
        GC.SuppressFinalize(this);
    }

    protected override void ReportFailure(Exception e)
    {
        if (e is QueueException)
        {
            log.LogError(LogEvents.OutboxQueueMissing, e, "The queue is unavailable; messages wait in the outbox: {Problem}", e.Message);
        }
        else
        {
            base.ReportFailure(e);
        }
    }

    /// <param name="Failures">Consecutive.</param>
    /// <param name="FailedAt">The last of them, a timestamp.</param>
    /// <param name="Pause">Until the next attempt.</param>
    /// <param name="Log">Of this outage.</param>
    private sealed record LaneOutage(int Failures, long FailedAt, TimeSpan Pause, ThrottledLog Log);
}

/// <summary>Listens for new outbox rows, so that a job does not wait for the next poll.</summary>
public sealed class OutboxListener(DatabaseConnections connections, DispatchService dispatch, TimeProvider time, ILogger<OutboxListener> log)
    : BackgroundService
{
    protected override Task ExecuteAsync(CancellationToken stoppingToken) =>
        new ChangeListener(connections.Dedicated, [ChangeChannel.Outbox], time, log)
            .RunAsync(dispatch.Wake, dispatch.Wake, stoppingToken);
}
