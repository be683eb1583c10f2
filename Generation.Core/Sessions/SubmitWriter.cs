using System.Threading.Channels;
using Generation.Core.Database;
using Generation.Core.Realtime;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Npgsql;
using NpgsqlTypes;

namespace Generation.Core.Sessions;

/// <summary>
/// The group commit of submits: one writer per Api drains whatever is waiting into one transaction and one round trip, with no added
/// delay when idle (the first request goes alone, those that arrive meanwhile go together). Every request gets its own answer.
/// <para>
/// Protocol. A batch holds at most one request of a (user, client key); duplicates that arrive together are answered from the first
/// one's outcome. Accounts that are locked elsewhere are left for the next batch. A batch that fails as a whole is retried one by
/// one, so that one poisoned request does not take its neighbours along; a commit whose reply was lost is safe to repeat because the
/// key check then finds the committed session. The queue is bounded: beyond it the caller gets <see cref="SubmitOutcome.Overloaded"/>.
/// </para>
/// </summary>
public sealed partial class SubmitWriter(NpgsqlDataSource database, ChangeNotifier notifier, TimeProvider time, ILogger<SubmitWriter> log) : BackgroundService
{
    /// <summary>Rows a statement. More does not pay: 100 reach 20,000 to 26,000 rows/s on two cores.</summary>
    public const int MaxBatch = 100;

    /// <summary>About a second of work; whoever comes later is better served by a 503 now.</summary>
    private const int MaxWaiting = 10_000;

    /// <summary>How often an account may be found locked before the request gives up: two seconds of <see cref="LockedPause"/>s.</summary>
    private const int MaxTimesLocked = 400;

    private static readonly TimeSpan LockedPause = TimeSpan.FromMilliseconds(5);

    private readonly Channel<Pending> waiting = Channel.CreateBounded<Pending>(
        new BoundedChannelOptions(MaxWaiting) { SingleReader = true, FullMode = BoundedChannelFullMode.Wait });

    /// <summary>Stores the request, or says why not. Returns after the commit.</summary>
    public Task<SubmitResult> SubmitAsync(SubmitRequest request, CancellationToken ct)
    {
        var pending = new Pending(request);
        return waiting.Writer.TryWrite(pending)
            ? pending.Result.Task.WaitAsync(ct) // the request itself goes on: it may be committed already
            : Task.FromResult(new SubmitResult(SubmitOutcome.Overloaded));
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var batch = new List<Pending>(MaxBatch);
        var again = new List<Pending>();
        while (again.Count > 0 || waiting.Reader.TryPeek(out _) || await SomethingWaitsAsync(stoppingToken))
        {
            batch.AddRange(again.Take(MaxBatch));
            again.RemoveRange(0, batch.Count);
            while (batch.Count < MaxBatch && waiting.Reader.TryRead(out var next))
            {
                batch.Add(next);
            }

            // What has been taken in is written, also when the process is stopping: no token here.
            if (await WriteAsync(batch, again))
            {
                await Task.Delay(LockedPause, time, CancellationToken.None);
            }

            batch.Clear();
        }
    }

    private async ValueTask<bool> SomethingWaitsAsync(CancellationToken ct)
    {
        try
        {
            return await waiting.Reader.WaitToReadAsync(ct);
        }
        catch (OperationCanceledException)
        {
            return false;
        }
    }

    /// <summary>
    /// Writes a batch, answers its requests, and puts those that must come again into <paramref name="again"/>. True when an account was
    /// locked elsewhere, so that coming back at once would only find it locked again.
    /// </summary>
    private async Task<bool> WriteAsync(List<Pending> batch, List<Pending> again)
    {
        var first = new Dictionary<(Guid, string), Pending>(batch.Count);
        var doubles = new List<(Pending Twin, Pending First)>();
        foreach (var pending in batch)
        {
            if (!first.TryAdd((pending.Request.UserId, pending.Request.ClientKey), pending))
            {
                doubles.Add((pending, first[(pending.Request.UserId, pending.Request.ClientKey)]));
            }
        }

        var unique = first.Values.ToList();
        var lockedOut = false;
        try
        {
            lockedOut = Answer(unique, await ExecuteAsync(unique), again);
        }
        catch (Exception e) when (e is NpgsqlException or TimeoutException or InvalidOperationException)
        {
            if (unique.Count > 1)
            {
                log.LogWarning(e, "A batch of {Count} submits failed; writing them one by one", unique.Count);
                foreach (var one in unique)
                {
                    lockedOut |= await WriteAsync([one], again);
                }
            }
            else
            {
                LogUnavailable(log, e);
                unique[0].Result.TrySetResult(new SubmitResult(SubmitOutcome.Unavailable));
            }
        }

        foreach (var (twin, original) in doubles)
        {
            if (original.Result.Task is { IsCompletedSuccessfully: true, Result: { Outcome: SubmitOutcome.Accepted or SubmitOutcome.Replayed } result })
            {
                var same = twin.Request.RequestHash.AsSpan().SequenceEqual(original.Request.RequestHash);
                twin.Result.TrySetResult(result with { Outcome = same ? SubmitOutcome.Replayed : SubmitOutcome.Conflict });
            }
            else
            {
                again.Add(twin);
            }
        }

        return lockedOut;
    }

    private bool Answer(List<Pending> batch, List<(string Outcome, SubmitResult Result)> results, List<Pending> again)
    {
        var lockedOut = false;
        if (log.IsEnabled(LogLevel.Debug) && results.Count(r => r.Outcome == "accepted") is > 0 and var written)
        {
            log.LogDebug(LogEvents.OutboxWrite, "Committed {Count} sessions with their holds and outbox rows", written);
        }

        foreach (var (pending, (outcome, result)) in batch.Zip(results))
        {
            switch (outcome)
            {
                case "locked" when ++pending.TimesLocked >= MaxTimesLocked:
                    pending.Result.TrySetResult(new SubmitResult(SubmitOutcome.Unavailable));
                    break;
                case "locked":
                    lockedOut = true;
                    again.Add(pending);
                    break;
                case "retry": // it fits, but not behind a dearer neighbour of the same batch
                    again.Add(pending);
                    break;
                case "accepted":
                    notifier.SessionCreated(result.SessionId, pending.Request.UserId);
                    Telemetry.Credits.Add(result.HeldCredits, new KeyValuePair<string, object?>("type", "reservation"));
                    pending.Result.TrySetResult(result);
                    break;
                default:
                    pending.Result.TrySetResult(result with { Outcome = Enum.Parse<SubmitOutcome>(outcome, ignoreCase: true) });
                    break;
            }
        }

        return lockedOut;
    }

    /// <summary>The round trip: lock, expire, submit. One implicit transaction, each statement on its own snapshot.</summary>
    private async Task<List<(string Outcome, SubmitResult Result)>> ExecuteAsync(List<Pending> batch)
    {
        using var activity = Telemetry.Source.StartActivity("submit.batch");
        activity?.SetTag("batch.size", batch.Count);
        T[] Column<T>(Func<SubmitRequest, T> value) => [.. batch.Select(p => value(p.Request))];

        await using var statements = database.CreateBatch();
        statements.Timeout = 5;
        var users = Column(r => r.UserId).Distinct().ToArray();
        statements.BatchCommands.Add(new NpgsqlBatchCommand(Sql.Text("Credits/lock_accounts.sql")) { Parameters = { new() { Value = users } } });
        statements.BatchCommands.Add(new NpgsqlBatchCommand(Sql.Text("Credits/expire_lots.sql")));
        statements.BatchCommands.Add(new NpgsqlBatchCommand(Sql.Text("Sessions/submit.sql"))
        {
            Parameters =
            {
                new() { Value = Column(r => r.UserId) },
                new() { Value = Column(r => r.ClientKey) },
                new() { Value = Column(r => r.RequestHash) },
                new() { Value = Column(_ => Guid.CreateVersion7(time.GetUtcNow())) },
                new() { Value = Column(_ => Guid.CreateVersion7(time.GetUtcNow())) },
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
            },
        });

        var results = new List<(string, SubmitResult)>(batch.Count);
        await using var reader = await statements.ExecuteReaderAsync();
        do
        {
            while (reader.FieldCount == 7 && await reader.ReadAsync())
            {
                results.Add((reader.GetString(1), new SubmitResult(
                    SubmitOutcome.Accepted, reader.GetGuid(2), reader.GetGuid(3), reader.GetInt64(4), reader.GetInt64(5), reader.GetInt64(6))));
            }
        }
        while (await reader.NextResultAsync());

        return results.Count == batch.Count
            ? results
            : throw new InvalidOperationException($"Submit answered {results.Count} rows for {batch.Count} requests.");
    }

    [LoggerMessage(Level = LogLevel.Error, Message = "A submit could not be written; its caller got 503")]
    private static partial void LogUnavailable(ILogger log, Exception e);

    private sealed class Pending(SubmitRequest request)
    {
        public SubmitRequest Request { get; } = request;

        public TaskCompletionSource<SubmitResult> Result { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public int TimesLocked { get; set; }
    }
}
