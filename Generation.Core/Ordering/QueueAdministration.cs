using Generation.Core.Credits;
using Generation.Core.Database;
using Generation.Core.Realtime;
using Npgsql;

namespace Generation.Core.Ordering;

/// <summary>
/// What operators change in the order: whether a lane is dispatched, and where a session stands among those of its user. Each is one transaction
/// and one round trip, done once for an idempotency key, with its audit row, as <see cref="CreditAdministration"/> has them. A row that another
/// transaction has locked is waited for as long as <see cref="PlannerSettings.DefaultLockTimeout"/>, and only if it is one to be changed.
/// </summary>
public sealed class QueueAdministration(NpgsqlDataSource database, ChangeNotifier notifier, TimeProvider time)
{
    /// <summary>
    /// Pauses a lane or resumes it. Paused, nothing new of it is dispatched; a dispatch that has begun, what is in the queue, what runs and what is
    /// at a provider go on, and submits are accepted. A lane that is paused already keeps its time and its author.
    /// </summary>
    /// <param name="adminAction">The user is the actor: it is about nobody else.</param>
    /// <param name="lane">An existing one.</param>
    /// <param name="paused">Whether to pause it.</param>
    /// <param name="ct">Stops waiting; it may be committed all the same, and repeating it with the same key returns its result.</param>
    /// <exception cref="PostgresException">55P03, transient: the lane's row was locked for too long.</exception>
    public async Task<AdminActionResult> SetPausedAsync(AdminAction adminAction, string lane, bool paused, CancellationToken ct)
    {
        var result = await AdminActionBatch.DoAsync(() => TryAsync(
            adminAction,
            // an actor without an account, such as one whose row was made by hand, could have no audit row
            [
                new NpgsqlBatchCommand("INSERT INTO credit_accounts (user_id) VALUES ($1) ON CONFLICT DO NOTHING")
                {
                    Parameters = { new() { Value = adminAction.UserId } },
                },
                new NpgsqlBatchCommand("SELECT FROM lanes WHERE lane = $1 FOR NO KEY UPDATE") { Parameters = { new() { Value = lane } } },
            ],
            AdminActionBatch.Command(
                "Ordering/pause_lane.sql", Guid.CreateVersion7(time.GetUtcNow()), adminAction, new() { Value = lane }, new() { Value = paused }),
            resultsBefore: 2, ct));
        if (!paused && result.Outcome is (AdminActionOutcome.Done or AdminActionOutcome.Replayed))
        {
            notifier.OutboxWritten(lane); // what waits in it is due: a relay need not wait for its next poll
        }

        return result;
    }

    /// <summary>Whose session it is and in which lane; null when there is none.</summary>
    public async Task<(Guid UserId, string Lane)?> FindAsync(Guid sessionId, CancellationToken ct)
    {
        await using var command = database.CreateCommand("SELECT user_id, lane FROM generation_sessions WHERE session_id = $1");
        command.Parameters.AddWithValue(sessionId);
        await using var reader = await command.ExecuteReaderAsync(ct);
        return await reader.ReadAsync(ct) ? (reader.GetGuid(0), reader.GetString(1)) : null;
    }

    /// <summary>
    /// Moves a session before or behind what else of its user waits in its lane. Other users' sessions that stood before the user's first stay
    /// before it. A delayed one (a retry) gets its new place when its time has come. <c>NotWaiting</c> when it was dispatched or has ended, or when
    /// it goes on with work that was begun, which comes before everything.
    /// </summary>
    /// <param name="adminAction">The user is the session's.</param>
    /// <param name="lane">The session's.</param>
    /// <param name="sessionId">An existing one.</param>
    /// <param name="toFront">Else to the back.</param>
    /// <param name="ct">Stops waiting; it may be committed all the same, and repeating it with the same key returns its result.</param>
    /// <exception cref="PostgresException">55P03, transient: the session or its row was locked for too long.</exception>
    public Task<AdminActionResult> ReprioritizeAsync(AdminAction adminAction, string lane, Guid sessionId, bool toFront, CancellationToken ct) =>
        AdminActionBatch.DoAsync(() => TryAsync(
            adminAction,
            // sessions before rows, as claims and settlements have it
            [
                new NpgsqlBatchCommand("SELECT FROM generation_sessions WHERE session_id = $1 FOR NO KEY UPDATE")
                {
                    Parameters = { new() { Value = sessionId } },
                },
                new NpgsqlBatchCommand("SELECT FROM outbox WHERE session_id = $1 FOR NO KEY UPDATE") { Parameters = { new() { Value = sessionId } } },
            ],
            AdminActionBatch.Command(
                "Ordering/reprioritize.sql", Guid.CreateVersion7(time.GetUtcNow()), adminAction, new() { Value = lane }, new() { Value = sessionId },
                new() { Value = toFront }),
            resultsBefore: 3, ct));

    private async Task<AdminActionResult> TryAsync(
        AdminAction adminAction, IEnumerable<NpgsqlBatchCommand> locks, NpgsqlBatchCommand act, int resultsBefore, CancellationToken ct)
    {
        await using var batch = database.CreateBatch();
        batch.BatchCommands.Add(PlannerSettings.Command());
        foreach (var statement in locks.Append(act))
        {
            batch.BatchCommands.Add(statement);
        }

        batch.BatchCommands.Add(new NpgsqlBatchCommand(
            "SELECT admin_action_id, request_hash, result::text FROM admin_actions WHERE idempotency_key = $1")
        {
            Parameters = { new() { Value = adminAction.Key } },
        });
        await using var reader = await batch.ExecuteReaderAsync(ct);
        await reader.SkipResultsAsync(resultsBefore, ct);
        return await reader.ReadAsync(ct)
            ? AdminActionBatch.Read(reader, act, adminAction)
            : new AdminActionResult(AdminActionOutcome.NotWaiting, default);
    }
}
