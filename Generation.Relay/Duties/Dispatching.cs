using Generation.Core;
using Generation.Core.Outbox;
using Generation.Core.Queue;
using Generation.Core.Realtime;
using Generation.ServiceDefaults;

namespace Generation.Relay.Duties;

/// <summary>Moves what is due from the outbox to the queue, lane by lane; woken by NOTIFY, and by its interval when one was missed.</summary>
public sealed class Dispatch(OutboxDispatcher dispatcher, RelayOptions options, LostDispatches lost, TimeProvider time, ILogger<Dispatch> log)
    : Duty(options.PollInterval, time, log)
{
    public override async Task<bool> RunOnceAsync(CancellationToken ct)
    {
        // The lanes go side by side: a slow or full one does not hold up the others.
        var results = await Task.WhenAll(QueueOptions.Lanes.Select(lane => dispatcher.DispatchAsync(lane, options.OutboxBatch, options.DispatchWindow, ct)));
        if (results.Any(r => r.QueueWasLost))
        {
            lost.Wake();
        }

        return results.Any(r => r.IsMore);
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
}

/// <summary>Hears of new outbox rows, so that a job does not wait for the next poll.</summary>
public sealed class OutboxListener(DatabaseConnections connections, Dispatch dispatch, TimeProvider time, ILogger<OutboxListener> log) : BackgroundService
{
    protected override Task ExecuteAsync(CancellationToken stoppingToken) =>
        new ChangeListener(connections.Dedicated, [ChangeChannel.Outbox], time, log)
            .RunAsync((_, _) => dispatch.Wake(), dispatch.Wake, stoppingToken);
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
