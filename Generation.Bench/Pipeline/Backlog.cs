using Generation.Bench.Harness;
using Npgsql;

namespace Generation.Bench.Pipeline;

/// <summary>Accepted mock sessions that wait in the outbox, made by the database itself: what <c>queued.sql</c> says.</summary>
internal sealed class Backlog(NpgsqlDataSource database, int users)
{
    private long next;

    /// <summary>Adds sessions and commits them all at once. <paramref name="count"/> is a multiple of the number of users.</summary>
    public async Task AddAsync(int count, CancellationToken ct)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(count % users, 0);
        await using var connection = await database.OpenConnectionAsync(ct);
        await using (var trusted = new NpgsqlCommand("SET session_replication_role = replica", connection))
        {
            await trusted.ExecuteNonQueryAsync(ct);
        }

        var text = await File.ReadAllTextAsync(Path.Combine(Repository.Root, "Generation.Bench", "Pipeline", "queued.sql"), ct);
        await using (var fill = new NpgsqlCommand(text, connection) { CommandTimeout = 600 })
        {
            fill.Parameters.AddWithValue(next);
            fill.Parameters.AddWithValue((long)count);
            fill.Parameters.AddWithValue(users);
            await fill.ExecuteNonQueryAsync(ct);
        }

        next += count;
        await using var restore = new NpgsqlCommand("RESET session_replication_role", connection);
        await restore.ExecuteNonQueryAsync(ct);
    }
}
