using Generation.Core.Providers;
using Generation.Worker.Jobs;
using StackExchange.Redis;

namespace Generation.Worker.Providers;

/// <summary>Says every five seconds how this worker finds its providers.</summary>
public sealed class HealthReporting(ProviderBreakers breakers, ProviderHealth health, TimeProvider time, ILogger<HealthReporting> log) : BackgroundService
{
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(ProviderHealth.Interval, time);
        try
        {
            do
            {
                try
                {
                    await health.PublishAsync(new WorkerReport(LaneConsumers.WorkerName, time.GetUtcNow(), breakers.Report()));
                }
                catch (Exception e) when (e is RedisException or TimeoutException or ObjectDisposedException)
                {
                    log.LogDebug(e, "Nobody was told how the providers are");
                }
            }
            while (await timer.WaitForNextTickAsync(stoppingToken));
        }
        catch (OperationCanceledException)
        {
            try
            {
                await health.ForgetAsync(LaneConsumers.WorkerName);
            }
            catch (Exception e) when (e is RedisException or TimeoutException or ObjectDisposedException)
            {
                log.LogDebug(e, "The last report is forgotten by itself");
            }
        }
    }
}
