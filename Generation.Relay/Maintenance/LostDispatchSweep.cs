using Generation.Core.Maintenance;
using Generation.Core.Outbox;
using Generation.Core.Queue;

namespace Generation.Relay.Maintenance;

/// <summary>Redispatches messages that the queue has lost, and no others (invariant 8).</summary>
public sealed class LostDispatchSweep(OutboxDispatcher dispatcher, RelayOptions options, TimeProvider time, ILogger<LostDispatchSweep> log)
    : Sweep("lost-dispatches", options.LostDispatchInterval, time, log)
{
    protected override async Task<SweepResult> SweepAsync(CancellationToken ct)
    {
        var count = 0;
        QueueException? problem = null;
        foreach (var lane in QueueOptions.Lanes)
        {
            try
            {
                count += await dispatcher.RedispatchLostAsync(lane, ct);
            }
            catch (QueueException e)
            {
                problem = e; // the next lane may have its own queue
            }
        }

        return count > 0 || problem is null
            ? new(count, HasMore: false) // the rows are due again and dispatched by the next poll
            : throw new QueueException(problem.Message, problem);
    }

    protected override void Report(int count) => log.LogWarning("Redispatched {Count} messages that were lost with the queue", count);
}

/// <summary>Dispatches sessions that wait for a worker and have no outbox row.</summary>
public sealed class MissingDispatchSweep(SessionSweeps sweeps, RelayOptions options, TimeProvider time, ILogger<MissingDispatchSweep> log)
    : Sweep("strays", options.StrayInterval, time, log)
{
    protected override async Task<SweepResult> SweepAsync(CancellationToken ct) =>
        SweepResult.Of(await sweeps.DispatchMissingAsync(options.StrayInterval, ct), SessionSweeps.Batch);

    protected override void Report(int count) => log.LogError("Dispatched {Count} sessions that waited without an outbox row; this should not happen",
        count);
}
