namespace Generation.Core.Submit;

/// <summary>
/// Decides which submits are refused while the queue stands: it does once nobody has found it empty for a while, for a burst is over by then.
/// </summary>
/// <param name="batchSize">Requests that are written together; fewer that wait are no queue.</param>
/// <param name="maxWait">The longest wait of a request that is admitted to a standing queue.</param>
/// <param name="time">The clock.</param>
internal sealed class LoadShedder(int batchSize, TimeSpan maxWait, TimeProvider time)
{
    private static readonly TimeSpan BurstDuration = TimeSpan.FromMilliseconds(500);

    private long foundEmptyAt = time.GetTimestamp();
    private double batchSeconds; // smoothed

    /// <summary>Whether a request would wait too long behind <paramref name="ahead"/> others.</summary>
    public bool WouldWaitTooLong(int ahead)
    {
        if (ahead == 0)
        {
            FoundEmpty();
        }

        return ahead >= batchSize
            && ((ahead / batchSize) + 1) * Volatile.Read(ref batchSeconds) > maxWait.TotalSeconds
            && time.GetElapsedTime(Volatile.Read(ref foundEmptyAt)) > BurstDuration;
    }

    /// <summary>Nobody waits.</summary>
    public void FoundEmpty() => Volatile.Write(ref foundEmptyAt, time.GetTimestamp());

    /// <summary>How long a batch took.</summary>
    public void Observe(TimeSpan duration) => Volatile.Write(ref batchSeconds, (0.8 * batchSeconds) + (0.2 * duration.TotalSeconds));
}
