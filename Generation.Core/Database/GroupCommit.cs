using System.Diagnostics;
using Npgsql;

namespace Generation.Core.Database;

/// <summary>
/// Concurrent writes share a transaction: the first is written alone and immediately, those that arrive in the meantime form the next group.
/// No timer and no added delay. Look-ups may share a statement in the same way.
/// <para>
/// Requests of a group are isolated from each other. A group with a data error, or one that cannot lock a row within
/// <see cref="LockTimeout"/>, is written again one by one, concurrently, while the next group proceeds. Other database errors fail the whole
/// group; a caller that retries joins a later group, so every write must be safe to repeat.
/// </para>
/// </summary>
/// <param name="maxGroup">Requests a transaction.</param>
/// <param name="write">One transaction: an answer a request, in their order. <c>lockTimeout</c> is null for a request that is written alone.</param>
public sealed class GroupCommit<TRequest, TResult>(
    int maxGroup, Func<IReadOnlyList<TRequest>, TimeSpan?, Task<IReadOnlyList<TResult>>> write)
{
    /// <summary>How long a group waits for a locked row before its requests are written one by one.</summary>
    public static readonly TimeSpan LockTimeout = TimeSpan.FromMilliseconds(100);

    private readonly Lock gate = new();
    private readonly Queue<Pending> waiting = new();
    private bool isWriting;

    /// <summary>
    /// Returns after the commit. A request that is cancelled before its group is sent is never written; one that is cancelled later may be
    /// committed all the same.
    /// </summary>
    public async Task<TResult> WriteAsync(TRequest request, CancellationToken ct)
    {
        ct.ThrowIfCancellationRequested();
        var pending = new Pending(request);
        bool mustStart;
        lock (gate)
        {
            waiting.Enqueue(pending);
            mustStart = !isWriting;
            isWriting = true;
        }

        if (mustStart)
        {
            using (ExecutionContext.SuppressFlow()) // it continues for later callers, and must not run in the first one's context
            {
                _ = Task.Run(WriteAllAsync, CancellationToken.None);
            }
        }

        try
        {
            return await pending.Result.Task.WaitAsync(ct);
        }
        catch (OperationCanceledException) when (ct.IsCancellationRequested)
        {
            lock (gate)
            {
                pending.IsGivenUp = true;
            }

            throw;
        }
    }

    private async Task WriteAllAsync()
    {
        while (true)
        {
            var group = new List<Pending>();
            lock (gate)
            {
                while (group.Count < maxGroup && waiting.TryDequeue(out var next))
                {
                    if (!next.IsGivenUp)
                    {
                        group.Add(next);
                    }
                }

                if (group.Count == 0)
                {
                    isWriting = false;
                    return;
                }
            }

            if (!await TryWriteAsync(group, LockTimeout))
            {
                _ = Task.WhenAll(group.Select(one => TryWriteAsync([one], lockTimeout: null)));
            }
        }
    }

    /// <summary>Writes the group and completes its requests; false when nothing was written and each should be written alone.</summary>
    private async Task<bool> TryWriteAsync(List<Pending> group, TimeSpan? lockTimeout)
    {
        // The group's statements are seen in the trace of its first request: a span has one parent.
        Activity.Current = group[0].Activity is { IsStopped: false } lead ? lead : null;
        try
        {
            var results = await write([.. group.Select(p => p.Request)], lockTimeout);
            for (var i = 0; i < group.Count; i++)
            {
                group[i].Result.TrySetResult(results[i]);
            }
        }
        catch (Exception e) when (lockTimeout is not null && MayBeOneRequests(e, group.Count))
        {
            return false;
        }
        catch (Exception e)
        {
            group.ForEach(p => p.Result.TrySetException(e));
        }

        return true;
    }

    /// <summary>
    /// Whether the error may be caused by one request: a data error, a trigger, a value that cannot be serialized, or a locked row.
    /// </summary>
    private static bool MayBeOneRequests(Exception e, int count) => e switch
    {
        PostgresException { SqlState: PostgresErrorCodes.LockNotAvailable } => true,
        PostgresException rejected => count > 1 && DataErrors.IsDataError(rejected),
        NpgsqlException or TimeoutException or IOException or ObjectDisposedException => false,
        _ => count > 1,
    };

    private sealed class Pending(TRequest request)
    {
        public TRequest Request { get; } = request;

        /// <summary>The caller's activity.</summary>
        public Activity? Activity { get; } = Activity.Current;

        public TaskCompletionSource<TResult> Result { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        /// <summary>Cancelled by its caller. Guarded by the lock.</summary>
        public bool IsGivenUp { get; set; }
    }
}
