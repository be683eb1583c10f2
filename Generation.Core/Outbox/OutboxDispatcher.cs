using System.Diagnostics;
using Generation.Core.Database;
using Generation.Core.Queue;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Generation.Core.Outbox;

/// <param name="Published">Messages that went into the queue.</param>
/// <param name="HasMore">More rows may be due: run again immediately.</param>
/// <param name="IsQueueLost">The queue was recreated: check for lost messages now.</param>
/// <param name="IsWindowFull">The dispatch window is full and more rows may be due; there is no notification when workers free it.</param>
public readonly record struct DispatchResult(int Published, bool HasMore, bool IsQueueLost, bool IsWindowFull = false);

/// <summary>
/// Publishes outbox rows to the queue in the order of their ranks. Any number may run concurrently: one at a time holds the lock of a lane, the
/// others skip that lane. Publishing happens under that lock and those of the rows, in one call of at most <c>Queue:SendTimeout</c>; a crash in
/// between publishes the batch twice, and the claim ignores the second message. A dispatcher that freezes in between loses its transaction, and
/// with it the lock, after one and a half times that.
/// </summary>
public sealed class OutboxDispatcher(
    NpgsqlDataSource database, IJobQueue queue, QueueOptions options, TimeProvider time, ILogger<OutboxDispatcher> log)
{
    /// <summary>Messages checked in one call, during which Redis serves nobody else.</summary>
    private const int LostBatch = 5_000;

    /// <summary>A wait so short that only the queue's own bookkeeping is missed.</summary>
    private static readonly TimeSpan Settled = TimeSpan.FromSeconds(1);

    private readonly SampledLog enqueued = new(time);
    private readonly SampledLog marked = new(time);

    /// <summary>
    /// Publishes up to <paramref name="maxRows"/> due rows of a lane, as long as fewer than <paramref name="window"/> wait in the queue.
    /// </summary>
    /// <exception cref="QueueException">The queue is unavailable; nothing was marked.</exception>
    public async Task<DispatchResult> DispatchAsync(string lane, int maxRows, int window, CancellationToken ct)
    {
        // A backlog keeps the window full for hours while every submit notifies: reading and locking a batch of rows each time cost more
        // than the submits themselves (measured: docs/benchmarks/submit.md). A window that is consumed one message at a time is refilled by
        // the quarter.
        var room = window - await queue.DepthAsync(lane, ct);
        if (room < Math.Max(1, window / 4))
        {
            return new DispatchResult(0, HasMore: false, IsQueueLost: false, IsWindowFull: true);
        }

        var rows = (int)Math.Min(maxRows, room);
        await using var connection = await database.OpenConnectionAsync(ct);
        await using var transaction = await connection.BeginTransactionAsync(ct);
        var (ranked, due) = await ReadDueAsync(connection, lane, rows, ct);
        if (due.Count == 0)
        {
            return default; // nothing is due, or another relay has the lane, or it is paused
        }

        // Set aside, not deleted: a newer release may know the event type.
        var unknown = due.Where(d => d.Unknown).ToList();
        var obsolete = due.Where(d => d.Obsolete && !d.Unknown).ToList();
        var live = due.Where(d => !d.Obsolete && !d.Unknown).ToList();
        var sendingAt = time.GetUtcNow();
        var sent = live.Count == 0 ? new Sent([], false) : await queue.SendAsync(lane, [.. live.Select(d => d.Message)], window, ct);
        var dispatched = live.Take(sent.MessageIds.Count).ToList();
        foreach (var (row, messageId) in dispatched.Zip(sent.MessageIds).TakeWhile(_ => enqueued.Take()))
        {
            log.LogInformation(
                LogEvents.QueueEnqueue, "The queue took {SessionId} in lane {Lane} as {MessageId}", row.Message.SessionId, lane, messageId);
        }

        await using var mark = new NpgsqlCommand(Sql.Text("Outbox/mark_dispatched.sql"), connection, transaction)
        {
            Parameters =
            {
                new() { Value = dispatched.Select(d => d.Message.OutboxId).ToArray() },
                new() { Value = sent.MessageIds.ToArray() },
                new() { Value = obsolete.Select(d => d.Message.OutboxId).ToArray() },
                new() { Value = unknown.Select(d => d.Message.OutboxId).ToArray() },
                new() { Value = unknown.Select(d => $"'{d.EventType}' is not what its session is for").ToArray() },
                new() { Value = lane },
                new() { Value = dispatched.Count == 0 ? 0 : dispatched.Max(d => d.Rank) },
            },
        };
        await mark.ExecuteNonQueryAsync(ct);
        await transaction.CommitAsync(ct);

        foreach (var row in unknown)
        {
            log.LogError("Outbox row {OutboxId} has the unknown event type '{EventType}', which is not what its session is for, and is set aside",
                row.Message.OutboxId, row.EventType);
        }

        var now = time.GetUtcNow();
        foreach (var (row, messageId) in dispatched.Zip(sent.MessageIds))
        {
            Telemetry.DispatchDuration.Record(Math.Max(0, (now - row.AvailableAt).TotalSeconds), new KeyValuePair<string, object?>("lane", lane));
            using var activity = Telemetry.Continue($"send {lane}", Telemetry.ParseTraceParent(row.Message.TraceParent), ActivityKind.Producer,
                sendingAt);
            if (activity is { IsAllDataRequested: true })
            {
                activity.SetSession(row.Message.SessionId)?.SetMessaging(queue.MessagingSystem, lane, "send", messageId)?
                    .SetTag("messaging.batch.message_count", dispatched.Count);
            }
        }

        foreach (var row in dispatched.TakeWhile(_ => marked.Take()))
        {
            log.LogInformation(
                LogEvents.OutboxDispatched, "Dispatched {SessionId} to lane {Lane}, in a batch of {Count}", row.Message.SessionId, lane,
                dispatched.Count);
        }

        var windowIsFull = dispatched.Count < live.Count || dispatched.Count == room;
        return new DispatchResult(dispatched.Count, (due.Count == rows || ranked == rows) && !windowIsFull, sent.IsQueueLost, windowIsFull);
    }

    /// <summary>
    /// Redispatches lost messages: checks for every message that should be in the queue, and makes the rows of missing ones due again unless
    /// their session has been claimed. Returns how many.
    /// </summary>
    public async Task<int> RedispatchLostAsync(string lane, CancellationToken ct)
    {
        var repaired = 0;
        var (dispatchedAt, outboxId) = (DateTimeOffset.MinValue, 0L);
        while (true)
        {
            var expected = await ReadExpectedAsync(lane, dispatchedAt, outboxId, ct);
            if (expected.Count > 0)
            {
                repaired += await RedispatchAsync(lane, expected, ct);
            }

            if (expected.Count < LostBatch)
            {
                return repaired;
            }

            // A queue that was lost in part may have kept the older messages and lost the latest: all of them are asked for.
            (dispatchedAt, outboxId) = (expected[^1].DispatchedAt, expected[^1].OutboxId);
        }
    }

    /// <summary>Seconds that the oldest due row has waited for its dispatch; 0 when none waits.</summary>
    public async Task<double> LagSecondsAsync(CancellationToken ct)
    {
        await using var command = database.CreateCommand(Sql.Text("Outbox/lag.sql"));
        command.Parameters.AddWithValue(QueueOptions.Lanes);
        return (double)(await command.ExecuteScalarAsync(ct))!;
    }

    private async Task<List<Expected>> ReadExpectedAsync(string lane, DateTimeOffset afterDispatchedAt, long afterOutboxId, CancellationToken ct)
    {
        var expected = new List<Expected>();
        await using var batch = database.CreateBatch();
        batch.BatchCommands.Add(PlannerSettings.Command());
        batch.BatchCommands.Add(new NpgsqlBatchCommand(Sql.Text("Outbox/expected_messages.sql"))
        {
            Parameters =
            {
                new() { Value = lane },
                new() { Value = Settled },
                new() { Value = afterDispatchedAt },
                new() { Value = afterOutboxId },
                new() { Value = LostBatch },
            },
        });
        await using var reader = await batch.ExecuteReaderAsync(ct);
        await reader.NextResultAsync(ct);
        while (await reader.ReadAsync(ct))
        {
            expected.Add(new Expected(reader.GetInt64(0), reader.GetString(1), reader.GetBoolean(2), reader.GetFieldValue<DateTimeOffset>(3)));
        }

        return expected;
    }

    private async Task<int> RedispatchAsync(string lane, List<Expected> expected, CancellationToken ct)
    {
        var gone = (await queue.FindMissingAsync(lane, [.. expected.Where(e => !e.IsClaimed).Select(e => e.MessageId)], ct))
            .ToHashSet(StringComparer.Ordinal);
        var lost = expected.FindAll(e => e.IsClaimed || gone.Contains(e.MessageId));
        if (lost.Count == 0)
        {
            return 0;
        }

        await using var batch = database.CreateBatch();
        batch.BatchCommands.Add(PlannerSettings.Command());
        batch.BatchCommands.Add(new NpgsqlBatchCommand(Sql.Text("Outbox/redispatch.sql"))
        {
            Parameters = { new() { Value = lost.ConvertAll(e => e.OutboxId).ToArray() },
                new() { Value = lost.ConvertAll(e => e.MessageId).ToArray() } },
        });
        await using var reader = await batch.ExecuteReaderAsync(ct);
        await reader.NextResultAsync(ct);
        await reader.ReadAsync(ct);
        return reader.GetInt32(0);
    }

    /// <summary>How many delayed rows got a rank, and the first of the lane. Both none when it cannot be dispatched now.</summary>
    private async Task<(int Ranked, List<Due> Due)> ReadDueAsync(NpgsqlConnection connection, string lane, int rows, CancellationToken ct)
    {
        var due = new List<Due>();
        await using var command = new NpgsqlBatch(connection);

        // For the whole transaction. No sort: the index has the order, and sorting would read everything that is due. No synchronous commit:
        // a mark that a database crash loses is a batch that is published twice, as after a crash of the relay.
        command.BatchCommands.Add(PlannerSettings.Command());
        command.BatchCommands.Add(new NpgsqlBatchCommand(
            "SELECT set_config('enable_sort', 'off', true), set_config('synchronous_commit', 'off', true), "
            + "set_config('idle_in_transaction_session_timeout', $1, true)")
        {
            Parameters = { new() { Value = $"{(int)(1.5 * options.SendTimeout.TotalMilliseconds)}ms" } },
        });
        command.BatchCommands.Add(new NpgsqlBatchCommand(Sql.Text("Outbox/lock_lane.sql")) { Parameters = { new() { Value = lane } } });
        var rank = new NpgsqlBatchCommand(Sql.Text("Outbox/rank_due.sql")) { Parameters = { new() { Value = rows } } };
        command.BatchCommands.Add(rank);
        command.BatchCommands.Add(new NpgsqlBatchCommand(Sql.Text("Outbox/due.sql")) { Parameters = { new() { Value = rows } } });
        await using var reader = await command.ExecuteReaderAsync(ct);
        await reader.SkipResultsAsync(3, ct); // planner settings, two; the lock. The ranks have no result
        while (await reader.ReadAsync(ct))
        {
            var trace = await reader.IsDBNullAsync(3, ct) ? null : reader.GetString(3);
            due.Add(new Due(
                reader.GetString(1), reader.GetFieldValue<DateTimeOffset>(4), !await reader.IsDBNullAsync(5, ct)
                    && reader.GetBoolean(5), reader.GetBoolean(7), reader.GetDouble(6),
                new JobMessage(reader.GetInt64(0), reader.GetGuid(2), reader.GetString(8), trace)));
        }

        return ((int)rank.RecordsAffected, due);
    }

    private sealed record Expected(long OutboxId, string MessageId, bool IsClaimed, DateTimeOffset DispatchedAt);

    private sealed record Due(string EventType, DateTimeOffset AvailableAt, bool Obsolete, bool Unknown, double Rank, JobMessage Message);
}
