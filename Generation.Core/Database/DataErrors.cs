using Npgsql;

namespace Generation.Core.Database;

/// <summary>
/// Errors about the data of a request, not about the connection, and the cleanup that they need. When a value is rejected in the round trip
/// in which its statement is auto-prepared, Npgsql 10 keeps the prepared statement without its row description, and the next execution on
/// that connection fails with an "unexpected backend message" (<a href="https://github.com/npgsql/npgsql/issues/6391">npgsql#6391</a>). So the
/// connection drops its prepared statements.
/// </summary>
internal static class DataErrors
{
    /// <summary>
    /// Values, constraints, program limits and what a function raises (classes 21, 22, 23, 54, P0): the same data is rejected again, other data of
    /// the batch need not be.
    /// </summary>
    public static bool IsDataError(PostgresException e) => e.SqlState[..2] is "21" or "22" or "23" or "54" or "P0";

    /// <summary>Drops the prepared statements of a connection after a data error. Never throws, so that the original error is not hidden.</summary>
    public static void Unprepare(NpgsqlConnection connection)
    {
        try
        {
            connection.UnprepareAll();
        }
        catch (Exception e) when (e is NpgsqlException or IOException or TimeoutException or InvalidOperationException)
        {
            // The connection is broken; a new one has nothing prepared.
        }
    }

    /// <summary>Runs work with data from outside (a provider, a caller) on a pooled connection, and cleans up after a data error.</summary>
    public static async Task<T> ExecuteAsync<T>(NpgsqlDataSource database, Func<NpgsqlConnection, Task<T>> work, CancellationToken ct)
    {
        await using var connection = await database.OpenConnectionAsync(ct);
        try
        {
            return await work(connection);
        }
        catch (PostgresException e) when (IsDataError(e))
        {
            Unprepare(connection);
            throw;
        }
    }
}
