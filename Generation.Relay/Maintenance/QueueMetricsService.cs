using Generation.Core;
using Generation.Core.Outbox;
using Generation.Core.Queue;

namespace Generation.Relay.Maintenance;

/// <summary>Measures the backlog, for the gauges <c>generation.outbox.lag</c> and <c>generation.queue.depth</c>: a collection does no I/O.</summary>
public sealed class QueueMetricsService : PeriodicService
{
    private readonly OutboxDispatcher dispatcher;
    private readonly IJobQueue queue;
    private readonly IDisposable[] gauges;
    private double lagSeconds;
    private (string Lane, long Messages)[] depths = [];

    public QueueMetricsService(OutboxDispatcher dispatcher, IJobQueue queue, RelayOptions options, TimeProvider time,
        ILogger<QueueMetricsService> log)
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
