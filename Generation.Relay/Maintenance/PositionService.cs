using Generation.Core.Outbox;
using StackExchange.Redis;

namespace Generation.Relay.Maintenance;

/// <summary>Publishes the lanes' position indexes, from which Apis tell where a generation stands. Nothing depends on them.</summary>
public sealed class PositionService(PositionIndexer indexer, TimeProvider time, ILogger<PositionService> log)
    : PeriodicService(PositionIndexer.MinInterval / 2, time, log)
{
    private readonly ILogger log = log;

    public override async Task<bool> RunOnceAsync(CancellationToken ct)
    {
        await indexer.MakeDueAsync(ct);
        return false;
    }

    public override async Task StopAsync(CancellationToken cancellationToken)
    {
        await base.StopAsync(cancellationToken);
        try
        {
            await indexer.LeaveAsync();
        }
        catch (Exception e) when (e is RedisException or TimeoutException or ObjectDisposedException)
        {
            log.LogDebug(e, "Could not hand over the position indexes; another relay takes them in seconds");
        }
    }

    protected override void ReportFailure(Exception e)
    {
        ArgumentNullException.ThrowIfNull(e);
        log.LogWarning("The position indexes are not published; positions of single generations are counted instead: {Problem}", e.Message);
    }
}
