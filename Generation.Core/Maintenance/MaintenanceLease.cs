using Npgsql;

namespace Generation.Core.Maintenance;

/// <summary>
/// The lease under which one relay at a time runs a sweep, and the position at which the next pass continues. For sweeps that wait for
/// something other than the database, during which a row lock must not be held. It is judged by the database's clock; when its holder
/// dies, the others wait until it expires.
/// </summary>
public sealed class MaintenanceLease(NpgsqlDataSource database)
{
    /// <summary>Longer than any pass. A pass that takes longer may run in another relay at the same time, which is harmless.</summary>
    public static readonly TimeSpan Duration = TimeSpan.FromMinutes(10);

    /// <summary>The position at which to continue; null when another relay holds the lease, or released it less than a pause ago.</summary>
    public async Task<string?> AcquireAsync(string sweep, CancellationToken ct)
    {
        await using var command = database.CreateCommand(
            """
            INSERT INTO sweep_turns AS t (sweep, taken_until) VALUES ($1, now() + $2)
            ON CONFLICT (sweep) DO UPDATE SET taken_until = excluded.taken_until WHERE t.taken_until <= now()
            RETURNING t.position
            """);
        command.Parameters.AddWithValue(sweep);
        command.Parameters.AddWithValue(Duration);
        return (string?)await command.ExecuteScalarAsync(ct);
    }

    /// <summary>Releases the lease.</summary>
    /// <param name="sweep">The sweep's name.</param>
    /// <param name="position">Where the next pass continues; null leaves the position unchanged.</param>
    /// <param name="pause">How long no relay may acquire the lease.</param>
    public async Task ReleaseAsync(string sweep, string? position, TimeSpan pause)
    {
        await using var command = database.CreateCommand(
            "UPDATE sweep_turns SET position = coalesce($2, position), taken_until = now() + $3 WHERE sweep = $1");
        command.Parameters.AddWithValue(sweep);
        command.Parameters.AddWithValue((object?)position ?? DBNull.Value);
        command.Parameters.AddWithValue(pause);
        await command.ExecuteNonQueryAsync(CancellationToken.None);
    }
}
