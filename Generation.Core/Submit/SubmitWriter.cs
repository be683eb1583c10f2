using System.Data;
using System.Diagnostics;
using Generation.Core.Credits;
using Generation.Core.Database;
using Generation.Core.Outbox;
using Generation.Core.Realtime;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Generation.Core.Submit;

/// <summary>
/// The group commit of submits: one transaction and one round trip for all requests that wait, and a result of its own for every one
/// (<see cref="GroupCommit{TRequest, TResult}"/>).
/// <para>
/// Protocol. A batch holds at most one request of a (user, idempotency key). Accounts that are locked elsewhere are left for a later batch
/// and block no other request. When the database is unavailable, the batch and all waiting requests get
/// <see cref="SubmitOutcome.Unavailable"/> immediately, as do new ones for <see cref="SubmitOptions.Pause"/>. While the queue stands, only as
/// many requests are admitted as are served within <see cref="SubmitOptions.StandingWait"/> (<see cref="LoadShedder"/>).
/// </para>
/// <para>
/// No request waits longer than <see cref="SubmitOptions.MaxWait"/>. One that is given up while still queued is never written. One that is
/// given up while its batch is in flight may be committed, as with any lost reply: the same idempotency key then replays that session, so
/// that a retry cannot cost twice. For the same reason a batch whose reply was lost is safe to repeat.
/// </para>
/// </summary>
public sealed class SubmitWriter : IHostedService, IDisposable
{
    /// <summary>Rows a statement. More does not pay: docs/benchmarks/submit.md.</summary>
    public const int MaxBatch = 100;

    /// <summary>A server that restarts closes several connections in a row.</summary>
    private const int MaxRepeats = 2;

    // A plan fits the tables as they were when it was made, and is kept until statistics change: on a system that starts empty and is
    // busy at once, batches took ten times as long after a minute. So plans are made anew, soon at first (docs/benchmarks/submit.md).
    private static readonly TimeSpan MinPlanLifetime = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan MaxPlanLifetime = TimeSpan.FromMinutes(1);

    private readonly NpgsqlDataSource database;
    private readonly ChangeNotifier notifier;
    private readonly SubmitOptions options;
    private readonly TimeProvider time;
    private readonly ILogger<SubmitWriter> log;
    private readonly LanePositions? positions;
    private readonly GroupCommit<Draft, SubmitResult> group;
    private readonly LoadShedder shedder;
    private readonly SampledLog written;

    // Kept, so that plans and caches of its backend stay warm: through the pool the batches would go round all its connections.
    private NpgsqlConnection? connection;
    private long plannedAt;
    private TimeSpan planLifetime;
    private long closedAt;
    private bool isClosed;

    public SubmitWriter(NpgsqlDataSource database, ChangeNotifier notifier, SubmitOptions options, TimeProvider time, ILogger<SubmitWriter> log,
        LanePositions? positions = null)
    {
        ArgumentNullException.ThrowIfNull(options);
        (this.database, this.notifier, this.options, this.time, this.log, this.positions) = (database, notifier, options, time, log, positions);
        shedder = new LoadShedder(MaxBatch, options.StandingWait, time);
        written = new SampledLog(time);
        group = new GroupCommit<Draft, SubmitResult>(
            new GroupCommitOptions<Draft>(MaxBatch)
            {
                QueueLength = options.QueueLength,
                Key = draft => (draft.Request.UserId, draft.Request.ClientKey),
                Owner = draft => draft.Request.UserId,
                MaxConcurrentGroups = 1, // on the one connection
                WaitsForStart = true, // there may be no tables yet
                IsOutage = IsOutage,
            },
            WriteAsync, time);
    }

    /// <summary>
    /// Whether a new request would get <see cref="SubmitOutcome.Overloaded"/>. Cheap, so that it can be checked before any work is done for a
    /// request that is shed.
    /// </summary>
    public bool IsOverloaded => shedder.WouldWaitTooLong(group.WaitingCount);

    public Task StartAsync(CancellationToken cancellationToken)
    {
        group.Start();
        return Task.CompletedTask;
    }

    /// <summary>What has been accepted is written: its callers wait for it, and the host waits for them.</summary>
    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    /// <summary>Stores the request, or says why not. Returns after the commit, and in any case after <see cref="SubmitOptions.MaxWait"/>.</summary>
    /// <exception cref="PostgresException">The database refused this very request; nothing was stored.</exception>
    public async Task<SubmitResult> SubmitAsync(SubmitRequest request, CancellationToken ct)
    {
        if (Volatile.Read(ref isClosed) && time.GetElapsedTime(Volatile.Read(ref closedAt)) < options.Pause)
        {
            return new SubmitResult(SubmitOutcome.Unavailable);
        }

        if (IsOverloaded || group.TryEnqueue(new Draft(request, time)) is not { } pending)
        {
            return new SubmitResult(SubmitOutcome.Overloaded);
        }

        try
        {
            return await group.WaitAsync(pending, options.MaxWait, ct);
        }
        catch (GroupCommitTimeoutException e)
        {
            return new SubmitResult(e.IsInFlight ? SubmitOutcome.Unavailable : SubmitOutcome.Overloaded);
        }
        catch (RowLockedException)
        {
            return new SubmitResult(SubmitOutcome.AccountBusy);
        }
        catch (Exception e) when (IsOutage(e))
        {
            return new SubmitResult(SubmitOutcome.Unavailable);
        }
    }

    public void Dispose() => connection?.Dispose();

    private async Task<IReadOnlyList<GroupAnswer<SubmitResult>>> WriteAsync(IReadOnlyList<Draft> batch, bool isIsolated)
    {
        if (isIsolated) // beside the next batches, which have the connection
        {
            return await DataErrors.ExecuteAsync(database, other => ExecuteAsync(other, batch), CancellationToken.None);
        }

        var begun = time.GetTimestamp();
        shedder.Take(batch.Min(draft => time.GetElapsedTime(draft.EnqueuedAt)), isLast: batch.Count < MaxBatch);

        try
        {
            for (var repeats = MaxRepeats; ; repeats--)
            {
                try
                {
                    var answers = await ExecuteAsync(await ConnectAsync(), batch);
                    Volatile.Write(ref isClosed, false);
                    return answers;
                }
                catch (PostgresException e) when (IsOneRequests(e))
                {
                    DataErrors.Unprepare(connection!);
                    log.LogWarning("The database refused a batch of {Count} submits because of one of them ({Problem}); bisecting it",
                        batch.Count, e.MessageText);
                    throw;
                }
                catch (Exception e) when (repeats > 0 && IsDisconnect(e) && !IsTimeout(e))
                {
                    // A deadlock, or a connection that died while nobody used it, is over by now. What took its time will take it again.
                    await DisconnectAsync();
                }
            }
        }
        catch (Exception e) when (e is not PostgresException refusal || !IsOneRequests(refusal))
        {
            await DisconnectAsync();
            if (IsDisconnect(e))
            {
                Volatile.Write(ref closedAt, time.GetTimestamp());
                Volatile.Write(ref isClosed, true);
                log.LogError(e, "The database is unavailable for submits; answered {Count} callers with 503, as new ones for the next {Pause}",
                    batch.Count + group.WaitingCount, options.Pause);
                throw e is NpgsqlException ? e : new NpgsqlException("The connection of the submits broke.", e);
            }

            throw; // what cannot be put into a message to the database, such as half a surrogate pair
        }
        finally
        {
            shedder.Observe(time.GetElapsedTime(begun));
        }
    }

    private GroupAnswer<SubmitResult> Answer(Draft draft, string outcome, SubmitResult result)
    {
        switch (outcome)
        {
            case "locked":
                return GroupCommit.Locked<SubmitResult>();
            case "retry": // it is affordable, but not behind a more expensive request of the same batch
                return GroupCommit.Again<SubmitResult>();
            case "accepted":
            case "replayed" when result.SessionId == draft.SessionId: // ours, from an attempt whose reply was lost
                notifier.SessionCreated(result.SessionId, draft.Request.UserId, draft.Request.Model.Lane);
                if (result.Place is { Rank: { } rank } place)
                {
                    positions?.Accepted(draft.Request.Model.Lane, rank, place.OutboxId, draft.Request.Work, place.AvailableAt);
                }

                Telemetry.Credits.Add(result.HeldCredits, new KeyValuePair<string, object?>("type", "reservation"));
                return GroupCommit.Done(result);
            default:
                return GroupCommit.Done(result with { Outcome = Enum.Parse<SubmitOutcome>(outcome, ignoreCase: true) });
        }
    }

    private async Task<NpgsqlConnection> ConnectAsync()
    {
        if (connection is { State: not ConnectionState.Open }) // its keep-alive has found it dead
        {
            await DisconnectAsync();
        }

        if (connection is null)
        {
            connection = await database.OpenConnectionAsync();
            (plannedAt, planLifetime) = (time.GetTimestamp(), MinPlanLifetime);
        }

        return connection;
    }

    /// <summary>The round trip: lock, expire, submit. One implicit transaction, each statement on its own snapshot.</summary>
    private async Task<IReadOnlyList<GroupAnswer<SubmitResult>>> ExecuteAsync(NpgsqlConnection writer, IReadOnlyList<Draft> batch)
    {
        using var activity = StartBatch(batch);
        await using var statements = new NpgsqlBatch(writer);
        statements.Timeout = options.StatementTimeoutSeconds;
        if (writer == connection && time.GetElapsedTime(plannedAt) > planLifetime)
        {
            statements.BatchCommands.Add(new NpgsqlBatchCommand("DISCARD PLANS"));
            (plannedAt, planLifetime) = (time.GetTimestamp(), planLifetime * 2 < MaxPlanLifetime ? planLifetime * 2 : MaxPlanLifetime);
        }

        var users = batch.Select(draft => draft.Request.UserId).Distinct().ToArray();
        statements.BatchCommands.Add(new NpgsqlBatchCommand(Sql.Text("Submit/submit_planner_settings.sql")));
        statements.BatchCommands.Add(new NpgsqlBatchCommand(Sql.Text("Credits/lock_accounts.sql")) { Parameters = { new() { Value = users } } });
        statements.BatchCommands.Add(LotExpiry.Command());
        statements.BatchCommands.Add(new NpgsqlBatchCommand(Sql.Text("Submit/submit.sql"))
        {
            Parameters =
            {
                JsonRows.Parameter(batch.Select(Row)),
                new() { Value = options.OutstandingPerUser },
            },
        });

        var results = new List<(string Outcome, SubmitResult Result)>(batch.Count);
        await using (var reader = await statements.ExecuteReaderAsync())
        {
            await reader.SkipResultsAsync(2); // planner settings, locks; the expiry has none
            while (await reader.ReadAsync())
            {
                results.Add((reader.GetString(1), new SubmitResult(
                    SubmitOutcome.Accepted, reader.GetGuid(2), reader.GetGuid(3), reader.GetInt64(4), reader.GetInt64(5), reader.GetInt64(6))
                {
                    Place = reader.IsDBNull(7) ? null
                        : new QueuePlace(reader.GetInt64(7), reader.GetDouble(8), false, reader.GetFieldValue<DateTimeOffset>(9)),
                }));
            }

            await reader.FinishAsync();
        }

        if (results.Count != batch.Count)
        {
            throw new InvalidOperationException($"Submit answered {results.Count} rows for {batch.Count} requests.");
        }

        foreach (var (_, result) in results.Where(r => r.Outcome == "accepted").TakeWhile(_ => written.Take()))
        {
            log.LogInformation(
                LogEvents.OutboxWrite, "Committed {SessionId} with its hold and its outbox row, in a batch of {Count}", result.SessionId,
                batch.Count);
        }

        return [.. batch.Zip(results, (draft, row) => Answer(draft, row.Outcome, row.Result))];
    }

    /// <summary>As <c>submit.sql</c> reads it.</summary>
    private static object Row(Draft draft, int n)
    {
        var request = draft.Request;
        return new
        {
            N = n,
            request.UserId,
            request.ClientKey,
            RequestHash = JsonRows.Bytes(request.RequestHash),
            draft.SessionId,
            draft.ReservationId,
            Model = request.Model.Id,
            request.Model.Tool,
            request.Model.Provider,
            request.Model.JobType,
            request.Model.Lane,
            request.Model.Kind,
            request.Params,
            request.InputSettings,
            request.Mock,
            request.Outputs,
            UnitPrice = request.Price.Credits,
            PriceVersion = request.Price.Version,
            LifetimeSeconds = request.Lifetime.TotalSeconds,
            request.RetryOf,
            Traceparent = request.TraceParent,
            Priority = request.Priority.Name(),
            request.Work,
        };
    }

    /// <summary>The batch is a part of its first request's trace, and the others are linked: a span has one parent.</summary>
    private static Activity? StartBatch(IReadOnlyList<Draft> batch)
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

    /// <summary>Whether the connection broke, or the database cannot be written to.</summary>
    private bool IsDisconnect(Exception e) => e is NpgsqlException or TimeoutException or IOException or ObjectDisposedException
        || (e is InvalidOperationException && connection is { State: not ConnectionState.Open });

    /// <summary>Whether it is about one request's data, or a row that it needs and somebody has locked.</summary>
    private static bool IsOneRequests(PostgresException e) =>
        DataErrors.IsDataError(e) || e.SqlState == PostgresErrorCodes.LockNotAvailable;

    /// <summary>Any answer of the database, or none, that is not about the data of one request.</summary>
    private static bool IsOutage(Exception e) => e is NpgsqlException and not PostgresException
        || (e is PostgresException refusal && !DataErrors.IsDataError(refusal));

    private static bool IsTimeout(Exception e) => e is TimeoutException || e.InnerException is TimeoutException || e
        is PostgresException { SqlState: PostgresErrorCodes.QueryCanceled };

    /// <summary>A request with ids that are the same in every try, so that a try whose reply was lost is recognised.</summary>
    private sealed class Draft(SubmitRequest request, TimeProvider time)
    {
        public SubmitRequest Request { get; } = request;

        public long EnqueuedAt { get; } = time.GetTimestamp();

        public Guid SessionId { get; } = Guid.CreateVersion7(time.GetUtcNow());

        public Guid ReservationId { get; } = Guid.CreateVersion7(time.GetUtcNow());
    }
}
