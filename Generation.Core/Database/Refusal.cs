using Npgsql;

namespace Generation.Core.Database;

/// <summary>
/// What must follow when the database refuses the content of a statement. Npgsql prepares by itself what comes often, and when a value is
/// refused in the very round trip in which its statement is prepared, Npgsql 10 keeps the statement without knowing what it answers:
/// the next one on that connection, an innocent one, dies of an "unexpected backend message"
/// (<a href="https://github.com/npgsql/npgsql/issues/6391">npgsql#6391</a>). So the connection forgets what it has prepared.
/// </summary>
internal static class Refusal
{
    /// <summary>Values, constraints, and sizes beyond a limit: the same content will be refused again, and its neighbours need not be.</summary>
    public static bool IsAboutContent(PostgresException e) => e.SqlState[..2] is "21" or "22" or "23" or "54";

    /// <summary>Of a connection on which something was refused. Never throws: whoever says why must not be stopped by a connection that dies now.</summary>
    public static void Forget(NpgsqlConnection connection)
    {
        try
        {
            connection.UnprepareAll();
        }
        catch (Exception e) when (e is NpgsqlException or IOException or TimeoutException or InvalidOperationException)
        {
            // It is dead, and its successor has prepared nothing.
        }
    }

    /// <summary>Work whose content comes from elsewhere (a provider, a caller), on a connection of the pool.</summary>
    public static async Task<T> GuardAsync<T>(NpgsqlDataSource database, Func<NpgsqlConnection, Task<T>> work, CancellationToken ct)
    {
        await using var connection = await database.OpenConnectionAsync(ct);
        try
        {
            return await work(connection);
        }
        catch (PostgresException e) when (IsAboutContent(e))
        {
            Forget(connection);
            throw;
        }
    }
}
