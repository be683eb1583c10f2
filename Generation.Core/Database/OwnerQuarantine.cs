namespace Generation.Core.Database;

/// <summary>
/// Whose requests a group commit isolates from the start, because one of them failed alone a short while ago: however many such requests come, they
/// hold up no group. And how it tells one owner's locked row from a locked table, which is everybody's.
/// </summary>
internal sealed class OwnerQuarantine(TimeProvider time)
{
    private const int MaxOwners = 1_000;
    private const int OwnersOfOutage = 3;
    private static readonly TimeSpan Duration = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan OutageAfter = TimeSpan.FromSeconds(1);

    private readonly Lock gate = new();
    private readonly Dictionary<object, long> until = [];

    // Who has found something locked since something was written the last time.
    private readonly HashSet<object> blocked = [];
    private long? blockedSince;

    public bool Contains(object owner)
    {
        lock (gate)
        {
            if (until.Count == 0 || !until.TryGetValue(owner, out var end))
            {
                return false;
            }

            if (end > time.GetTimestamp())
            {
                return true;
            }

            until.Remove(owner);
            return false;
        }
    }

    public void Add(object owner)
    {
        lock (gate)
        {
            var now = time.GetTimestamp();
            if (until.Count >= MaxOwners)
            {
                foreach (var (over, _) in until.Where(entry => entry.Value <= now).ToList())
                {
                    until.Remove(over);
                }
            }

            if (until.Count < MaxOwners)
            {
                until[owner] = now + (long)(Duration.TotalSeconds * time.TimestampFrequency);
            }
        }
    }

    /// <summary>
    /// These have found something locked. True when requests of several owners have for a while, and none was written meanwhile: then it is not
    /// one's row that is locked but a table.
    /// </summary>
    public bool ReportBlocked(IEnumerable<object> owners)
    {
        lock (gate)
        {
            blockedSince ??= time.GetTimestamp();
            blocked.UnionWith(owners);
            return blocked.Count >= OwnersOfOutage && time.GetElapsedTime(blockedSince.Value) >= OutageAfter;
        }
    }

    /// <summary>Something was written.</summary>
    public void ClearBlocked()
    {
        lock (gate)
        {
            blockedSince = null;
            blocked.Clear();
        }
    }
}
