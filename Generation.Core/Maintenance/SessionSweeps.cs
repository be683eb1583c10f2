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
        const string sweep = "dead-leases";
        const string isAtProvider = "EXISTS (SELECT FROM provider_tasks AS t WHERE t.session_id = s.session_id AND t.state = 'running')";
        var dead = await FindAsync(sweep, $"lease_until <= now() AND (cancel_requested_at IS NULL OR {isAtProvider})", "lease_until", ct);
        var revoked = await SweepIsolation.RunAsync(database, sweep, [.. dead.Keys], async ids =>
        {
            await using var command = database.CreateCommand(Sql.Text("Maintenance/revoke_dead_leases.sql"));
            command.Parameters.AddWithValue(ids);
            return await NotifyAsync(command, "revoke dead lease", ct);
        }, ct);
        if (revoked > 0)
        {
            notifier.OutboxWritten();
        }

        var canceled = await FindAsync(sweep, "lease_until <= now() AND cancel_requested_at IS NOT NULL", "lease_until", ct);
        return revoked + await EndAsync(sweep, canceled.Select(one => new Settle(one.Key, SettleGuard.Dead) { Canceled = true }), canceled, ct);
    }

    /// <summary>Sessions whose worker renews the lease without getting on are taken from it; see <c>revoke_stuck.sql</c>.</summary>
    public async Task<int> RevokeStuckAsync(TimeSpan after, CancellationToken ct)
    {
        const string sweep = "stuck-jobs";
        var stuck = await FindAsync(sweep, "lease_until > now() AND progress_at < now() - $1::interval", "progress_at", ct, after);
        return await SweepIsolation.RunAsync(database, sweep, [.. stuck.Keys], async ids =>
        {
            await using var command = database.CreateCommand(Sql.Text("Maintenance/revoke_stuck.sql"));
            command.Parameters.AddWithValue(after);
            command.Parameters.AddWithValue(ids);
            return await NotifyAsync(command, "revoke stuck lease", ct);
        }, ct);
    }

    /// <summary>Sessions past their deadline end as failed, code <c>expired</c>; what was stored is kept and paid.</summary>
    public async Task<int> EndOverdueAsync(CancellationToken ct)
    {
        const string sweep = "deadlines";
        var overdue = await FindAsync(sweep, "completed_at IS NULL AND deadline <= now()", "deadline", ct);
        return await EndAsync(
            sweep,
            overdue.Keys.Select(id => new Settle(id, SettleGuard.Deadline)
            {
                ErrorCode = "expired",
                ErrorMessage = UserMessages.ForFailure("expired", UserMessages.DefaultLanguage),
                ErrorRetryable = true,
            }),
            overdue, ct);
    }

    /// <summary>Inserts an outbox row for waiting sessions that have none; see <c>missing_dispatches.sql</c>.</summary>
    public async Task<int> DispatchMissingAsync(TimeSpan after, CancellationToken ct)
    {
        const string sweep = "strays"; // the name in the metrics of older releases
        var missing = await FindAsync(
            sweep,
            """
            completed_at IS NULL AND lease_until IS NULL AND updated_at < now() - $1::interval
            AND coalesce(wake_at, updated_at) < now() - $1::interval
            AND NOT EXISTS (SELECT FROM outbox AS o WHERE o.session_id = s.session_id AND o.set_aside_at IS NULL)
            """,
            null, ct, after);
        return await SweepIsolation.RunAsync(database, sweep, [.. missing.Keys], async ids =>
        {
            await using var command = database.CreateCommand(Sql.Text("Maintenance/missing_dispatches.sql"));
            command.Parameters.AddWithValue(after);
            command.Parameters.AddWithValue(ids);
            return await command.ExecuteNonQueryAsync(ct);
        }, ct);
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

    /// <summary>
    /// Ends sessions, each by its own: one that is locked is found again, and one that the database refuses to end is recorded and left out.
    /// </summary>
    private async Task<int> EndAsync(string sweep, IEnumerable<Settle> requests, Dictionary<Guid, string?> traces, CancellationToken ct)
    {
        var ended = await Task.WhenAll(requests.Select(async request =>
        {
            try
            {
                return await settlement.EndAsync(request with { Trace = Telemetry.ParseTraceParent(traces[request.SessionId]) }, ct) is null ? 0 : 1;
            }
            catch (RowLockedException)
            {
                return 0;
            }
            catch (PostgresException e) when (DataErrors.IsDataError(e))
            {
                await SweepIsolation.RecordAsync(database, sweep, request.SessionId, e.MessageText, ct);
                return 0;
            }
        }));
        return ended.Sum();
    }

    /// <summary>
    /// Candidates only, with their trace contexts: whether they are changed is decided under their row locks. What is locked is left out.
    /// </summary>
    /// <param name="sweep">Its name.</param>
    /// <param name="condition">Of their rows.</param>
    /// <param name="order">The column of the index that has them: in any other order the planner may walk through the whole table.</param>
    /// <param name="ct">Stops it.</param>
    /// <param name="parameters">Of the condition.</param>
    private async Task<Dictionary<Guid, string?>> FindAsync(
        string sweep, string condition, string? order, CancellationToken ct, params TimeSpan[] parameters)
    {
        var found = new Dictionary<Guid, string?>();
        await using var command = database.CreateCommand(
            $"SELECT s.session_id, s.traceparent FROM generation_sessions AS s WHERE {condition} "
            + $"AND {SweepIsolation.NotFailed(sweep, "s.session_id")} "
            + $"{(order is null ? "" : $"ORDER BY {order}")} LIMIT {Batch} FOR NO KEY UPDATE OF s SKIP LOCKED");
        foreach (var parameter in parameters)
        {
            command.Parameters.AddWithValue(parameter);
        }

        await using var reader = await command.ExecuteReaderAsync(ct);
        while (await reader.ReadAsync(ct))
        {
            found[reader.GetGuid(0)] = await reader.IsDBNullAsync(1, ct) ? null : reader.GetString(1);
        }

        return found;
    }
}
