namespace Generation.LocalServers;

/// <summary>When to start again what crashed: after 1, 2, 4, … 30 seconds, and not at all after five crashes within a minute.</summary>
internal sealed class CrashHistory(TimeProvider time)
{
    public const int FatalCrashes = 5;
    private static readonly TimeSpan Window = TimeSpan.FromMinutes(1);
    private static readonly TimeSpan LongestDelay = TimeSpan.FromSeconds(30);

    private readonly Queue<long> crashes = new();
    private int crashesInARow;
    private long lastCrash;

    /// <summary>Records a crash. Returns how long to wait, or null when it is dead for good.</summary>
    public TimeSpan? NextRestart()
    {
        var now = time.GetTimestamp();
        crashesInARow = crashesInARow > 0 && time.GetElapsedTime(lastCrash, now) < Window ? crashesInARow + 1 : 1;
        lastCrash = now;
        crashes.Enqueue(now);
        while (time.GetElapsedTime(crashes.Peek(), now) >= Window)
        {
            crashes.Dequeue();
        }

        if (crashes.Count >= FatalCrashes)
        {
            return null;
        }

        var delay = TimeSpan.FromSeconds(Math.Pow(2, Math.Min(crashesInARow - 1, 10)));
        return delay < LongestDelay ? delay : LongestDelay;
    }
}
