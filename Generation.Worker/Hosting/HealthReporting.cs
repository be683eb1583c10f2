using Generation.Core.Providers;
using Generation.Worker.Calls;
using StackExchange.Redis;

namespace Generation.Worker.Hosting;

/// <summary>Says every second what this worker does, and every five how it finds its providers.</summary>
public sealed class HealthReporting(
    ProviderBreakers breakers, LaneActivity lanes, JobDurations durations, ProviderHealth health, TimeProvider time,
    ILogger<HealthReporting> log) : BackgroundService
{
    /// <summary>Reports that repeat the same figures of providers, which are read from the calls of five minutes.</summary>
    private const int ReportsPerReading = 5;

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(ProviderHealth.Interval, time);
        IReadOnlyList<ProviderReport> providers = [];
        try
        {
            for (var n = 0; ; n++)
            {
                try
                {
                    providers = n % ReportsPerReading == 0 ? breakers.Report() : providers;
                    await health.PublishAsync(new WorkerReport(lanes.Worker, time.GetUtcNow(), providers)
                    {
                        Lanes = lanes.Report(),
                        Durations = durations.Report(),
                    });
                }
                catch (Exception e) when (e is RedisException or TimeoutException or ObjectDisposedException)
                {
                    log.LogDebug(e, "Could not publish the report on providers");
                }

                await timer.WaitForNextTickAsync(stoppingToken);
            }
        }
        catch (OperationCanceledException)
        {
            try
            {
                await health.ForgetAsync(lanes.Worker);
            }
            catch (Exception e) when (e is RedisException or TimeoutException or ObjectDisposedException)
            {
                log.LogDebug(e, "Could not remove the last report on providers; it expires");
            }
        }
    }
}
