using System.Runtime.CompilerServices;
using Generation.Core.Database;
using Generation.Core.Media;
using Npgsql;

namespace Generation.Core.Maintenance;

/// <summary>Open sessions of a restored database with one fate.</summary>
/// <param name="Fate"><c>unanswered</c>, <c>asked</c>, <c>answered</c> or <c>uncalled</c>: restored_work.sql says what each means.</param>
/// <param name="Sessions">How many.</param>
/// <param name="HeldCredits">Their holds.</param>
public sealed record RestoredWork(string Fate, long Sessions, long HeldCredits);

/// <summary>An output in the store that the restored database does not know.</summary>
/// <param name="Key">Says whose it is, and of which session.</param>
/// <param name="Bytes">Its size.</param>
/// <param name="StoredAt">By the store's clock.</param>
/// <param name="IsSessionKnown">False: the session was accepted in the lost time. True: it is open again and is made again, or its lease was
/// lost.</param>
public sealed record UnreferencedObject(MediaKey Key, long Bytes, DateTimeOffset StoredAt, bool IsSessionKnown);

/// <summary>What was found after a restore.</summary>
/// <param name="Advanced">Open sessions whose fencing token and version were advanced.</param>
/// <param name="Work">Open sessions.</param>
public sealed record RestoreReport(long Advanced, IReadOnlyList<RestoredWork> Work);

/// <summary>
/// What is done once after the database was restored to a point in time, before any service runs on it. Store, queue, providers and clients
/// are later than the database then: numbers that were given out in the lost time must not be given out again, and outputs that were
/// made in it are in the store, paid for, and known to nobody.
/// </summary>
public static class RestoreReconciliation
{
    /// <summary>Far more than any session has had claims or changes, or a lost hour rows.</summary>
    public const long Advance = 100_000_000;

    private const int PageSize = 1_000;

    /// <summary>The logins of services that are connected to the database: it must be nobody's but the owner's now.</summary>
    public static async Task<IReadOnlyList<string>> ConnectedServicesAsync(NpgsqlDataSource owner, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(owner);
        await using var command = owner.CreateCommand(
            "SELECT DISTINCT usename FROM pg_stat_activity WHERE datname = current_database() AND usename = ANY ($1) ORDER BY usename");
        command.Parameters.AddWithValue(ServiceLogins.All.ToArray());
        await using var reader = await command.ExecuteReaderAsync(ct);
        var names = new List<string>();
        while (await reader.ReadAsync(ct)) names.Add(reader.GetString(0));
        return names;
    }

    /// <summary>May be repeated: numbers are advanced once more, which harms nothing.</summary>
    /// <param name="owner">The login that owns the schema.</param>
    /// <param name="ct">Stops.</param>
    public static async Task<RestoreReport> RunAsync(NpgsqlDataSource owner, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(owner);
        long advanced;
        await using (var command = owner.CreateCommand(Sql.Text("Maintenance/advance_restored.sql")))
        {
            command.Parameters.AddWithValue(Advance);
            advanced = (long)(await command.ExecuteScalarAsync(ct))!;
        }

        return new RestoreReport(advanced, await ReadWorkAsync(owner, ct));
    }

    private static async Task<IReadOnlyList<RestoredWork>> ReadWorkAsync(NpgsqlDataSource owner, CancellationToken ct)
    {
        await using var command = owner.CreateCommand(Sql.Text("Maintenance/restored_work.sql"));
        await using var reader = await command.ExecuteReaderAsync(ct);
        var work = new List<RestoredWork>();
        while (await reader.ReadAsync(ct)) work.Add(new RestoredWork(reader.GetString(0), reader.GetInt64(1), reader.GetInt64(2)));
        return work;
    }

    /// <summary>Outputs without a row, in the order of their names: those of a session follow one another. A page at a time is in memory.</summary>
    /// <param name="owner">The login that owns the schema.</param>
    /// <param name="store">Walked through from end to end.</param>
    /// <param name="ct">Stops.</param>
    /// <exception cref="MediaException">The store does not work.</exception>
    public static async IAsyncEnumerable<UnreferencedObject> FindUnreferencedAsync(
        NpgsqlDataSource owner, IMediaStore store, [EnumeratorCancellation] CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(owner);
        ArgumentNullException.ThrowIfNull(store);
        var position = "";
        do
        {
            var page = await store.ListPageAsync(position, PageSize, ct);
            position = page.Position ?? "";
            var outputs = page.Objects.Where(o => o.Key.Role == MediaRole.Output).ToDictionary(o => o.Key.ToString(), StringComparer.Ordinal);
            if (outputs.Count == 0) continue;
            await using var command = owner.CreateCommand(Sql.Text("Maintenance/unreferenced_objects.sql"));
            command.Parameters.AddWithValue(outputs.Keys.ToArray());
            command.Parameters.AddWithValue(outputs.Values.Select(o => o.Key.SessionId!.Value).ToArray());
            await using var reader = await command.ExecuteReaderAsync(ct);
            while (await reader.ReadAsync(ct))
            {
                var (key, bytes, storedAt) = outputs[reader.GetString(0)];
                yield return new UnreferencedObject(key, bytes, storedAt, reader.GetBoolean(1));
            }
        }
        while (position.Length > 0);
    }
}
