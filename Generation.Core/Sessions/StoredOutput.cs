using Generation.Core.Database;
using Generation.Core.Media;
using Npgsql;
using NpgsqlTypes;

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
        T[] Column<T>(Func<StoredOutput, T> value) => [.. outputs.Select(value)];
        return new NpgsqlBatchCommand(Sql.Text("Sessions/store_media.sql"))
        {
            Parameters =
            {
                new() { Value = Column(o => o.Session.SessionId) },
                new() { Value = Column(o => o.Session.LeaseToken) },
                new() { Value = Column(o => o.MediaId) },
                new() { Value = Column(o => o.Ordinal) },
                new() { Value = Column(o => o.Session.Kind) },
                new() { Value = Column(o => o.Media.Key.ToString()) },
                new() { Value = Column(o => o.Media.ContentType) },
                new() { Value = Column(o => o.Media.Bytes) },
                new() { Value = Column(o => o.Media.Sha256) },
                new() { Value = Column(o => o.Media.Width), NpgsqlDbType = NpgsqlDbType.Array | NpgsqlDbType.Integer },
                new() { Value = Column(o => o.Media.Height), NpgsqlDbType = NpgsqlDbType.Array | NpgsqlDbType.Integer },
                new() { Value = Column(o => o.Media.DurationSeconds), NpgsqlDbType = NpgsqlDbType.Array | NpgsqlDbType.Double },
                new() { Value = Column(o => o.Usage), NpgsqlDbType = NpgsqlDbType.Array | NpgsqlDbType.Jsonb },
                new() { Value = Column(o => o.Poster?.ToString()), NpgsqlDbType = NpgsqlDbType.Array | NpgsqlDbType.Text },
                new() { Value = areLast },
            },
        };
    }
}
