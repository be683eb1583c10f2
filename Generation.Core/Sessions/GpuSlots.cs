using Generation.Core.Database;
using Npgsql;

namespace Generation.Core.Sessions;

/// <summary>
/// One job a GPU over all workers. A worker reserves a GPU before it receives a job, so that what waits for one stays in line; the job it then
/// claims takes the slot. A slot is held by a session's lease: it is free again when it is released, or when that lease is over, by the database's
/// clock. A slot whose row is locked elsewhere counts as busy.
/// </summary>
public sealed class GpuSlots(NpgsqlDataSource database)
{
    /// <summary>
    /// Reserves the first free one of <paramref name="endpoints"/> for a worker, or keeps the one that it has; null when all are busy. One
    /// reservation a worker: <see cref="AssignAsync"/> makes room for the next.
    /// </summary>
    /// <param name="worker">Another name for each process.</param>
    /// <param name="endpoints">In order of preference.</param>
    /// <param name="duration">Of the reservation.</param>
    /// <param name="ct">Stops.</param>
    public Task<string?> ReserveAsync(string worker, IReadOnlyList<string> endpoints, TimeSpan duration, CancellationToken ct) =>
        TakeAsync(endpoints, new NpgsqlBatchCommand(Sql.Text("Sessions/reserve_gpu.sql"))
        {
            Parameters = { new() { Value = endpoints.ToArray() }, new() { Value = worker }, new() { Value = duration } },
        }, ct);

    /// <summary>Makes a reservation the slot of a session; false when it is over.</summary>
    public async Task<bool> AssignAsync(string worker, string endpoint, ClaimedSession session, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(session);
        return await ChangeAsync(
            """
            UPDATE gpu_slots
            SET session_id = $3, lease_token = $4, taken_at = now(), reserved_by = NULL, reserved_until = NULL
            WHERE endpoint = $1 AND reserved_by = $2 AND reserved_until > now()
            """,
            [endpoint, worker, session.SessionId, session.LeaseToken], ct) == 1;
    }

    /// <summary>
    /// The first of <paramref name="endpoints"/> that a session has already or that is free; another that it had is free then. Null when all are
    /// busy.
    /// </summary>
    public Task<string?> TakeAsync(ClaimedSession session, IReadOnlyList<string> endpoints, CancellationToken ct) =>
        TakeAsync(endpoints, new NpgsqlBatchCommand(Sql.Text("Sessions/take_gpu_slot.sql"))
        {
            Parameters = { new() { Value = endpoints.ToArray() }, new() { Value = session.SessionId }, new() { Value = session.LeaseToken } },
        }, ct);

    /// <summary>Whether another worker makes use of one of these GPUs: what this one cannot reach is there for others.</summary>
    public async Task<bool> AreUsedByOthersAsync(string worker, IReadOnlyList<string> endpoints, CancellationToken ct)
    {
        await using var command = database.CreateCommand(Sql.Text("Sessions/gpus_in_use.sql"));
        command.Parameters.AddWithValue(endpoints.ToArray());
        command.Parameters.AddWithValue(worker);
        return (bool)(await command.ExecuteScalarAsync(ct))!;
    }

    /// <summary>Gives a session's slots back; nothing happens when somebody else has them by now.</summary>
    public Task ReleaseAsync(ClaimedSession session, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(session);
        return ChangeAsync(
            "UPDATE gpu_slots SET session_id = NULL, lease_token = NULL, taken_at = NULL WHERE session_id = $1 AND lease_token = $2",
            [session.SessionId, session.LeaseToken], ct);
    }

    /// <summary>Gives up a worker's reservation.</summary>
    public Task CancelReservationAsync(string worker, CancellationToken ct) =>
        ChangeAsync("UPDATE gpu_slots SET reserved_by = NULL, reserved_until = NULL WHERE reserved_by = $1", [worker], ct);

    /// <summary>Rows changed. A row that is locked elsewhere is not waited for, and is an error.</summary>
    private async Task<int> ChangeAsync(string update, IReadOnlyList<object> parameters, CancellationToken ct)
    {
        await using var batch = database.CreateBatch();
        batch.BatchCommands.Add(PlannerSettings.Command(GroupCommit.LockTimeout));
        var command = new NpgsqlBatchCommand(update);
        foreach (var value in parameters)
        {
            command.Parameters.Add(new NpgsqlParameter { Value = value });
        }

        batch.BatchCommands.Add(command);
        await batch.ExecuteNonQueryAsync(ct);
        return (int)command.RecordsAffected;
    }

    private async Task<string?> TakeAsync(IReadOnlyList<string> endpoints, NpgsqlBatchCommand take, CancellationToken ct)
    {
        await using var batch = database.CreateBatch();
        var all = endpoints.ToArray();
        batch.BatchCommands.Add(new NpgsqlBatchCommand(
            "INSERT INTO gpu_slots (endpoint) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING")
        { Parameters = { new() { Value = all } } });
        batch.BatchCommands.Add(new NpgsqlBatchCommand(Sql.Text("Sessions/lock_gpu_slots.sql")) { Parameters = { new() { Value = all } } });
        batch.BatchCommands.Add(take);
        await using var reader = await batch.ExecuteReaderAsync(ct);
        await reader.NextResultAsync(ct); // the locks; the insert has no result
        return await reader.ReadAsync(ct) ? reader.GetString(0) : null;
    }
}
