using System.Data;
using System.Diagnostics;
using System.Threading.Channels;
using Generation.Core.Credits;
using Generation.Core.Database;
using Generation.Core.Realtime;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Npgsql;
using NpgsqlTypes;

namespace Generation.Core.Submit;

/// <summary>
/// The group commit of submits: one writer per Api drains all waiting requests into one transaction and one round trip, with no added
/// delay when idle (the first request is written alone, those that arrive in the meantime form the next batch). Every request gets its own
/// result.
/// <para>
/// Protocol. A batch holds at most one request of a (user, idempotency key); duplicates that arrive together share the outcome of the first.
/// Accounts that are locked elsewhere are left for a later batch and block no other request. A batch with a data error is written again one
/// by one, so that one bad request does not fail the others. When the database is unavailable, the batch and all waiting requests get
/// <see cref="SubmitOutcome.Unavailable"/> immediately, as do new ones for <see cref="SubmitOptions.Pause"/>. While the queue stands, only as
/// many requests are admitted as are served within <see cref="SubmitOptions.StandingWait"/>.
/// </para>
/// <para>
/// No request waits longer than <see cref="SubmitOptions.MaxWait"/>. One that is given up while still queued is never written. One that is
/// given up while its batch is in flight may be committed, as with any lost reply: the same idempotency key then replays that session, so
/// that a retry cannot cost twice. For the same reason a batch whose reply was lost is safe to repeat.
/// </para>
/// </summary>
public sealed class SubmitWriter(
    NpgsqlDataSource database, ChangeNotifier notifier, SubmitOptions options, TimeProvider time, ILogger<SubmitWriter> log) : BackgroundService
{
    /// <summary>Rows a statement. More does not pay: docs/benchmarks/submit.md.</summary>
    public const int MaxBatch = 100;

    /// <summary>A server that restarts closes several connections in a row.</summary>
    private const int MaxRepeats = 2;

    /// <summary>How long an account may stay locked, checked every <see cref="LockedPause"/>, before the request fails.</summary>
    private static readonly TimeSpan MaxLockedWait = TimeSpan.FromSeconds(2);

    private static readonly TimeSpan LockedPause = TimeSpan.FromMilliseconds(5);

    private static readonly TimeSpan BurstDuration = TimeSpan.FromMilliseconds(500);

    // A plan fits the tables as they were when it was made, and is kept until statistics change: on a system that starts empty and is
    // busy at once, batches took ten times as long after a minute. So plans are made anew, soon at first (docs/benchmarks/submit.md).
    private static readonly TimeSpan MinPlanLifetime = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan MaxPlanLifetime = TimeSpan.FromMinutes(1);

    private readonly Channel<Pending> waiting = Channel.CreateBounded<Pending>(
        new BoundedChannelOptions(options.QueueLength) { SingleReader = true, FullMode = BoundedChannelFullMode.Wait });

    // To be written in a later batch: locked elsewhere, behind a more expensive request of the user, or the duplicate of a failed one.
    private readonly List<Pending> requeued = [];

    // Kept, so that plans and caches of its backend stay warm: through the pool the batches would go round all its connections.
    private NpgsqlConnection? connection;
    private long plannedAt;
    private TimeSpan planLifetime;
    private long closedAt;
    private bool isClosed;

    // The queue stands once nobody has found it empty for a while: a burst is over by then. What is refused is decided from these two.
    private long foundEmptyAt = time.GetTimestamp();
    private double batchSeconds; // smoothed

    /// <summary>
    /// Whether a new request would get <see cref="SubmitOutcome.Overloaded"/>. Cheap, so that it can be checked before any work is done for a
    /// request that is shed.
    /// </summary>
    public bool IsOverloaded => WouldWaitTooLong();

    /// <summary>Stores the request, or says why not. Returns after the commit, and in any case after <see cref="SubmitOptions.MaxWait"/>.</summary>
    /// <exception cref="PostgresException">The database refused this very request; nothing was stored.</exception>
    public async Task<SubmitResult> SubmitAsync(SubmitRequest request, CancellationToken ct)
    {
        if (Volatile.Read(ref isClosed) && time.GetElapsedTime(Volatile.Read(ref closedAt)) < options.Pause)
        {
            return new SubmitResult(SubmitOutcome.Unavailable);
        }

        var pending = new Pending(request, time);
        if (WouldWaitTooLong() || !waiting.Writer.TryWrite(pending))
        {
            return new SubmitResult(SubmitOutcome.Overloaded);
        }

        try
        {
            return await pending.Result.Task.WaitAsync(options.MaxWait, time, ct);
        }
        catch (TimeoutException)
        {
            return new SubmitResult(pending.GiveUp() ? SubmitOutcome.Overloaded : SubmitOutcome.Unavailable);
        }
        catch (OperationCanceledException)
        {
            pending.GiveUp(); // the client disconnected: not written, unless it is in flight already
            throw;
        }
    }

    public override void Dispose()
    {
        connection?.Dispose();
        base.Dispose();
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var batch = new List<Pending>(MaxBatch);
        Task<bool>? arrival = null;
        while (true)
        {
            Fill(batch);
            if (batch.Count > 0)
            {
                // What has been taken in is written, also when the process is stopping: no token here.
                var begun = time.GetTimestamp();
                await WriteAsync(batch);
                Volatile.Write(ref batchSeconds, (0.8 * batchSeconds) + (0.2 * time.GetElapsedTime(begun).TotalSeconds));
                batch.Clear();
                continue;
            }

            arrival ??= waiting.Reader.WaitToReadAsync(stoppingToken).AsTask();
            if (requeued.Count > 0)
            {
                await Task.WhenAny(arrival, Task.Delay(LockedPause, time, CancellationToken.None));
            }
            else
            {
                await ((Task)arrival).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                if (stoppingToken.IsCancellationRequested && !waiting.Reader.TryPeek(out _))
                {
                    waiting.Writer.TryComplete();
                    return;
                }
            }

            arrival = arrival.IsCompletedSuccessfully ? null : arrival;
        }
    }

    /// <summary>Less than a batch that waits is no queue.</summary>
    private bool WouldWaitTooLong()
    {
        var ahead = waiting.Reader.Count;
        if (ahead == 0)
        {
            Volatile.Write(ref foundEmptyAt, time.GetTimestamp());
        }

        return ahead >= MaxBatch
            && ((ahead / MaxBatch) + 1) * Volatile.Read(ref batchSeconds) > options.StandingWait.TotalSeconds
            && time.GetElapsedTime(Volatile.Read(ref foundEmptyAt)) > BurstDuration;
    }

    private void Fill(List<Pending> batch)
    {
        var now = time.GetTimestamp();
        for (var i = 0; i < requeued.Count && batch.Count < MaxBatch;)
        {
            if (requeued[i].NotBefore > now)
            {
                i++;
                continue;
            }

            if (requeued[i].Take())
            {
                batch.Add(requeued[i]);
            }

            requeued.RemoveAt(i);
        }

        while (batch.Count < MaxBatch && waiting.Reader.TryRead(out var next))
        {
            if (next.Take())
            {
                batch.Add(next);
            }
        }

        if (batch.Count < MaxBatch)
        {
            Volatile.Write(ref foundEmptyAt, now);
        }
    }

    private async Task WriteAsync(List<Pending> batch)
    {
        var first = new Dictionary<(Guid, string), Pending>(batch.Count);
        var duplicates = new List<(Pending Duplicate, Pending First)>();
        foreach (var pending in batch)
        {
            var key = (pending.Request.UserId, pending.Request.ClientKey);
            if (!first.TryAdd(key, pending))
            {
                duplicates.Add((pending, first[key]));
            }
        }

        await WriteUniqueAsync([.. first.Values], MaxRepeats);
        foreach (var (duplicate, original) in duplicates)
        {
            if (original.Result.Task is
                {
                    IsCompletedSuccessfully: true,
                    Result: { Outcome: SubmitOutcome.Accepted or SubmitOutcome.Replayed } result
                })
            {
                var same = duplicate.Request.RequestHash.AsSpan().SequenceEqual(original.Request.RequestHash);
                duplicate.Result.TrySetResult(result with { Outcome = same ? SubmitOutcome.Replayed : SubmitOutcome.Conflict });
            }
            else if (original.Result.Task is { IsCompletedSuccessfully: true, Result.Outcome: SubmitOutcome.Unavailable })
            {
                duplicate.Result.TrySetResult(new SubmitResult(SubmitOutcome.Unavailable));
            }
            else
            {
                Requeue(duplicate);
            }
        }
    }

    /// <summary>Writes requests of different keys, and answers them or lets them come requeued.</summary>
    private async Task WriteUniqueAsync(List<Pending> batch, int repeats)
    {
        try
        {
            Answer(batch, await ExecuteAsync(batch));
            Volatile.Write(ref isClosed, false);
        }
        catch (PostgresException e) when (DataErrors.IsDataError(e))
        {
            DataErrors.Unprepare(connection!);
            await RefuseOrSplitAsync(batch, e);
        }
        catch (Exception e) when (e is NpgsqlException or TimeoutException or IOException or ObjectDisposedException || (
            e is InvalidOperationException && connection is { State: not ConnectionState.Open }))
        {
            await DisconnectAsync();
            // A deadlock, or a connection that died while nobody used it, is over by now. What took its time will take it requeued.
            if (repeats > 0 && !IsTimeout(e))
            {
                await WriteUniqueAsync(batch, repeats - 1);
            }
            else
            {
                Close(batch, e);
            }
        }
        catch (Exception e) // what cannot be put into a message to the database, such as half a surrogate pair
        {
            await DisconnectAsync();
            await RefuseOrSplitAsync(batch, e);
        }
    }

    private async Task RefuseOrSplitAsync(List<Pending> batch, Exception e)
    {
        if (batch is [var only])
        {
            only.Result.TrySetException(e); // our bug: logged where unexpected failures are
            return;
        }

        log.LogWarning(e, "The database refused a batch of {Count} submits for its content; writing them one by one", batch.Count);
        foreach (var one in batch)
        {
            if (isClosed)
            {
                one.Result.TrySetResult(new SubmitResult(SubmitOutcome.Unavailable));
            }
            else
            {
                await WriteUniqueAsync([one], MaxRepeats);
            }
        }
    }

    /// <summary>The database is unavailable: all waiting requests fail now, not each after its own timeout.</summary>
    private void Close(List<Pending> batch, Exception e)
    {
        Volatile.Write(ref closedAt, time.GetTimestamp());
        Volatile.Write(ref isClosed, true);
        var failed = batch.Count + requeued.Count;
        batch.ForEach(pending => pending.Result.TrySetResult(new SubmitResult(SubmitOutcome.Unavailable)));
        requeued.ForEach(pending => pending.Result.TrySetResult(new SubmitResult(SubmitOutcome.Unavailable)));
        requeued.Clear();
        for (; waiting.Reader.TryRead(out var pending); failed++)
        {
            pending.Result.TrySetResult(new SubmitResult(SubmitOutcome.Unavailable));
        }

        log.LogError(e, "The database is unavailable for submits; answered {Count} callers with 503, as new ones for the next {Pause}", failed,
            options.Pause);
    }

    private void Answer(List<Pending> batch, List<(string Outcome, SubmitResult Result)> results)
    {
        if (log.IsEnabled(LogLevel.Debug) && results.Count(r => r.Outcome == "accepted") is > 0 and var written)
        {
            log.LogDebug(LogEvents.OutboxWrite, "Committed {Count} sessions with their holds and outbox rows", written);
        }

        foreach (var (pending, (outcome, result)) in batch.Zip(results))
        {
            switch (outcome)
            {
                case "locked" when pending.LockedSince != 0 && time.GetElapsedTime(pending.LockedSince) >= MaxLockedWait:
                    pending.Result.TrySetResult(new SubmitResult(SubmitOutcome.Unavailable));
                    break;
                case "locked":
                    var now = time.GetTimestamp();
                    pending.LockedSince = pending.LockedSince == 0 ? now : pending.LockedSince;
                    pending.NotBefore = now + (long)(LockedPause.TotalSeconds * time.TimestampFrequency); // it would be locked again immediately
                    Requeue(pending);
                    break;
                case "retry": // it is affordable, but not behind a more expensive request of the same batch
                    Requeue(pending);
                    break;
                case "accepted":
                case "replayed" when result.SessionId == pending.SessionId: // ours, from an attempt whose reply was lost
                    notifier.SessionCreated(result.SessionId, pending.Request.UserId, pending.Request.Model.Lane);
                    Telemetry.Credits.Add(result.HeldCredits, new KeyValuePair<string, object?>("type", "reservation"));
                    pending.Result.TrySetResult(result);
                    break;
                default:
                    pending.Result.TrySetResult(result with { Outcome = Enum.Parse<SubmitOutcome>(outcome, ignoreCase: true) });
                    break;
            }
        }
    }

    private void Requeue(Pending pending)
    {
        if (pending.PutBack())
        {
            requeued.Add(pending);
        }
    }

    /// <summary>The round trip: lock, expire, submit. One implicit transaction, each statement on its own snapshot.</summary>
    private async Task<List<(string Outcome, SubmitResult Result)>> ExecuteAsync(List<Pending> batch)
    {
        using var activity = StartBatch(batch);
        T[] Column<T>(Func<SubmitRequest, T> value) => [.. batch.Select(p => value(p.Request))];

        if (connection is { State: not ConnectionState.Open }) // its keep-alive has found it dead
        {
            await DisconnectAsync();
        }

        if (connection is null)
        {
            connection = await database.OpenConnectionAsync();
            (plannedAt, planLifetime) = (time.GetTimestamp(), MinPlanLifetime);
        }

        await using var statements = new NpgsqlBatch(connection);
        statements.Timeout = options.StatementTimeoutSeconds;
        if (time.GetElapsedTime(plannedAt) > planLifetime)
        {
            statements.BatchCommands.Add(new NpgsqlBatchCommand("DISCARD PLANS"));
            (plannedAt, planLifetime) = (time.GetTimestamp(), planLifetime * 2 < MaxPlanLifetime ? planLifetime * 2 : MaxPlanLifetime);
        }

        var users = Column(r => r.UserId).Distinct().ToArray();
        statements.BatchCommands.Add(new NpgsqlBatchCommand(Sql.Text("Submit/submit_planner_settings.sql")));
        statements.BatchCommands.Add(new NpgsqlBatchCommand(Sql.Text("Credits/lock_accounts.sql")) { Parameters = { new() { Value = users } } });
        statements.BatchCommands.Add(LotExpiry.Command());
        statements.BatchCommands.Add(new NpgsqlBatchCommand(Sql.Text("Submit/submit.sql"))
        {
            Parameters =
            {
                new() { Value = Column(r => r.UserId) },
                new() { Value = Column(r => r.ClientKey) },
                new() { Value = Column(r => r.RequestHash) },
                new() { Value = batch.Select(p => p.SessionId).ToArray() },
                new() { Value = batch.Select(p => p.ReservationId).ToArray() },
                new() { Value = Column(r => r.Model.Id) },
                new() { Value = Column(r => r.Model.Tool) },
                new() { Value = Column(r => r.Model.Provider) },
                new() { Value = Column(r => r.Model.JobType) },
                new() { Value = Column(r => r.Model.Lane) },
                new() { Value = Column(r => r.Model.Kind) },
                new() { Value = Column(r => r.Params), NpgsqlDbType = NpgsqlDbType.Array | NpgsqlDbType.Jsonb },
                new() { Value = Column(r => r.InputSettings), NpgsqlDbType = NpgsqlDbType.Array | NpgsqlDbType.Jsonb },
                new() { Value = Column(r => r.Mock) },
                new() { Value = Column(r => r.Outputs) },
                new() { Value = Column(r => r.Price.Credits) },
                new() { Value = Column(r => r.Price.Version) },
                new() { Value = Column(r => r.Lifetime) },
                new() { Value = Column(r => r.RetryOf), NpgsqlDbType = NpgsqlDbType.Array | NpgsqlDbType.Uuid },
                new() { Value = Column(r => r.TraceParent), NpgsqlDbType = NpgsqlDbType.Array | NpgsqlDbType.Text },
                new() { Value = options.OutstandingPerUser },
            },
        });

        var results = new List<(string, SubmitResult)>(batch.Count);
        await using var reader = await statements.ExecuteReaderAsync();
        await reader.SkipResultsAsync(2); // planner settings, locks; the expiry has none
        while (await reader.ReadAsync())
        {
            results.Add((reader.GetString(1), new SubmitResult(
                SubmitOutcome.Accepted, reader.GetGuid(2), reader.GetGuid(3), reader.GetInt64(4), reader.GetInt64(5), reader.GetInt64(6))));
        }

        await reader.FinishAsync();

        return results.Count == batch.Count
            ? results
            : throw new InvalidOperationException($"Submit answered {results.Count} rows for {batch.Count} requests.");
    }

    /// <summary>The batch is a part of its first request's trace, and the others are linked: a span has one parent.</summary>
    private static Activity? StartBatch(List<Pending> batch)
    {
        var activity = Telemetry.Continue("submit", batch[0].Request.TraceParent, ActivityKind.Internal);
        if (activity is { IsAllDataRequested: true })
        {
            activity.SetSession(batch[0].SessionId)?.SetTag("generation.submit.batch_size", batch.Count);
            foreach (var other in batch.Skip(1).Select(pending => Telemetry.ParseTraceParent(pending.Request.TraceParent))
                .Where(context => context != default))
            {
                activity.AddLink(new ActivityLink(other));
            }
        }

        return activity;
    }

    private async Task DisconnectAsync()
    {
        var broken = connection;
        connection = null;
        if (broken is not null)
        {
            NpgsqlConnection.ClearPool(broken); // those that idle in the pool died with it
            await broken.DisposeAsync();
        }
    }

    private static bool IsTimeout(Exception e) => e is TimeoutException || e.InnerException is TimeoutException || e
        is PostgresException { SqlState: PostgresErrorCodes.QueryCanceled };

    private sealed class Pending(SubmitRequest request, TimeProvider time)
    {
        private const int Waiting = 0;
        private const int Taken = 1;
        private const int GivenUp = 2;

        private int state = Waiting;

        public SubmitRequest Request { get; } = request;

        // The same in every try, so that a try whose reply was lost is recognised.
        public Guid SessionId { get; } = Guid.CreateVersion7(time.GetUtcNow());

        public Guid ReservationId { get; } = Guid.CreateVersion7(time.GetUtcNow());

        public TaskCompletionSource<SubmitResult> Result { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        /// <summary>A timestamp; 0 while it was not.</summary>
        public long LockedSince { get; set; }

        /// <summary>A timestamp.</summary>
        public long NotBefore { get; set; }

        /// <summary>Into a batch; false when its caller has gone.</summary>
        public bool Take() => Interlocked.CompareExchange(ref state, Taken, Waiting) == Waiting;

        /// <summary>Out of a batch that did not write it; false when its caller has gone.</summary>
        public bool PutBack() => Interlocked.CompareExchange(ref state, Waiting, Taken) == Taken;

        /// <summary>The caller goes. True: it will never be written. False: it is with the database at this moment.</summary>
        public bool GiveUp() => Interlocked.Exchange(ref state, GivenUp) == Waiting;
    }
}
