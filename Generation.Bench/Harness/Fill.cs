using Npgsql;

namespace Generation.Bench.Harness;

/// <summary>Rows made by the database itself, with books that add up: what would take hours through the front door.</summary>
internal static class Fill
{
    private const int SessionsPerStatement = 100_000;

    /// <summary>Users 1 to <paramref name="count"/>, each with a key and a lot; see <c>users.sql</c> for their names.</summary>
    public static async Task UsersAsync(NpgsqlDataSource database, int count, CancellationToken ct)
    {
        await using var command = database.CreateCommand(await TextAsync("users.sql", ct));
        command.Parameters.AddWithValue(count);
        await command.ExecuteNonQueryAsync(ct);
    }

    /// <summary>
    /// Finished and paid sessions of those users, the same number each: what <c>fill.sql</c> says. Leaves the tables vacuumed and analysed,
    /// as the server's own daemon would have done by the time that so many had come one by one.
    /// </summary>
    /// <param name="database">As superuser.</param>
    /// <param name="users">How many users there are; must divide 100,000.</param>
    /// <param name="sessions">A multiple of 100,000.</param>
    /// <param name="ct">Stops between two statements.</param>
    public static async Task SessionsAsync(NpgsqlDataSource database, int users, int sessions, CancellationToken ct)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(SessionsPerStatement % users, 0);
        ArgumentOutOfRangeException.ThrowIfNotEqual(sessions % SessionsPerStatement, 0);
        await using var connection = await database.OpenConnectionAsync(ct);
        await ExecuteAsync("SET session_replication_role = replica"); // no foreign keys: a tenth of the time
        await ExecuteAsync("SET synchronous_commit = off");
        var text = await TextAsync("fill.sql", ct);
        for (var first = 0; first < sessions; first += SessionsPerStatement)
        {
            if (first % 1_000_000 == 0)
            {
                Report.Say($"{first:#,0} of {sessions:#,0} sessions filled in");
            }

            await ExecuteAsync(text, (long)first, (long)SessionsPerStatement, users);
        }

        await ExecuteAsync("RESET session_replication_role");
        await ExecuteAsync("RESET synchronous_commit");
        await ExecuteAsync("VACUUM (ANALYZE)");
        await ExecuteAsync("CHECKPOINT");

        async Task ExecuteAsync(string sql, params object[] parameters)
        {
            await using var command = new NpgsqlCommand(sql, connection) { CommandTimeout = 3600 };
            foreach (var value in parameters)
            {
                command.Parameters.AddWithValue(value);
            }

            await command.ExecuteNonQueryAsync(ct);
        }
    }

    private static Task<string> TextAsync(string file, CancellationToken ct) =>
        File.ReadAllTextAsync(Path.Combine(Repository.Root, "Generation.Bench", "Harness", file), ct);
}
