using Generation.Core.Providers;
using Generation.Worker.Calls;
using StackExchange.Redis;

namespace Generation.Worker.Hosting;

/// <summary>Says every five seconds how this worker finds its providers.</summary>
public sealed class HealthReporting(ProviderBreakers breakers, ProviderHealth health, JobDurations durations, TimeProvider time,
    ILogger<HealthReporting> log)
    : BackgroundService
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
                    await health.PublishAsync(new WorkerReport(LaneConsumer.WorkerName, time.GetUtcNow(), breakers.Report())
                    {
                        Durations = durations.Report(),
                    });
                }
                catch (Exception e) when (e is RedisException or TimeoutException or ObjectDisposedException)
                {
                    log.LogDebug(e, "Could not publish the report on providers");
                }
            }
            while (await timer.WaitForNextTickAsync(stoppingToken));
        }
        catch (OperationCanceledException)
        {
            try
            {
                await health.ForgetAsync(LaneConsumer.WorkerName);
            }
            catch (Exception e) when (e is RedisException or TimeoutException or ObjectDisposedException)
            {
                log.LogDebug(e, "Could not remove the last report on providers; it expires");
            }
        }
    }
}
