using Generation.Core.Database;
using Npgsql;

namespace Generation.Core.Maintenance;

/// <summary>
/// Runs the statement of a sweep so that one row's trouble is no other's: a batch that the database refuses for what may be one row's fault (a data
/// error, a lock) is bisected. A row that is refused alone is recorded for the operator and left out, ever longer.
/// </summary>
internal static class SweepIsolation
{
    /// <summary>The condition under which a sweep finds a row again. <c>{0}</c>: the sweep · <c>{1}</c>: the row's id.</summary>
    public static string NotFailed(string sweep, string id) =>
        $"NOT EXISTS (SELECT FROM sweep_failures AS f WHERE f.sweep = '{sweep}' AND f.subject_id = {id} AND f.next_try_at > now())";

    /// <param name="database">For the record of what fails.</param>
    /// <param name="sweep">Its name.</param>
    /// <param name="ids">The rows that it has found.</param>
    /// <param name="execute">Processes some of them in one transaction, leaves out what is locked, and answers how many it changed.</param>
    /// <param name="ct">Stops.</param>
    /// <returns>How many were changed.</returns>
    public static async Task<int> RunAsync(
        NpgsqlDataSource database, string sweep, IReadOnlyList<Guid> ids, Func<Guid[], Task<int>> execute, CancellationToken ct)
    {
        if (ids.Count == 0)
        {
            return 0;
        }

        try
        {
            return await execute([.. ids]);
        }
        catch (PostgresException e) when (DataErrors.IsDataError(e) || e.SqlState == PostgresErrorCodes.LockNotAvailable)
        {
            if (ids.Count == 1)
            {
                if (DataErrors.IsDataError(e)) // a lock goes away
                {
                    await RecordAsync(database, sweep, ids[0], e.MessageText, ct);
                }

                return 0;
            }
        }

        return await RunAsync(database, sweep, [.. ids.Take(ids.Count / 2)], execute, ct)
            + await RunAsync(database, sweep, [.. ids.Skip(ids.Count / 2)], execute, ct);
    }

    /// <summary>Leaves a row out for a while, twice as long with every failure, an hour at most.</summary>
    public static async Task RecordAsync(NpgsqlDataSource database, string sweep, Guid id, string problem, CancellationToken ct)
    {
        await using var command = database.CreateCommand(Sql.Text("Maintenance/record_sweep_failure.sql"));
        command.Parameters.AddWithValue(sweep);
        command.Parameters.AddWithValue(id);
        command.Parameters.AddWithValue(problem);
        await command.ExecuteNonQueryAsync(ct);
    }

    /// <summary>Ids that a query finds.</summary>
    public static async Task<List<Guid>> FindAsync(NpgsqlDataSource database, string sql, CancellationToken ct, params object[] parameters)
    {
        var found = new List<Guid>();
        await using var command = database.CreateCommand(sql);
        foreach (var parameter in parameters)
        {
            command.Parameters.AddWithValue(parameter);
        }

        await using var reader = await command.ExecuteReaderAsync(ct);
        while (await reader.ReadAsync(ct))
        {
            found.Add(reader.GetGuid(0));
        }

        return found;
    }
}
