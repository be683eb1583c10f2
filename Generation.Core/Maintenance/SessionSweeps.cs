using Generation.Core.Database;
using Generation.Core.Localization;
using Generation.Core.Realtime;
using Generation.Core.Sessions;
using Generation.Core.Webhooks;
using Npgsql;

namespace Generation.Core.Maintenance;

/// <summary>
/// The sweeps that keep a crash from stranding a session. Each processes a bounded batch, may run in several relays at once, and returns how
/// many rows it changed.
/// </summary>
public sealed class SessionSweeps(NpgsqlDataSource database, Settlement settlement, ChangeNotifier notifier)
{
    public const int Batch = 500;

    private const int DeleteBatch = 5_000;

    /// <summary>How long outbox rows with an unknown event type are kept: until a release that knows it.</summary>
    private static readonly TimeSpan SetAsideKept = TimeSpan.FromDays(30);

    /// <summary>Returns when the database answers, throws otherwise.</summary>
    public async Task PingAsync(CancellationToken ct)
    {
        await using var command = database.CreateCommand("SELECT");
        await command.ExecuteNonQueryAsync(ct);
    }

    /// <summary>
    /// Sessions whose worker has stopped renewing are queued again; those that were to be canceled end, unless they have a task at a provider,
    /// which a worker takes back there.
    /// </summary>
    public async Task<int> RevokeDeadLeasesAsync(CancellationToken ct)
    {
        await using var command = database.CreateCommand(Sql.Text("Maintenance/revoke_dead_leases.sql"));
        command.Parameters.AddWithValue(Batch);
        var revoked = await NotifyAsync(command, "revoke dead lease", ct);

        if (revoked > 0)
        {
            notifier.OutboxWritten();
        }

        var dead = await FindAsync("lease_until <= now() AND cancel_requested_at IS NOT NULL", "lease_until", ct);
        return dead.Count == 0 ? revoked
            : revoked + (await settlement.SettleAsync(
                [.. dead.Select(one => new Settle(one.SessionId, SettleGuard.Dead) { Canceled = true, Trace = Telemetry.ParseTraceParent(
                one.TraceParent) })], ct)).Count;
    }

    /// <summary>Sessions whose worker renews the lease without getting on are taken from it; see <c>revoke_stuck.sql</c>.</summary>
    public async Task<int> RevokeStuckAsync(TimeSpan after, CancellationToken ct)
    {
        await using var command = database.CreateCommand(Sql.Text("Maintenance/revoke_stuck.sql"));
        command.Parameters.AddWithValue(after);
        command.Parameters.AddWithValue(Batch);
        return await NotifyAsync(command, "revoke stuck lease", ct);
    }

    /// <summary>Sessions past their deadline end as failed, code <c>expired</c>; what was stored is kept and paid.</summary>
    public async Task<int> EndOverdueAsync(CancellationToken ct)
    {
        var overdue = await FindAsync("completed_at IS NULL AND deadline <= now()", "deadline", ct);
        return overdue.Count == 0 ? 0 : (await settlement.SettleAsync(
            [.. overdue.Select(one => new Settle(one.SessionId, SettleGuard.Deadline)
            {
                Trace = Telemetry.ParseTraceParent(one.TraceParent),
                ErrorCode = "expired",
                ErrorMessage = UserMessages.ForFailure("expired", UserMessages.DefaultLanguage),
                ErrorRetryable = true,
            })], ct)).Count;
    }

    /// <summary>Inserts an outbox row for waiting sessions that have none; see <c>missing_dispatches.sql</c>.</summary>
    public async Task<int> DispatchMissingAsync(TimeSpan after, CancellationToken ct)
    {
        await using var command = database.CreateCommand(Sql.Text("Maintenance/missing_dispatches.sql"));
        command.Parameters.AddWithValue(after);
        command.Parameters.AddWithValue(Batch);
        return await command.ExecuteNonQueryAsync(ct);
    }

    /// <summary>
    /// Deletes old rows: error events after <paramref name="eventsKept"/>, callbacks after <see cref="WebhookInbox.Kept"/>, outbox
    /// rows that were set aside. Returns how many, and whether a batch was full. Sessions, outputs and the ledger are kept.
    /// </summary>
    public async Task<(int Deleted, bool HasMore)> DeleteOldRowsAsync(TimeSpan eventsKept, CancellationToken ct)
    {
        await using var command = database.CreateCommand(Sql.Text("Maintenance/delete_old_rows.sql"));
        command.Parameters.AddWithValue(DeleteBatch);
        command.Parameters.AddWithValue(eventsKept);
        command.Parameters.AddWithValue(WebhookInbox.Kept);
        command.Parameters.AddWithValue(SetAsideKept);
        await using var reader = await command.ExecuteReaderAsync(ct);
        await reader.ReadAsync(ct);
        int[] deleted = [reader.GetInt32(0), reader.GetInt32(1), reader.GetInt32(2)];
        return (deleted.Sum(), deleted.Max() >= DeleteBatch);
    }

    /// <summary>Runs a statement that returns changed sessions, notifies their watchers and marks their traces.</summary>
    private async Task<int> NotifyAsync(NpgsqlCommand command, string what, CancellationToken ct)
    {
        var changed = 0;
        await using var reader = await command.ExecuteReaderAsync(ct);
        while (await reader.ReadAsync(ct))
        {
            changed++;
            notifier.Changed(ChangeChannel.SessionChanged, new Change(reader.GetGuid(0), reader.GetGuid(1), reader.GetInt64(2)));
            Telemetry.Mark(what, reader.GetGuid(0), await reader.IsDBNullAsync(3, ct) ? null : reader.GetString(3));
        }

        return changed;
    }

    /// <summary>Candidates only: whether they end is decided under their row locks.</summary>
    /// <param name="condition">Of their rows.</param>
    /// <param name="order">The column of the index that has them: in any other order the planner may walk through the whole table.</param>
    /// <param name="ct">Stops it.</param>
    private async Task<List<(Guid SessionId, string? TraceParent)>> FindAsync(string condition, string order, CancellationToken ct)
    {
        var found = new List<(Guid, string?)>();
        await using var command = database.CreateCommand(
            $"SELECT session_id, traceparent FROM generation_sessions WHERE {condition} ORDER BY {order} LIMIT {Batch} FOR NO KEY UPDATE SKIP "
                + "LOCKED");
        await using var reader = await command.ExecuteReaderAsync(ct);
        while (await reader.ReadAsync(ct))
        {
            found.Add((reader.GetGuid(0), await reader.IsDBNullAsync(1, ct) ? null : reader.GetString(1)));
        }

        return found;
    }
}
