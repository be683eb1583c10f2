using Npgsql;

namespace Generation.Core.Maintenance;

/// <summary>
/// Keeps the outbox small while millions of rows pass through it. The server's own vacuum looks once a minute at best
/// (<c>autovacuum_naptime</c>); in that minute a busy relay leaves hundreds of thousands of dead rows, every one of them where the next
/// dispatch reads.
/// </summary>
public static class OutboxVacuum
{
    /// <summary>Dead rows that are worth a vacuum: ten megabytes, a tenth of a second. A row that passes through leaves two.</summary>
    public const long MinDeadRows = 50_000;

    /// <summary>
    /// Vacuums the outbox when that is worth it; another relay or the server itself that is at it already is left alone. Answers how many
    /// dead rows there were; null when this login may not vacuum (before Postgres 17 only the owner may): the server's own has to do then.
    /// </summary>
    /// <param name="database">Where the server's count of dead rows is read.</param>
    /// <param name="loginConnectionString">The login, acting as itself.</param>
    /// <param name="ct">Stops; nothing is half done then.</param>
    public static async Task<long?> RunAsync(NpgsqlDataSource database, string loginConnectionString, CancellationToken ct)
    {
        await using var count = database.CreateCommand("SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'outbox'");
        if (await count.ExecuteScalarAsync(ct) is not long dead || dead < MinDeadRows)
        {
            return 0;
        }

        await using var login = new NpgsqlConnection(new NpgsqlConnectionStringBuilder(loginConnectionString) { Pooling = false }.ConnectionString);
        await login.OpenAsync(ct);
        if (!await MayVacuumAsync(login, ct))
        {
            return null;
        }

        // Without giving space back to the disk: the next thousand rows need it, and that would lock everybody out for a moment.
        await using var vacuum = new NpgsqlCommand("VACUUM (SKIP_LOCKED, TRUNCATE false) outbox", login);
        await vacuum.ExecuteNonQueryAsync(ct);
        return dead;
    }

    /// <summary>Asked first: a vacuum that is refused is a warning in the server's log, every few seconds.</summary>
    private static async Task<bool> MayVacuumAsync(NpgsqlConnection login, CancellationToken ct)
    {
        await using var command = new NpgsqlCommand(
            login.PostgreSqlVersion.Major >= 17
                ? "SELECT has_table_privilege('outbox', 'MAINTAIN')"
                : "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = 'outbox'::regclass",
            login);
        return await command.ExecuteScalarAsync(ct) is true;
    }
}
