namespace Generation.Core.Submit;

/// <summary>
/// Decides which submits are refused, as CoDel does (RFC 8289): by how long requests have waited, not by how many there are. Only a queue that
/// stands is shed: one in which every request of a whole interval waited longer than the target, or that has not moved for two seconds. A hiccup
/// of the database makes requests wait too, and is over by itself; clients that each wait for their answer are a queue that is never empty and
/// need not be a slow one.
/// </summary>
/// <param name="batchSize">Requests that are written together; fewer that wait are no queue.</param>
/// <param name="target">The longest wait of a request that is admitted to a standing queue.</param>
/// <param name="time">The clock.</param>
public sealed class LoadShedder(int batchSize, TimeSpan target, TimeProvider time)
{
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(500);

    private static readonly TimeSpan MaxHiccup = TimeSpan.FromSeconds(2);

    private long movedAt = time.GetTimestamp();
    private long aboveTargetSince; // 0: some request of the last batch waited no longer than the target
    private long refusedAt; // 0: never
    private double batchSeconds; // smoothed

    /// <summary>Whether a request would wait too long behind <paramref name="ahead"/> others, and is refused.</summary>
    public bool WouldWaitTooLong(int ahead)
    {
        if (ahead < batchSize)
        {
            if (ahead == 0)
            {
                Volatile.Write(ref movedAt, time.GetTimestamp()); // nobody waits
            }

            return false;
        }

        // Those that are admitted while others are refused wait no longer than the target: that is no sign that the flood is over.
        var isShedding = HasPassed(Volatile.Read(ref aboveTargetSince)) || IsRecent(Volatile.Read(ref refusedAt))
            || time.GetElapsedTime(Volatile.Read(ref movedAt)) > MaxHiccup;
        if (!isShedding || ((ahead / batchSize) + 1) * Volatile.Read(ref batchSeconds) <= target.TotalSeconds)
        {
            return false;
        }

        Volatile.Write(ref refusedAt, time.GetTimestamp());
        return true;
    }

    /// <summary>A batch is about to be written.</summary>
    /// <param name="shortestWait">Of its requests, in the queue.</param>
    /// <param name="isLast">Nobody else waits.</param>
    public void Take(TimeSpan shortestWait, bool isLast)
    {
        Volatile.Write(ref movedAt, time.GetTimestamp());
        if (shortestWait <= target || isLast)
        {
            Volatile.Write(ref aboveTargetSince, 0);
        }
        else if (Volatile.Read(ref aboveTargetSince) == 0)
        {
            Volatile.Write(ref aboveTargetSince, time.GetTimestamp());
        }
    }

    /// <summary>How long a batch took.</summary>
    public void Observe(TimeSpan duration) => Volatile.Write(ref batchSeconds, (0.8 * batchSeconds) + (0.2 * duration.TotalSeconds));

    private bool HasPassed(long since) => since != 0 && time.GetElapsedTime(since) >= Interval;

    private bool IsRecent(long at) => at != 0 && time.GetElapsedTime(at) < Interval;
}
