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
