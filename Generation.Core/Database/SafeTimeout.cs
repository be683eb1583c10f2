namespace Generation.Core.Database;

/// <summary>
/// A cancellation token that fires after a duration and whose callbacks cannot throw out of the timer. A <see cref="CancellationTokenSource"/>
/// with a delay does not have that property: Npgsql 10 may throw when it cancels on a connection that breaks at the same moment
/// (<a href="https://github.com/npgsql/npgsql/issues/6415">npgsql#6415</a>), a source that is disposed of at that moment throws too, and an
/// exception on a timer thread ends the process.
/// </summary>
public sealed class SafeTimeout : IDisposable
{
    private readonly CancellationTokenSource source;
    private readonly ITimer timer;

    /// <param name="duration">Until the token fires.</param>
    /// <param name="time">The clock.</param>
    /// <param name="ct">Fires the token too.</param>
    public SafeTimeout(TimeSpan duration, TimeProvider time, CancellationToken ct = default)
    {
        ArgumentNullException.ThrowIfNull(time);
        source = CancellationTokenSource.CreateLinkedTokenSource(ct);
        timer = time.CreateTimer(_ => End(), null, duration, Timeout.InfiniteTimeSpan);
    }

    public CancellationToken Token => source.Token;

    public void Dispose()
    {
        timer.Dispose();
        source.Dispose();
    }

    private void End()
    {
        try
        {
            source.Cancel(); // runs all callbacks, then throws what some of them threw
        }
        catch (Exception e) when (e is AggregateException or ObjectDisposedException)
        {
            // The statement fails with its broken connection, or has ended.
        }
    }
}
