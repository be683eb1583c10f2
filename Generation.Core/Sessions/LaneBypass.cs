using Generation.Core.Database;
using Generation.Core.Queue;
using Npgsql;

namespace Generation.Core.Sessions;

/// <summary>
/// The way past a queue whose head cannot be run: messages are delivered in their order, so that a worker whose slots are held by one provider
/// finds that provider's next jobs first. It takes other providers' jobs from the outbox instead; the claim makes their messages, if there are
/// any, obsolete.
/// </summary>
public sealed class LaneBypass(NpgsqlDataSource database, LeaseConnections? leases = null)
{
    /// <summary>Up to <paramref name="max"/> jobs of a lane that are of none of <paramref name="providers"/>, the first in line first.</summary>
    public async Task<IReadOnlyList<Delivery>> FindAsync(string lane, IReadOnlyCollection<string> providers, int max, CancellationToken ct)
    {
        await using var batch = (leases?.Database ?? database).CreateBatch();
        batch.BatchCommands.Add(PlannerSettings.Command());
        batch.BatchCommands.Add(new NpgsqlBatchCommand(Sql.Text("Sessions/bypass.sql"))
        {
            Parameters = { new() { Value = lane }, new() { Value = providers.ToArray() }, new() { Value = max } },
        });
        var found = new List<Delivery>();
        await using var reader = await batch.ExecuteReaderAsync(ct);
        await reader.NextResultAsync(ct);
        while (await reader.ReadAsync(ct))
        {
            var outboxId = reader.Get<long>("outbox_id");
            found.Add(new Delivery($"outbox:{outboxId}", new JobMessage(
                outboxId, reader.Get<Guid>("session_id"), "", reader.GetText("traceparent"))));
        }

        return found;
    }
}
