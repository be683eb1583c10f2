using Generation.Core;
using Generation.Core.Database;

namespace Generation.Relay.Maintenance;

/// <summary>
/// A background loop with an interval, independent of the others. A run that finds more to do is repeated immediately. Errors of the database, the
/// queue or the object store are logged once a minute and retried with a growing delay.
/// </summary>
public abstract class PeriodicService(TimeSpan interval, TimeProvider time, ILogger log) : BackgroundService
{
    private static readonly TimeSpan MaxPause = TimeSpan.FromSeconds(5);

    private readonly SemaphoreSlim signal = new(0, 1);
    private readonly ThrottledLog outage = new(time);

    /// <summary>The clock of its delays.</summary>
    protected TimeProvider Time => time;

    /// <summary>One run. True when there is more to do right now.</summary>
    public abstract Task<bool> RunOnceAsync(CancellationToken ct);

    /// <summary>Starts the next run now instead of after the interval.</summary>
    public virtual void Wake()
    {
        try
        {
            signal.Release();
        }
        catch (SemaphoreFullException)
        {
            // A wake-up is pending already.
        }
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var pause = TimeSpan.FromMilliseconds(100);
        while (!stoppingToken.IsCancellationRequested)
        {
            try
            {
                var more = await RunOnceAsync(stoppingToken);
                if (outage.Recovered())
                {
                    log.LogInformation(OperationEvents.ServiceRecovered, "{Service} recovered", GetType().Name);
                }

                pause = TimeSpan.FromMilliseconds(100);
                if (!more)
                {
                    await WaitAsync(interval, stoppingToken);
                }
            }
            catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
            {
                return;
            }
            // all: an ObjectDisposedException of Npgsql's, from a connection that broke at the wrong moment, has stopped whole relays
            catch (Exception e)
            {
                if (outage.Report())
                {
                    ReportFailure(e);
                }

                await Task.Delay(pause, time, stoppingToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                pause = pause * 2 > MaxPause ? MaxPause : pause * 2;
            }
        }
    }

    protected virtual void ReportFailure(Exception e) => log.LogError(e, "{Service} failed: {Problem}", GetType().Name, e.Message);

    private async Task WaitAsync(TimeSpan duration, CancellationToken ct)
    {
        using var timer = new SafeTimeout(duration, time, ct); // it may fire at the moment of the signal
        try
        {
            await signal.WaitAsync(timer.Token);
        }
        catch (OperationCanceledException) when (!ct.IsCancellationRequested)
        {
            // The interval is over.
        }
    }
}

public static class PeriodicServiceRegistration
{
    public static void AddPeriodicService<TService>(this IServiceCollection services)
        where TService : PeriodicService
    {
        services.AddSingleton<TService>();
        services.AddHostedService(provider => provider.GetRequiredService<TService>());
    }
}
