using Generation.Core.Database;
using Generation.Core.Media;
using Npgsql;

namespace Generation.Core.Maintenance;

/// <summary>What one pass over a part of the store did.</summary>
/// <param name="Removed">Objects that are gone now.</param>
/// <param name="HasMore">There is more to look at right now.</param>
/// <param name="Position">Where the next pass begins.</param>
public readonly record struct CollectionPass(int Removed, bool HasMore, string Position);

/// <summary>
/// Objects that no row refers to: what was written under a lease that was lost, previews of outputs that never came, what a crash left
/// between an object and its row. They are found in two ways, because a listing costs money and time and there are millions of objects:
/// soon, by listing only the sessions that can have left something; and some day, by a slow walk over everything. Neither removes an
/// object that a row names (<c>orphaned_objects.sql</c>); a crash in the middle repeats a page.
/// </summary>
public sealed class OrphanedObjectCollector(NpgsqlDataSource database, IMediaStore store, TimeProvider time)
{
    /// <summary>Sessions that one pass lists; a request to the store each.</summary>
    public const int SessionBatch = 100;

    /// <summary>Names that one step of the walk reads; one request to the store.</summary>
    public const int PageBatch = 1_000;

    /// <summary>How many requests to the store are under way at once.</summary>
    private const int Concurrency = 8;

    /// <summary>
    /// Looks at the objects of sessions that ended longer than <paramref name="age"/> ago, had more than one holder or failed, and come after the
    /// position.
    /// </summary>
    /// <exception cref="MediaException">The store does not work; the pass is to be repeated from the same position.</exception>
    public async Task<CollectionPass> CollectEndedSessionsAsync(string position, TimeSpan age, CancellationToken ct)
    {
        var prefixes = new List<string>();
        await using (var command = database.CreateCommand(Sql.Text("Maintenance/ended_sessions.sql")))
        {
            command.Parameters.AddWithValue(age);
            command.Parameters.AddWithValue(position);
            command.Parameters.AddWithValue(SessionBatch);
            await using var reader = await command.ExecuteReaderAsync(ct);
            while (await reader.ReadAsync(ct))
            {
                prefixes.Add(MediaKey.SessionPrefix(reader.GetGuid(1), reader.GetFieldValue<DateTimeOffset>(2), reader.GetGuid(0)));
                position = reader.GetString(3);
            }
        }

        var objects = new List<StoredObject>();
        await Parallel.ForEachAsync(prefixes, Limits(ct), async (prefix, token) =>
        {
            await foreach (var found in store.ListAsync(prefix, token))
            {
                lock (objects)
                {
                    objects.Add(found);
                }
            }
        });
        return new(await RemoveAsync(objects, age, unknownAge: null, ct), prefixes.Count == SessionBatch, position);
    }

    /// <summary>One step of the walk over everything that is stored. After the last one it begins again, at its next turn.</summary>
    /// <param name="position">Where the last step stopped.</param>
    /// <param name="age">How long a session must have been over.</param>
    /// <param name="unknownAge">
    /// How old an object must be whose session or upload is not in the database; null leaves all of these alone. They may be the media of
    /// another database, or of a backup that is being restored.
    /// </param>
    /// <param name="ct">Stops it.</param>
    /// <exception cref="MediaException">As above.</exception>
    public async Task<CollectionPass> ScanStoreAsync(string position, TimeSpan age, TimeSpan? unknownAge, CancellationToken ct)
    {
        var page = await store.ListPageAsync(position, PageBatch, ct);
        return new(await RemoveAsync(page.Objects, age, unknownAge, ct), HasMore: false, page.Position ?? "");
    }

    private async Task<int> RemoveAsync(IReadOnlyList<StoredObject> objects, TimeSpan age, TimeSpan? unknownAge, CancellationToken ct)
    {
        var owned = objects.Where(o => !o.Key.IsSample).ToList(); // samples belong to nobody, and stay
        if (owned.Count == 0)
        {
            return 0;
        }

        var oldSince = unknownAge is { } old ? time.GetUtcNow() - old : DateTimeOffset.MinValue;
        var collector = new List<MediaKey>();
        await using (var command = database.CreateCommand(Sql.Text("Maintenance/orphaned_objects.sql")))
        {
            command.Parameters.AddWithValue(owned.ConvertAll(o => o.Key.ToString()).ToArray());
            command.Parameters.AddWithValue(owned.ConvertAll(o => o.Key.SessionId!.Value).ToArray());
            command.Parameters.AddWithValue(owned.ConvertAll(o => o.Key.Role == MediaRole.Upload).ToArray());
            command.Parameters.AddWithValue(owned.ConvertAll(o => o.LastModified < oldSince).ToArray());
            command.Parameters.AddWithValue(age);
            await using var reader = await command.ExecuteReaderAsync(ct);
            while (await reader.ReadAsync(ct))
            {
                collector.Add(MediaKey.Parse(reader.GetString(0)));
            }
        }

        await Parallel.ForEachAsync(collector, Limits(ct), async (key, token) => await store.DeleteAsync(key, token));
        return collector.Count;
    }

    private static ParallelOptions Limits(CancellationToken ct) => new() { MaxDegreeOfParallelism = Concurrency, CancellationToken = ct };
}
