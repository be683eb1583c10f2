using System.ComponentModel.DataAnnotations;
using Generation.Core.Database;
using Generation.Core.Queue;
using Npgsql;
using NpgsqlTypes;

namespace Generation.Core.Ordering;

/// <param name="At">Nothing is dispatched since then.</param>
/// <param name="By">The administrator's handle.</param>
public sealed record LanePause(DateTimeOffset At, string By);

/// <summary>A lane as an operator sees it. Each count stops at <see cref="QueueReader.MaxCount"/>.</summary>
/// <param name="Lane"><c>image</c>, <c>video</c> or <c>gpu</c>.</param>
/// <param name="Paused">Null while it is dispatched.</param>
/// <param name="Waiting">Jobs in line for their dispatch.</param>
/// <param name="Delayed">Retries and timers whose time has not come.</param>
/// <param name="InQueue">Jobs that were dispatched and that no worker has claimed.</param>
/// <param name="Running">Sessions that a worker has.</param>
/// <param name="More">A count stopped before its end: there are more than 10,000.</param>
/// <param name="Clock">Its virtual time: the largest rank that was dispatched.</param>
/// <param name="OldestWaitSeconds">Since the oldest job that is due and not dispatched became due; 0 when none waits.</param>
public sealed record LaneView(
    [property: AllowedValues("image", "video", "gpu")] string Lane, LanePause? Paused, long Waiting, long Delayed, long InQueue, long Running,
        bool More, double Clock, double OldestWaitSeconds);

/// <summary>A session in line.</summary>
/// <param name="Position">Jobs of the lane that will be taken before it, as <c>queuePosition</c> of the session.</param>
/// <param name="UserId">Whose it is.</param>
/// <param name="User">Their handle.</param>
/// <param name="SessionId">The generation.</param>
/// <param name="Model">The model.</param>
/// <param name="Provider">Who runs it.</param>
/// <param name="Priority"><c>interactive</c> or <c>batch</c>.</param>
/// <param name="Rank">Smaller is dispatched first; -1 goes on with work that was begun.</param>
/// <param name="WaitingSince">When it became due.</param>
public sealed record WaitingView(
    long Position, Guid UserId, string User, Guid SessionId, string Model, string Provider,
        [property: AllowedValues("interactive", "batch")] string Priority, double Rank, DateTimeOffset WaitingSince);

/// <summary>A place in the order of dispatch, and how many jobs come before the next one.</summary>
/// <param name="Rank">Of the row that stands here.</param>
/// <param name="OutboxId">That row.</param>
/// <param name="Next">The position of the one behind it.</param>
public readonly record struct QueuePlace(double Rank, long OutboxId, long Next);

/// <summary>What operators see of the lanes. No statement reads more than some ten thousand rows of a lane, however many wait.</summary>
public sealed class QueueReader(NpgsqlDataSource database)
{
    /// <summary>Where a count ends.</summary>
    public const int MaxCount = 10_000;

    /// <summary>Every lane, in the order of <see cref="QueueOptions.Lanes"/>.</summary>
    public async Task<IReadOnlyList<LaneView>> LanesAsync(CancellationToken ct)
    {
        await using var batch = database.CreateBatch();
        batch.BatchCommands.Add(PlannerSettings.Command());
        batch.BatchCommands.Add(new NpgsqlBatchCommand(Sql.Text("Ordering/queues.sql")) { Parameters = { new() { Value = MaxCount + 1 } } });
        var lanes = new List<LaneView>();
        await using var reader = await batch.ExecuteReaderAsync(ct);
        await reader.SkipResultsAsync(1, ct);
        while (await reader.ReadAsync(ct))
        {
            long[] counts = [reader.GetInt64(4), reader.GetInt64(5), reader.GetInt64(6), reader.GetInt64(7)];
            lanes.Add(new LaneView(
                reader.GetString(0),
                await reader.IsDBNullAsync(1, ct) ? null : new LanePause(reader.GetFieldValue<DateTimeOffset>(1), reader.GetString(2)),
                Math.Min(counts[0], MaxCount), Math.Min(counts[1], MaxCount), Math.Min(counts[2], MaxCount), Math.Min(counts[3], MaxCount),
                reader.GetBoolean(8) || counts.Max() > MaxCount, reader.GetDouble(3), Math.Round(reader.GetDouble(9), 3)));
        }

        return [.. lanes.OrderBy(lane => Array.IndexOf(QueueOptions.Lanes, lane.Lane))];
    }

    /// <summary>A page of what waits in a lane, in the order of dispatch, each with its place for the page behind it.</summary>
    /// <param name="lane">One of <see cref="QueueOptions.Lanes"/>.</param>
    /// <param name="after">The last place of the page before; null for the first page.</param>
    /// <param name="limit">Rows at most.</param>
    /// <param name="ct">Stops.</param>
    public async Task<IReadOnlyList<(WaitingView View, QueuePlace Place)>> WaitingAsync(
        string lane, QueuePlace? after, int limit, CancellationToken ct)
    {
        await using var batch = database.CreateBatch();
        batch.BatchCommands.Add(PlannerSettings.Command());
        batch.BatchCommands.Add(new NpgsqlBatchCommand(Sql.Text("Ordering/waiting.sql"))
        {
            Parameters =
            {
                new() { Value = lane },
                new() { Value = after?.Rank ?? double.NegativeInfinity },
                new() { Value = after?.OutboxId ?? 0L },
                new() { Value = limit },
                new() { NpgsqlDbType = NpgsqlDbType.Bigint, Value = (object?)after?.Next ?? DBNull.Value },
            },
        });
        var waiting = new List<(WaitingView, QueuePlace)>();
        await using var reader = await batch.ExecuteReaderAsync(ct);
        await reader.SkipResultsAsync(1, ct);
        while (await reader.ReadAsync(ct))
        {
            var (rank, position) = (reader.GetDouble(1), reader.GetInt64(9));
            waiting.Add((
                new WaitingView(position, reader.GetGuid(4), reader.GetString(5), reader.GetGuid(3), reader.GetString(6), reader.GetString(7),
                    reader.GetString(8), rank, reader.GetFieldValue<DateTimeOffset>(2)),
                new QueuePlace(rank, reader.GetInt64(0), position + 1)));
        }

        return waiting;
    }
}
