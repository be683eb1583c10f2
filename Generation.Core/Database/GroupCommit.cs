using System.Diagnostics;
using Npgsql;

namespace Generation.Core.Database;

/// <summary>
/// Writes that come at the same time share a transaction: the first goes alone and at once, those that arrive meanwhile go together, one
/// group after the other. No timer and no added delay. Look-ups may share a statement in the same way.
/// <para>
/// Nobody is the worse for its neighbours. What the database refuses for its content, or cannot lock within <see cref="LockTimeout"/>,
/// is written again one by one, side by side, while the next group goes on. Trouble with the database itself is told to all of the
/// group, and who repeats comes into a later one; so every write must be safe to repeat.
/// </para>
/// </summary>
/// <param name="maxGroup">Requests a transaction.</param>
/// <param name="write">One transaction: an answer a request, in their order. <c>lockTimeout</c> is null for a request that is written alone.</param>
public sealed class GroupCommit<TRequest, TResult>(
    int maxGroup, Func<IReadOnlyList<TRequest>, TimeSpan?, Task<IReadOnlyList<TResult>>> write)
{
    /// <summary>How long a group waits for a row that somebody else has, before its requests go each for itself.</summary>
    public static readonly TimeSpan LockTimeout = TimeSpan.FromMilliseconds(100);

    private readonly Lock gate = new();
    private readonly Queue<Pending> waiting = new();
    private bool isWriting;

    /// <summary>
    /// Returns after the commit. Who is cancelled while waiting for its group is never written; who is cancelled when the group is with
    /// the database may be written all the same.
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
            using (ExecutionContext.SuppressFlow()) // it goes on for those who come later, and must not write in the name of the first
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

    /// <summary>Writes and answers; false when nothing was written and each should be tried for itself.</summary>
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

    /// <summary>Whether the fault may lie in one request: values, constraints, sizes, a trigger's refusal, what cannot be put into a message, or a locked row.</summary>
    private static bool MayBeOneRequests(Exception e, int count) => e switch
    {
        PostgresException { SqlState: PostgresErrorCodes.LockNotAvailable } => true,
        PostgresException { SqlState: var state } => count > 1 && state[..2] is "21" or "22" or "23" or "54" or "P0",
        NpgsqlException or TimeoutException or IOException or ObjectDisposedException => false,
        _ => count > 1,
    };

    private sealed class Pending(TRequest request)
    {
        public TRequest Request { get; } = request;

        /// <summary>What its caller was doing.</summary>
        public Activity? Activity { get; } = Activity.Current;

        public TaskCompletionSource<TResult> Result { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        /// <summary>Its caller has gone. Under the gate.</summary>
        public bool IsGivenUp { get; set; }
    }
}
