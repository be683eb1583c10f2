using Microsoft.Extensions.Logging;

namespace Generation.Core;

/// <summary>Logs a lasting problem once a minute instead of at every attempt, and its end once.</summary>
public sealed class ThrottledLog(ILogger log, TimeProvider time)
{
    private static readonly TimeSpan Interval = TimeSpan.FromMinutes(1);
    private long? reportedAt;
    private string reported = "";

    public void Report(Exception e, string what)
    {
        if (reportedAt is { } at && time.GetElapsedTime(at) < Interval)
        {
            return;
        }

        (reportedAt, reported) = (time.GetTimestamp(), what);
        log.LogError(e, "{What}: {Problem}", what, e.Message);
    }

    public void Recovered()
    {
        if (reportedAt is not null)
        {
            reportedAt = null;
            log.LogInformation(OperationEvents.ServiceRecovered, "Recovered from: {What}", reported);
        }
    }
}
