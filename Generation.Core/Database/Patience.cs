namespace Generation.Core.Database;

/// <summary>
/// A token that fires after a time, for statements, and for whoever links it to another token and may be done in the moment in which it fires. A
/// timer that cancels a <see cref="CancellationTokenSource"/> is no good for them: Npgsql 10 may throw when it is told to cancel on a connection
/// that dies in the same moment (<a href="https://github.com/npgsql/npgsql/issues/6415">npgsql#6415</a>), a source that was disposed of in that
/// moment throws as well, and what is thrown out of a timer ends the process.
/// </summary>
public sealed class Patience : IDisposable
{
    private readonly CancellationTokenSource source;
    private readonly ITimer alarm;

    /// <param name="duration">From now on.</param>
    /// <param name="time">Whose.</param>
    /// <param name="ct">Fires the token too.</param>
    public Patience(TimeSpan duration, TimeProvider time, CancellationToken ct = default)
    {
        ArgumentNullException.ThrowIfNull(time);
        source = CancellationTokenSource.CreateLinkedTokenSource(ct);
        alarm = time.CreateTimer(_ => End(), null, duration, Timeout.InfiniteTimeSpan);
    }

    public CancellationToken Token => source.Token;

    public void Dispose()
    {
        alarm.Dispose();
        source.Dispose();
    }

    private void End()
    {
        try
        {
            source.Cancel(); // tells all, then throws what some have thrown
        }
        catch (Exception e) when (e is AggregateException or ObjectDisposedException)
        {
            // The statement ends by its dead connection, or has ended.
        }
    }
}
