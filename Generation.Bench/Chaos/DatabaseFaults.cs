using System.Collections.Concurrent;
using Npgsql;

namespace Generation.Bench.Chaos;

/// <summary>A session that somebody had locked, so that its own worker could not renew its lease.</summary>
/// <param name="SessionId">Which.</param>
/// <param name="From">When the lock was there.</param>
/// <param name="To">When it was gone.</param>
internal sealed record LockedSession(Guid SessionId, DateTimeOffset From, DateTimeOffset To);

/// <summary>
/// A neighbour in the database: an administrator's open transaction, a monitor that cancels statements. One row's trouble must stay that row's.
/// </summary>
internal sealed class DatabaseFaults(NpgsqlDataSource database)
{
    private const int MaxTries = 50;
    private static readonly TimeSpan CancelInterval = TimeSpan.FromMilliseconds(100);

    // A row of each table on the way of a job. The session of a call in flight first: it is the one with a lease to lose.
    private static readonly (string Name, string Sql)[] Rows =
    [
        ("session in work", "SELECT session_id FROM generation_sessions WHERE lease_until IS NOT NULL LIMIT 1 FOR UPDATE SKIP LOCKED"),
        ("account", "SELECT a.user_id FROM credit_accounts AS a WHERE a.reserved > 0 LIMIT 1 FOR UPDATE SKIP LOCKED"),
        ("queued session", "SELECT session_id FROM generation_sessions WHERE status = 'queued' LIMIT 1 FOR UPDATE SKIP LOCKED"),
        ("hold", "SELECT reservation_id FROM credit_reservations WHERE status = 'held' LIMIT 1 FOR UPDATE SKIP LOCKED"),
        ("outbox row", "SELECT session_id FROM outbox LIMIT 1 FOR UPDATE SKIP LOCKED"),
        ("provider task", "SELECT session_id FROM provider_tasks WHERE state IN ('intent', 'running') LIMIT 1 FOR UPDATE SKIP LOCKED"),
        ("lot", "SELECT lot_id FROM credit_lots WHERE held > 0 LIMIT 1 FOR UPDATE SKIP LOCKED"),
    ];

    /// <summary>What was locked, for the judgement of how sessions ended; ids of other rows are no session's.</summary>
    public ConcurrentQueue<LockedSession> LockedSessions { get; } = new();

    /// <summary>Locks one row for a while.</summary>
    public async Task LockRowAsync(int choice, TimeSpan duration, Action<string> tell, CancellationToken ct)
    {
        try
        {
            await using var connection = await database.OpenConnectionAsync(ct);
            await using var transaction = await connection.BeginTransactionAsync(ct);
            for (var tries = 0; tries < MaxTries; tries++)
            {
                var (name, sql) = Rows[(choice + tries) % Rows.Length]; // the next kind when there is none of this one now
                await using var command = new NpgsqlCommand(sql, connection, transaction);
                if (await command.ExecuteScalarAsync(ct) is Guid id)
                {
                    tell($"{name} {id}");
                    LockedSessions.Enqueue(new LockedSession(id, TimeProvider.System.GetUtcNow(), TimeProvider.System.GetUtcNow() + duration));
                    await Task.Delay(duration, TimeProvider.System, ct);
                    return;
                }

                await Task.Delay(CancelInterval, TimeProvider.System, ct);
            }
        }
        catch (NpgsqlException)
        {
            // The server was restarted meanwhile, and the lock went with it.
        }
    }

    /// <summary>Cancels whatever statement a service has under way, ten times a second.</summary>
    public async Task CancelStatementsAsync(TimeSpan duration, Action<string> tell, CancellationToken ct)
    {
        tell($"every statement of the services for {duration.TotalSeconds:0.0} s");
        var started = TimeProvider.System.GetTimestamp();
        while (TimeProvider.System.GetElapsedTime(started) < duration)
        {
            try
            {
                await using var command = database.CreateCommand(
                    "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE usename LIKE 'generation%' AND state = 'active' AND pid <> "
                        + "pg_backend_pid()");
                await command.ExecuteNonQueryAsync(ct);
            }
            catch (NpgsqlException)
            {
                // The server is being restarted: nothing is under way.
            }

            await Task.Delay(CancelInterval, TimeProvider.System, ct);
        }
    }
}
