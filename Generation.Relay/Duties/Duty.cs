using Generation.Core.Database;

namespace Generation.Relay.Duties;

/// <summary>
/// A background duty: does its work again and again, at its own pace, whatever happens to the others. A pass that finds more to do comes
/// again at once; trouble with the database, the queue or the object store is said once a minute and tried again with a growing pause.
/// </summary>
public abstract class Duty(TimeSpan interval, TimeProvider time, ILogger log) : BackgroundService
{
    private static readonly TimeSpan MaxPause = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan ComplaintInterval = TimeSpan.FromMinutes(1);

    private readonly SemaphoreSlim signal = new(0, 1);
    private long? complainedAt;

    /// <summary>The clock of its pauses.</summary>
    protected TimeProvider Time => time;

    /// <summary>One pass. True when there is more to do right now.</summary>
    public abstract Task<bool> RunOnceAsync(CancellationToken ct);

    /// <summary>Starts the next pass now instead of after the interval.</summary>
    public virtual void Wake()
    {
        try
        {
            signal.Release();
        }
        catch (SemaphoreFullException)
        {
            // It is awake already.
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
                if (complainedAt is not null)
                {
                    log.LogInformation("{Duty} works again", GetType().Name);
                    complainedAt = null;
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
            catch (Exception e) // all: a connection that dies in the wrong moment has ended whole relays with an ObjectDisposedException of Npgsql's
            {
                if (complainedAt is not { } said || time.GetElapsedTime(said) > ComplaintInterval)
                {
                    complainedAt = time.GetTimestamp();
                    Complain(e);
                }

                await Task.Delay(pause, time, stoppingToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                pause = pause * 2 > MaxPause ? MaxPause : pause * 2;
            }
        }
    }

    protected virtual void Complain(Exception e) => log.LogError(e, "{Duty} cannot do its work: {Problem}", GetType().Name, e.Message);

    private async Task WaitAsync(TimeSpan duration, CancellationToken ct)
    {
        using var alarm = new Patience(duration, time, ct); // it may ring in the moment in which the signal comes
        try
        {
            await signal.WaitAsync(alarm.Token);
        }
        catch (OperationCanceledException) when (!ct.IsCancellationRequested)
        {
            // The interval is over.
        }
    }
}
