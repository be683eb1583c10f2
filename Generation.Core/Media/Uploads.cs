using System.Text.Json.Nodes;
using Npgsql;

namespace Generation.Core.Media;

/// <summary>A user's reference picture.</summary>
public sealed record Upload(Guid UploadId, Guid UserId, StoredMedia Media);

/// <summary>Reference pictures that users have sent, named in parameters as <c>upload:&lt;id&gt;</c>, and of use to their owner alone.</summary>
public sealed class Uploads(NpgsqlDataSource database, IMediaStore store)
{
    /// <summary>What a parameter begins with that names an upload.</summary>
    public const string Scheme = "upload:";

    /// <summary>A user has at most this many at a time.</summary>
    public const int MaxPerUser = 1_000;

    /// <summary>Rows that one sweep removes at most.</summary>
    public const int Batch = 100;

    /// <summary>How long an upload is kept.</summary>
    public static readonly TimeSpan Lifetime = TimeSpan.FromDays(7);

    /// <summary>The upload that a parameter's value names; null when it names none.</summary>
    public static Guid? IdIn(string? value) =>
        value is not null && value.StartsWith(Scheme, StringComparison.Ordinal) && Guid.TryParseExact(value.AsSpan(Scheme.Length), "D", out var id)
            ? id : null;

    /// <summary>All uploads that some parameters name, by parameter.</summary>
    public static IEnumerable<(string Parameter, Guid UploadId)> In(JsonObject settings) =>
        from parameter in settings
        from value in parameter.Value is JsonArray list ? list : [parameter.Value?.DeepClone()]
        let id = value is JsonValue text && text.TryGetValue<string>(out var name) ? IdIn(name) : null
        where id is not null
        select (parameter.Key, id.Value);

    /// <summary>False when the user has too many already.</summary>
    public async Task<bool> HasRoomAsync(Guid userId, CancellationToken ct)
    {
        await using var command = database.CreateCommand("SELECT count(*) < $2 FROM (SELECT FROM uploads WHERE user_id = $1 LIMIT $2) AS u");
        command.Parameters.AddWithValue(userId);
        command.Parameters.AddWithValue((long)MaxPerUser);
        return await command.ExecuteScalarAsync(ct) is true;
    }

    public async Task AddAsync(Upload upload, CancellationToken ct)
    {
        var media = upload.Media;
        await using var command = database.CreateCommand(
            "INSERT INTO uploads (upload_id, user_id, object_key, content_type, bytes, sha256, width, height) VALUES ($1, $2, $3, $4, $5, $6, $7, "
                + "$8)");
        command.Parameters.AddWithValue(upload.UploadId);
        command.Parameters.AddWithValue(upload.UserId);
        command.Parameters.AddWithValue(media.Key.ToString());
        command.Parameters.AddWithValue(media.ContentType);
        command.Parameters.AddWithValue(media.Bytes);
        command.Parameters.AddWithValue(media.Sha256);
        command.Parameters.AddWithValue((object?)media.Width ?? DBNull.Value);
        command.Parameters.AddWithValue((object?)media.Height ?? DBNull.Value);
        await command.ExecuteNonQueryAsync(ct);
    }

    /// <summary>Those of the uploads that the user has, with their objects.</summary>
    public async Task<Dictionary<Guid, MediaKey>> FindAsync(Guid userId, IEnumerable<Guid> uploadIds, CancellationToken ct)
    {
        await using var command = database.CreateCommand(
            "SELECT upload_id, object_key FROM uploads WHERE user_id = $1 AND upload_id = ANY ($2) AND created_at > now() - $3");
        command.Parameters.AddWithValue(userId);
        command.Parameters.AddWithValue(uploadIds.Distinct().ToArray());
        command.Parameters.AddWithValue(Lifetime);
        var found = new Dictionary<Guid, MediaKey>();
        await using var reader = await command.ExecuteReaderAsync(ct);
        while (await reader.ReadAsync(ct))
        {
            found[reader.GetGuid(0)] = MediaKey.Parse(reader.GetString(1));
        }

        return found;
    }

    /// <summary>
    /// Removes uploads a day past their time (a session that was accepted with them lives no longer): the object first, so that what is left over is
    /// a row that is found again.
    /// </summary>
    public async Task<int> SweepAsync(CancellationToken ct)
    {
        var old = new List<(Guid Id, MediaKey Key)>();
        await using (var command = database.CreateCommand(
            "SELECT upload_id, object_key FROM uploads WHERE created_at < now() - $1 - interval '1 day' ORDER BY created_at LIMIT $2"))
        {
            command.Parameters.AddWithValue(Lifetime);
            command.Parameters.AddWithValue(Batch);
            await using var reader = await command.ExecuteReaderAsync(ct);
            while (await reader.ReadAsync(ct))
            {
                old.Add((reader.GetGuid(0), MediaKey.Parse(reader.GetString(1))));
            }
        }

        foreach (var (_, key) in old)
        {
            await store.DeleteAsync(key, ct);
        }

        if (old.Count > 0)
        {
            await using var remove = database.CreateCommand("DELETE FROM uploads WHERE upload_id = ANY ($1)");
            remove.Parameters.AddWithValue(old.ConvertAll(o => o.Id).ToArray());
            await remove.ExecuteNonQueryAsync(ct);
        }

        return old.Count;
    }
}
