namespace Generation.Core.Database;

/// <summary>What a group's write says of one request.</summary>
public enum GroupAnswer
{
    /// <summary>It is written, or answered.</summary>
    Done,

    /// <summary>A row that it needs is locked by another transaction: it joins a later group, after a pause.</summary>
    Locked,

    /// <summary>It joins the next group.</summary>
    Again,
}

/// <param name="Status">What became of it.</param>
/// <param name="Result">With <see cref="GroupAnswer.Done"/>.</param>
public readonly record struct GroupAnswer<TResult>(GroupAnswer Status, TResult Result);

/// <summary>Limits and answers of group commits.</summary>
public static class GroupCommit
{
    /// <summary>How long a statement of a group waits for a row that another transaction has locked.</summary>
    public static readonly TimeSpan LockTimeout = TimeSpan.FromMilliseconds(100);

    /// <summary>After this time the next group is begun beside one that is being written.</summary>
    internal static readonly TimeSpan SlowGroup = TimeSpan.FromMilliseconds(250);

    internal static readonly TimeSpan FirstLockedPause = TimeSpan.FromMilliseconds(5);
    internal static readonly TimeSpan MaxLockedPause = TimeSpan.FromMilliseconds(250);

    public static GroupAnswer<TResult> Done<TResult>(TResult result) => new(GroupAnswer.Done, result);

    public static GroupAnswer<TResult> Locked<TResult>() => new(GroupAnswer.Locked, default!);

    public static GroupAnswer<TResult> Again<TResult>() => new(GroupAnswer.Again, default!);
}

/// <summary>How groups are formed.</summary>
/// <param name="MaxGroup">Requests a transaction.</param>
public sealed record GroupCommitOptions<TRequest>(int MaxGroup)
{
    /// <summary>Requests that may wait; for <see cref="GroupCommit{TRequest, TResult}.TryEnqueue"/>.</summary>
    public int QueueLength { get; init; } = int.MaxValue;

    /// <summary>At most one request of a key is in a group.</summary>
    public Func<TRequest, object>? Key { get; init; }

    /// <summary>Whose request it is. For some seconds after a request was isolated and failed, others of its owner are isolated, too.</summary>
    public Func<TRequest, object>? Owner { get; init; }

    /// <summary>How long the row of a request may stay locked before it fails with <see cref="RowLockedException"/>.</summary>
    public TimeSpan MaxLockedWait { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>Groups that are written at the same time when one of them takes long.</summary>
    public int MaxConcurrentGroups { get; init; } = 4;

    /// <summary>Nothing is written before <see cref="GroupCommit{TRequest, TResult}.Start"/>.</summary>
    public bool WaitsForStart { get; init; }

    /// <summary>Errors on which all that wait fail with their group.</summary>
    public Func<Exception, bool>? IsOutage { get; init; }
}

/// <summary>A row that the request needs stayed locked by another transaction. Nothing was written; transient.</summary>
public sealed class RowLockedException() : TimeoutException("A row that this needs is locked by another transaction. Nothing was written.");

/// <summary>The caller's time is over.</summary>
/// <param name="isInFlight">The database has or had it; otherwise it was only queued and is never written.</param>
public sealed class GroupCommitTimeoutException(bool isInFlight) : TimeoutException("The write did not finish in time.")
{
    public bool IsInFlight => isInFlight;
}
