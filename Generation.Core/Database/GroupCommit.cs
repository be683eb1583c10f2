using System.Diagnostics;
using Npgsql;

namespace Generation.Core.Database;

/// <summary>
/// Concurrent writes share a transaction: the first is written alone and immediately, those that arrive in the meantime form the next group.
/// No timer and no added delay. Look-ups may share a statement in the same way.
/// <para>
/// Requests of a group are isolated from each other. A request whose row is locked elsewhere is answered <see cref="GroupAnswer.Locked"/> by
/// the write and joins a later group. A group that fails for what may be one request's fault (a data error, a lock that is not to be had in
/// time, a value that cannot be serialized) is bisected by a second loop until the request is alone, while the next groups proceed. So
/// however many requests are in trouble, a group commit uses one connection for them. A group that takes long holds up the next one for
/// <see cref="GroupCommit.SlowGroup"/>.
/// </para>
/// <para>
/// Other database errors fail the whole group; a caller that retries joins a later group, so every write must be safe to repeat.
/// </para>
/// </summary>
/// <param name="options">How groups are formed.</param>
/// <param name="write">One transaction: an answer a request, in their order. The second argument says that the group is written by the
/// isolation loop, beside the next groups.</param>
/// <param name="time">The clock.</param>
public sealed class GroupCommit<TRequest, TResult>(
    GroupCommitOptions<TRequest> options, Func<IReadOnlyList<TRequest>, bool, Task<IReadOnlyList<GroupAnswer<TResult>>>> write, TimeProvider time)
{
    private readonly Lock gate = new();
    private readonly Queue<Pending> waiting = new();

    // To be written in a later group: locked elsewhere, of the same key as another of the group, or asked to come again.
    private readonly List<Pending> requeued = [];
    private readonly PriorityQueue<List<Pending>, long> isolated = new();

    private readonly OwnerQuarantine quarantine = new(time);
    private TaskCompletionSource? arrival;
    private bool isWriting = options.WaitsForStart;
    private bool isIsolating;

    /// <summary>Requests that wait for a group.</summary>
    public int WaitingCount
    {
        get
        {
            lock (gate)
            {
                return waiting.Count;
            }
        }
    }

    /// <summary>Begins to write; for <see cref="GroupCommitOptions{TRequest}.WaitsForStart"/>.</summary>
    public void Start() => Run(WriteAllAsync);

    /// <summary>
    /// Returns after the commit. A request that is cancelled before its group is sent is never written; one that is cancelled later may be
    /// committed all the same.
    /// </summary>
    /// <exception cref="RowLockedException">A row stayed locked for longer than <see cref="GroupCommitOptions{TRequest}.MaxLockedWait"/>.</exception>
    public Task<TResult> WriteAsync(TRequest request, CancellationToken ct)
    {
        ct.ThrowIfCancellationRequested();
        return WaitAsync(Enqueue(request, bounded: false)!, Timeout.InfiniteTimeSpan, ct);
    }

    /// <summary>Null when the queue is full. <see cref="WaitAsync"/> has the answer.</summary>
    public Pending? TryEnqueue(TRequest request) => Enqueue(request, bounded: true);

    /// <summary>As <see cref="WriteAsync(TRequest, CancellationToken)"/>.</summary>
    /// <exception cref="GroupCommitTimeoutException">It took longer than <paramref name="maxWait"/>.</exception>
    public async Task<TResult> WaitAsync(Pending pending, TimeSpan maxWait, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(pending);
        try
        {
            return await pending.Result.Task.WaitAsync(maxWait, time, ct);
        }
        catch (TimeoutException) when (!pending.Result.Task.IsCompleted)
        {
            throw new GroupCommitTimeoutException(GiveUp(pending));
        }
        catch (OperationCanceledException) when (ct.IsCancellationRequested)
        {
            GiveUp(pending);
            throw;
        }
    }

    private Pending? Enqueue(TRequest request, bool bounded)
    {
        var pending = new Pending(request);
        bool mustStart;
        lock (gate)
        {
            if (bounded && waiting.Count >= options.QueueLength)
            {
                return null;
            }

            waiting.Enqueue(pending);
            mustStart = !isWriting;
            isWriting = true;
            arrival?.TrySetResult();
        }

        if (mustStart)
        {
            Run(WriteAllAsync);
        }

        return pending;
    }

    /// <summary>Whether the database has or had it; otherwise it was only queued.</summary>
    private bool GiveUp(Pending pending)
    {
        lock (gate)
        {
            pending.IsGivenUp = true;
            return pending.IsInFlight || pending.WasSent;
        }
    }

    /// <summary>A loop continues for later callers, and must not run in the first one's context.</summary>
    private static void Run(Func<Task> loop)
    {
        using (ExecutionContext.SuppressFlow())
        {
            _ = Task.Run(loop, CancellationToken.None);
        }
    }

    private async Task WriteAllAsync()
    {
        var inFlight = new List<Task>();
        while (true)
        {
            List<Pending> group;
            Task arrived;
            TimeSpan? due;
            lock (gate)
            {
                group = TakeGroup(out due);
                if (group.Count == 0 && due is null && inFlight.Count == 0)
                {
                    isWriting = false;
                    return;
                }

                arrival = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
                arrived = arrival.Task;
            }

            if (group.Count > 0)
            {
                // One that takes its time is not waited for, as long as there are not many of them.
                inFlight.Add(WriteAsync(group, isolated: false));
                await (inFlight.Count < options.MaxConcurrentGroups
                    ? Task.WhenAny([.. inFlight, Task.Delay(GroupCommit.SlowGroup, time, CancellationToken.None)]) : Task.WhenAny(inFlight));
            }
            else
            {
                await Task.WhenAny(
                    due is null ? [.. inFlight, arrived] : [.. inFlight, arrived, Task.Delay(due.Value, time, CancellationToken.None)]);
            }

            inFlight.RemoveAll(write => write.IsCompleted);
        }
    }

    /// <summary>Those that are due, at most one of a key. <paramref name="due"/>: when the next is, if one was put off.</summary>
    private List<Pending> TakeGroup(out TimeSpan? due)
    {
        var group = new List<Pending>(Math.Min(options.MaxGroup, requeued.Count + waiting.Count));
        var keys = options.Key is null ? null : new HashSet<object>();
        var now = time.GetTimestamp();
        due = null;
        for (var i = 0; i < requeued.Count && group.Count < options.MaxGroup;)
        {
            var pending = requeued[i];
            if (pending.NotBefore > now && !pending.IsGivenUp)
            {
                var wait = time.GetElapsedTime(now, pending.NotBefore);
                due = due is { } sooner && sooner < wait ? sooner : wait;
                i++;
            }
            else if (pending.IsGivenUp || keys is null || keys.Add(options.Key!(pending.Request)!))
            {
                Take(pending);
                requeued.RemoveAt(i);
            }
            else
            {
                i++;
            }
        }

        while (group.Count < options.MaxGroup && waiting.TryDequeue(out var pending))
        {
            if (pending.IsGivenUp || keys is null || keys.Add(options.Key!(pending.Request)!))
            {
                Take(pending);
            }
            else
            {
                requeued.Add(pending);
            }
        }

        return group;

        void Take(Pending pending)
        {
            if (pending.IsGivenUp)
            {
                return;
            }

            if (options.Owner is not null && quarantine.Contains(options.Owner(pending.Request)))
            {
                Isolate([pending], TimeSpan.Zero);
                return;
            }

            pending.IsInFlight = true;
            group.Add(pending);
        }
    }

    private async Task WriteAsync(List<Pending> group, bool isolated)
    {
        // The group's statements are seen in the trace of its first request: a span has one parent.
        Activity.Current = group[0].Activity is { IsStopped: false } lead ? lead : null;
        try
        {
            var answers = await write([.. group.Select(p => p.Request)], isolated);
            quarantine.ClearBlocked();
            for (var i = 0; i < group.Count; i++)
            {
                if (answers[i].Status == GroupAnswer.Done)
                {
                    group[i].Result.TrySetResult(answers[i].Result);
                }
                else
                {
                    Requeue(group[i], answers[i].Status == GroupAnswer.Locked);
                }
            }
        }
        catch (Exception e) when (IsGeneralBlock(e, group))
        {
            Fail(group, e, isOutage: true);
        }
        catch (Exception e) when (group.Count > 1 && MayBeOneRequests(e))
        {
            if (isolated)
            {
                Isolate([.. group.Take(group.Count / 2)], TimeSpan.Zero);
                Isolate([.. group.Skip(group.Count / 2)], TimeSpan.Zero);
            }
            else
            {
                Isolate(group, TimeSpan.Zero);
            }
        }
        catch (PostgresException e) when (e.SqlState == PostgresErrorCodes.LockNotAvailable)
        {
            Quarantine(group[0]);
            if (PutOff(group[0]) is { } pause)
            {
                Isolate(group, pause);
            }
        }
        catch (Exception e)
        {
            if (MayBeOneRequests(e))
            {
                Quarantine(group[0]);
            }

            Fail(group, e, isOutage: !isolated && options.IsOutage?.Invoke(e) == true);
        }
    }

    private bool IsGeneralBlock(Exception e, List<Pending> group) =>
        options.IsOutage is not null && options.Owner is not null && e is PostgresException { SqlState: PostgresErrorCodes.LockNotAvailable }
        && quarantine.ReportBlocked(group.Select(pending => options.Owner(pending.Request)));

    private void Quarantine(Pending pending)
    {
        if (options.Owner is not null)
        {
            quarantine.Add(options.Owner(pending.Request));
        }
    }

    private void Requeue(Pending pending, bool isLocked)
    {
        var pause = isLocked ? PutOff(pending) : TimeSpan.Zero;
        if (pause is null)
        {
            return;
        }

        lock (gate)
        {
            pending.IsInFlight = false;
            pending.NotBefore = time.GetTimestamp() + (long)(pause.Value.TotalSeconds * time.TimestampFrequency);
            requeued.Add(pending);
            arrival?.TrySetResult();
            if (isWriting)
            {
                return;
            }

            isWriting = true; // it came back from the isolation loop
        }

        Run(WriteAllAsync);
    }

    /// <summary>How long a locked request waits for its next try; null when it has waited for long enough, and fails.</summary>
    private TimeSpan? PutOff(Pending pending)
    {
        var now = time.GetTimestamp();
        pending.LockedSince ??= now;
        if (time.GetElapsedTime(pending.LockedSince.Value, now) >= options.MaxLockedWait)
        {
            pending.Result.TrySetException(new RowLockedException());
            return null;
        }

        // most locks are those of a neighbour's commit: soon at first
        var waited = time.GetElapsedTime(pending.LockedSince.Value, now) / 4;
        return waited < GroupCommit.FirstLockedPause ? GroupCommit.FirstLockedPause
            : waited < GroupCommit.MaxLockedPause ? waited : GroupCommit.MaxLockedPause;
    }

    private void Isolate(List<Pending> group, TimeSpan pause)
    {
        lock (gate)
        {
            group.ForEach(pending => pending.IsInFlight = false);
            group.ForEach(pending => pending.WasSent = true);
            isolated.Enqueue(group, time.GetTimestamp() + (long)(pause.TotalSeconds * time.TimestampFrequency));
            if (isIsolating)
            {
                return;
            }

            isIsolating = true;
        }

        Run(WriteIsolatedAsync);
    }

    private async Task WriteIsolatedAsync()
    {
        while (true)
        {
            List<Pending> group;
            TimeSpan pause;
            lock (gate)
            {
                if (!isolated.TryPeek(out group!, out var due))
                {
                    isIsolating = false;
                    return;
                }

                pause = time.GetElapsedTime(time.GetTimestamp(), due);
                if (pause <= TimeSpan.Zero)
                {
                    isolated.Dequeue();
                    group.RemoveAll(pending => pending.IsGivenUp);
                    group.ForEach(pending => pending.IsInFlight = true);
                }
            }

            if (pause > TimeSpan.Zero)
            {
                await Task.Delay(pause < GroupCommit.FirstLockedPause ? pause : GroupCommit.FirstLockedPause, time, CancellationToken.None);
            }
            else if (group.Count > 0)
            {
                await WriteAsync(group, isolated: true);
            }
        }
    }

    /// <summary>All of the group; in an outage also those that wait, instead of each after a timeout of its own.</summary>
    private void Fail(List<Pending> group, Exception e, bool isOutage)
    {
        var failed = group;
        if (isOutage)
        {
            lock (gate)
            {
                failed = [.. group, .. requeued, .. waiting, .. isolated.UnorderedItems.SelectMany(item => item.Element)];
                requeued.Clear();
                waiting.Clear();
                isolated.Clear();
            }
        }

        failed.ForEach(pending => pending.Result.TrySetException(e));
    }

    /// <summary>
    /// Whether the error may be caused by one request: a data error, a trigger, a value that cannot be serialized, or a locked row.
    /// </summary>
    private static bool MayBeOneRequests(Exception e) => e switch
    {
        PostgresException { SqlState: PostgresErrorCodes.LockNotAvailable } => true,
        PostgresException rejected => DataErrors.IsDataError(rejected),
        NpgsqlException or TimeoutException or IOException or ObjectDisposedException => false,
        _ => true,
    };

    /// <summary>A request and its answer. Fields are guarded by the lock.</summary>
    public sealed class Pending
    {
        internal Pending(TRequest request) => Request = request;

        internal TRequest Request { get; }

        /// <summary>The caller's activity.</summary>
        internal Activity? Activity { get; } = Activity.Current;

        internal TaskCompletionSource<TResult> Result { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        internal bool IsGivenUp { get; set; }

        internal bool IsInFlight { get; set; }

        /// <summary>It was with the database once, without a result.</summary>
        internal bool WasSent { get; set; }

        /// <summary>Timestamp of when it was first found locked.</summary>
        internal long? LockedSince { get; set; }

        /// <summary>Timestamp of its next try.</summary>
        internal long NotBefore { get; set; }
    }
}
