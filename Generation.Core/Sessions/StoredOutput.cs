using Generation.Core.Database;
using Generation.Core.Media;
using Npgsql;

namespace Generation.Core.Sessions;

/// <summary>An output whose object is in the store, and whose row is to be written.</summary>
/// <param name="Session">As claimed.</param>
/// <param name="MediaId">Of the row.</param>
/// <param name="Ordinal">From 0.</param>
/// <param name="Media">The object.</param>
/// <param name="Usage">What the provider counted for this output, as JSON, if it says so: the session's price may go by it.</param>
/// <param name="Poster">The object of its still picture, if there is one.</param>
public sealed record StoredOutput(ClaimedSession Session, Guid MediaId, int Ordinal, StoredMedia Media, string? Usage, MediaKey? Poster)
{
    /// <summary>
    /// <c>store_media.sql</c>; the sessions must be locked. It answers which of them (from 1), the session's new version, and whether the ordinal
    /// had another object.
    /// </summary>
    /// <param name="outputs">At most one an ordinal.</param>
    /// <param name="areLast">Their sessions end with the next statement, which moves the version on for both.</param>
    internal static NpgsqlBatchCommand Insert(IReadOnlyList<StoredOutput> outputs, bool areLast)
    {
        var rows = outputs.Select((output, i) => new
        {
            N = i + 1,
            output.Session.SessionId,
            output.Session.LeaseToken,
            output.MediaId,
            output.Ordinal,
            Kind = output.Session.Kind.Name(),
            ObjectKey = output.Media.Key.ToString(),
            output.Media.ContentType,
            output.Media.Bytes,
            Sha256 = JsonRows.Bytes(output.Media.Sha256),
            output.Media.Width,
            output.Media.Height,
            output.Media.DurationSeconds,
            output.Usage,
            PosterKey = output.Poster?.ToString(),
        });
        return new NpgsqlBatchCommand(Sql.Text("Sessions/store_media.sql"))
        {
            Parameters =
            {
                JsonRows.Parameter(rows),
                new() { Value = areLast },
            },
        };
    }
}
