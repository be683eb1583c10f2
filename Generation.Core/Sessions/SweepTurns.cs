using Npgsql;

namespace Generation.Core.Sessions;

/// <summary>
/// Whose turn a sweep is, over all relays, and where the last one stopped. For sweeps that wait for something other than the database:
/// a row lock would be held over all of that. A turn is a lease by the database's clock; who dies with it is waited for.
/// </summary>
public sealed class SweepTurns(NpgsqlDataSource database)
{
    /// <summary>Longer than any pass; a pass that takes longer is repeated by another relay at the same time, which is harmless.</summary>
    public static readonly TimeSpan Longest = TimeSpan.FromMinutes(10);

    /// <summary>The position at which to go on; null when another relay has the turn, or had it a short while ago.</summary>
    public async Task<string?> TakeAsync(string sweep, CancellationToken ct)
    {
        await using var command = database.CreateCommand(
            """
            INSERT INTO sweep_turns AS t (sweep, taken_until) VALUES ($1, now() + $2)
            ON CONFLICT (sweep) DO UPDATE SET taken_until = excluded.taken_until WHERE t.taken_until <= now()
            RETURNING t.position
            """);
        command.Parameters.AddWithValue(sweep);
        command.Parameters.AddWithValue(Longest);
        return (string?)await command.ExecuteScalarAsync(ct);
    }

    /// <summary>Gives the turn back.</summary>
    /// <param name="sweep">Which.</param>
    /// <param name="position">Where the next one goes on; null leaves it where it was.</param>
    /// <param name="pause">How long nobody is to take it.</param>
    public async Task LeaveAsync(string sweep, string? position, TimeSpan pause)
    {
        await using var command = database.CreateCommand(
            "UPDATE sweep_turns SET position = coalesce($2, position), taken_until = now() + $3 WHERE sweep = $1");
        command.Parameters.AddWithValue(sweep);
        command.Parameters.AddWithValue((object?)position ?? DBNull.Value);
        command.Parameters.AddWithValue(pause);
        await command.ExecuteNonQueryAsync(CancellationToken.None);
    }
}
