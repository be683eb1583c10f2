using Generation.Core.Database;
using Npgsql;

namespace Generation.Core.Sessions;

/// <summary>
/// One job a GPU over all workers. A slot is held by a session's lease: it is free again when it is released, or when that lease is
/// over, by the database's clock.
/// </summary>
public sealed class GpuSlots(NpgsqlDataSource database)
{
    /// <summary>Takes the first free one of <paramref name="endpoints"/>; null when all are busy.</summary>
    public async Task<string?> TakeAsync(ClaimedSession session, IReadOnlyList<string> endpoints, CancellationToken ct)
    {
        await using var batch = database.CreateBatch();
        var all = endpoints.ToArray();
        batch.BatchCommands.Add(new NpgsqlBatchCommand(
            "INSERT INTO gpu_slots (endpoint) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING")
        { Parameters = { new() { Value = all } } });
        batch.BatchCommands.Add(new NpgsqlBatchCommand(Sql.Text("Sessions/lock_gpu_slots.sql")) { Parameters = { new() { Value = all } } });
        batch.BatchCommands.Add(new NpgsqlBatchCommand(Sql.Text("Sessions/take_gpu_slot.sql"))
        {
            Parameters = { new() { Value = all }, new() { Value = session.SessionId }, new() { Value = session.LeaseToken } },
        });
        string? taken = null;
        await using var reader = await batch.ExecuteReaderAsync(ct);
        do
        {
            while (await reader.ReadAsync(ct))
            {
                taken = await reader.IsDBNullAsync(0, ct) ? taken : reader.GetString(0);
            }
        }
        while (await reader.NextResultAsync(ct));
        return taken;
    }

    /// <summary>Gives a slot back; nothing happens when somebody else has it by now.</summary>
    public async Task ReleaseAsync(ClaimedSession session, string endpoint, CancellationToken ct)
    {
        await using var command = database.CreateCommand(
            "UPDATE gpu_slots SET session_id = NULL, lease_token = NULL, taken_at = NULL WHERE endpoint = $1 AND session_id = $2 AND lease_token = "
                + "$3");
        command.Parameters.AddWithValue(endpoint);
        command.Parameters.AddWithValue(session.SessionId);
        command.Parameters.AddWithValue(session.LeaseToken);
        await command.ExecuteNonQueryAsync(ct);
    }
}
