using System.Diagnostics;
using Generation.Core.Database;
using Generation.Core.Queue;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Generation.Core.Outbox;

/// <param name="Published">Messages that went into the queue.</param>
/// <param name="IsMore">There was, or may be, more to do than fitted: come again at once.</param>
/// <param name="QueueWasLost">The queue was empty and new: look for lost messages now.</param>
/// <param name="WaitsForRoom">The window is as good as full, and there may be more to do: nobody tells when workers have made room.</param>
public readonly record struct DispatchResult(int Published, bool IsMore, bool QueueWasLost, bool WaitsForRoom = false);

/// <summary>
/// From the outbox to the queue. Several may run side by side: a row is locked from the moment it is read until it is marked, and the
/// others pass over it. Publishing happens under those row locks, in one call of at most two seconds; a crash in between publishes the
/// batch a second time, which the claim tells from a first.
/// </summary>
public sealed class OutboxDispatcher(NpgsqlDataSource database, IJobQueue queue, TimeProvider time, ILogger<OutboxDispatcher> log)
{
    /// <summary>A wait so short that only the queue's own bookkeeping is missed.</summary>
    private static readonly TimeSpan Settled = TimeSpan.FromSeconds(1);

    /// <summary>Publishes up to <paramref name="maxRows"/> due rows of a lane, as long as fewer than <paramref name="window"/> wait in the queue.</summary>
    /// <exception cref="QueueException">The queue is away; nothing was marked.</exception>
    public async Task<DispatchResult> DispatchAsync(string lane, int maxRows, int window, CancellationToken ct)
    {
        // A backlog keeps the window full for hours while every submit rings the bell: reading, locking and passing over a batch of rows
        // each time cost more than the submits themselves (measured: docs/benchmarks/submit.md).
        // And a window that is used up a message at a time is refilled by the quarter, not by the message.
        var room = window - await queue.DepthAsync(lane, ct);
        if (room < Math.Max(1, window / 4))
        {
            return new DispatchResult(0, IsMore: false, QueueWasLost: false, WaitsForRoom: true);
        }

        var rows = (int)Math.Min(maxRows, room);
        await using var connection = await database.OpenConnectionAsync(ct);
        await using var transaction = await connection.BeginTransactionAsync(ct);
        var due = await ReadDueAsync(connection, lane, rows, ct);
        if (due.Count == 0)
        {
            return default;
        }

        // Set aside whatever its session says: what we do not understand is not ours to delete.
        var unknown = due.Where(d => d.Unknown).ToList();
        var obsolete = due.Where(d => d.Obsolete && !d.Unknown).ToList();
        var live = due.Where(d => !d.Obsolete && !d.Unknown).ToList();
        var sent = live.Count == 0 ? new Sent([], false) : await queue.SendAsync(lane, [.. live.Select(d => d.Message)], window, ct);
        var dispatched = live.Take(sent.MessageIds.Count).ToList();
        if (dispatched.Count > 0)
        {
            log.LogDebug(LogEvents.QueueEnqueue, "The queue took {Count} messages of lane {Lane}", dispatched.Count, lane);
        }

        // Without a flush of its own: a mark that a crash of the database undoes is a batch that is published twice, as after a crash of ours.
        await using var batch = new NpgsqlBatch(connection, transaction);
        batch.BatchCommands.Add(new NpgsqlBatchCommand("SELECT set_config('synchronous_commit', 'off', true)"));
        batch.BatchCommands.Add(new NpgsqlBatchCommand(Sql.Text("Outbox/mark.sql"))
        {
            Parameters =
            {
                new() { Value = dispatched.Select(d => d.Message.OutboxId).ToArray() },
                new() { Value = sent.MessageIds.ToArray() },
                new() { Value = obsolete.Select(d => d.Message.OutboxId).ToArray() },
                new() { Value = unknown.Select(d => d.Message.OutboxId).ToArray() },
                new() { Value = unknown.Select(d => $"'{d.EventType}' is not what its session is for").ToArray() },
            },
        });
        await batch.ExecuteNonQueryAsync(ct);
        await transaction.CommitAsync(ct);

        foreach (var row in unknown)
        {
            log.LogError("Outbox row {OutboxId} has the unknown event type '{EventType}', which is not what its session is for, and is set aside", row.Message.OutboxId, row.EventType);
        }

        var now = time.GetUtcNow();
        foreach (var row in dispatched)
        {
            Telemetry.DispatchDuration.Record(Math.Max(0, (now - row.AvailableAt).TotalSeconds), new KeyValuePair<string, object?>("lane", lane));
            using var activity = Telemetry.Continue("outbox.dispatch", row.Message.TraceParent, ActivityKind.Producer);
            activity?.SetTag("session.id", row.Message.SessionId);
        }

        if (dispatched.Count > 0)
        {
            log.LogDebug(LogEvents.OutboxDispatched, "Dispatched {Count} to lane {Lane}", dispatched.Count, lane);
        }

        var windowIsFull = dispatched.Count < live.Count || dispatched.Count == room;
        return new DispatchResult(dispatched.Count, due.Count == rows && !windowIsFull, sent.QueueWasLost, windowIsFull);
    }

    /// <summary>
    /// The repair of lost dispatches: asks the queue for every message that should be waiting in it, and sends those that are gone again,
    /// unless their session has been claimed. Nothing else is sent again. Returns how many.
    /// </summary>
    public async Task<int> RepairAsync(string lane, CancellationToken ct)
    {
        var ids = new List<long>();
        var messages = new List<string>();
        var claimed = new HashSet<string>(StringComparer.Ordinal);
        await using (var expected = database.CreateCommand(Sql.Text("Outbox/in_queue.sql")))
        {
            expected.Parameters.AddWithValue(lane);
            expected.Parameters.AddWithValue(Settled);
            await using var reader = await expected.ExecuteReaderAsync(ct);
            while (await reader.ReadAsync(ct))
            {
                ids.Add(reader.GetInt64(0));
                messages.Add(reader.GetString(1));
                if (reader.GetBoolean(2))
                {
                    claimed.Add(reader.GetString(1));
                }
            }
        }

        if (ids.Count == 0)
        {
            return 0;
        }

        var gone = (await queue.FindGoneAsync(lane, [.. messages.Where(message => !claimed.Contains(message))], ct)).Concat(claimed).ToHashSet(StringComparer.Ordinal);
        if (gone.Count == 0)
        {
            return 0;
        }

        var lost = ids.Zip(messages).Where(row => gone.Contains(row.Second)).ToList();
        await using var again = database.CreateCommand(Sql.Text("Outbox/dispatch_again.sql"));
        again.Parameters.AddWithValue(lost.Select(row => row.First).ToArray());
        again.Parameters.AddWithValue(lost.Select(row => row.Second).ToArray());
        var count = (int)(await again.ExecuteScalarAsync(ct))!;
        if (count > 0)
        {
            log.LogWarning("{Count} messages of lane {Lane} were lost with the queue and are dispatched again", count, lane);
        }

        return count;
    }

    /// <summary>Seconds that the oldest due row has waited for its dispatch; 0 when none waits.</summary>
    public async Task<double> LagSecondsAsync(CancellationToken ct)
    {
        await using var command = database.CreateCommand(Sql.Text("Outbox/lag.sql"));
        command.Parameters.AddWithValue(QueueOptions.Lanes);
        return (double)(await command.ExecuteScalarAsync(ct))!;
    }

    private static async Task<List<Due>> ReadDueAsync(NpgsqlConnection connection, string lane, int batch, CancellationToken ct)
    {
        var due = new List<Due>();
        await using var command = new NpgsqlCommand(Sql.Text("Outbox/due.sql"), connection);
        command.Parameters.AddWithValue(lane);
        command.Parameters.AddWithValue(batch);
        await using var reader = await command.ExecuteReaderAsync(ct);
        while (await reader.ReadAsync(ct))
        {
            var trace = await reader.IsDBNullAsync(3, ct) ? null : reader.GetString(3);
            due.Add(new Due(
                reader.GetString(1), reader.GetFieldValue<DateTimeOffset>(4), !await reader.IsDBNullAsync(5, ct) && reader.GetBoolean(5), reader.GetBoolean(6),
                new JobMessage(reader.GetInt64(0), reader.GetGuid(2), reader.GetString(7), trace)));
        }

        return due;
    }

    private sealed record Due(string EventType, DateTimeOffset AvailableAt, bool Obsolete, bool Unknown, JobMessage Message);
}
