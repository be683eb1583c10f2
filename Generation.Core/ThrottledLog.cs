namespace Generation.Core;

/// <summary>Limits the log of a lasting problem to once a minute, and its end to once.</summary>
/// <remarks>Not safe for concurrent use: each loop has its own.</remarks>
public sealed class ThrottledLog(TimeProvider time)
{
    private static readonly TimeSpan Interval = TimeSpan.FromMinutes(1);
    private long? reportedAt;

    /// <summary>The problem is there. Whether it is to be logged now.</summary>
    public bool Report()
    {
        if (reportedAt is { } at && time.GetElapsedTime(at) < Interval)
        {
            return false;
        }

        reportedAt = time.GetTimestamp();
        return true;
    }

    /// <summary>The problem is over, or was not there. Whether its end is to be logged.</summary>
    public bool Recovered()
    {
        var wasReported = reportedAt is not null;
        reportedAt = null;
        return wasReported;
    }
}

/// <summary>
/// Samples a line that is written for every session: up to so many a second, so that a quiet system's log has all of them and a busy one's is
/// not made of them. Safe for concurrent use.
/// </summary>
public sealed class SampledLog(TimeProvider time, int perSecond = SampledLog.DefaultPerSecond)
{
    public const int DefaultPerSecond = 20;

    private readonly Lock gate = new();
    private long windowStart;
    private int taken;

    /// <summary>Whether this line is to be written.</summary>
    public bool Take()
    {
        lock (gate)
        {
            if (windowStart == 0 || time.GetElapsedTime(windowStart) >= TimeSpan.FromSeconds(1))
            {
                (windowStart, taken) = (time.GetTimestamp(), 0);
            }

            return taken++ < perSecond;
        }
    }
}
