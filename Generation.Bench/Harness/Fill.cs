using Npgsql;

namespace Generation.Bench.Harness;

/// <summary>Rows made by the database itself, with books that add up: what would take hours through the front door.</summary>
internal static class Fill
{
    /// <summary>Users 1 to <paramref name="count"/>, each with a key and a lot; see <c>users.sql</c> for their names.</summary>
    public static Task UsersAsync(NpgsqlDataSource database, int count, CancellationToken ct) => ExecuteAsync(database, "users.sql", ct, count);

    private static async Task ExecuteAsync(NpgsqlDataSource database, string file, CancellationToken ct, params object[] parameters)
    {
        await using var command = database.CreateCommand(await File.ReadAllTextAsync(Path.Combine(Repository.Root, "Generation.Bench", "Harness", file), ct));
        foreach (var value in parameters) command.Parameters.AddWithValue(value);
        command.CommandTimeout = 3600;
        await command.ExecuteNonQueryAsync(ct);
    }
}
