using System.Text.Encodings.Web;
using System.Text.Json;
using Npgsql;
using NpgsqlTypes;

namespace Generation.Core.Database;

/// <summary>
/// The rows of a batch as one parameter, which the statement reads with <c>json_to_recordset</c>: columns are matched by name (snake case),
/// where parallel arrays are matched by position. A composite type would do the same, but a connection that was opened before the
/// migration that creates the type cannot write it (docs/decisions/0018).
/// <para>
/// JSON values are strings here and are cast by the statement: they are data, and cannot reach into another row.
/// </para>
/// </summary>
internal static class JsonRows
{
    private static readonly JsonSerializerOptions Options = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping, // for a database, not for a page
    };

    public static NpgsqlParameter Parameter<TRow>(IEnumerable<TRow> rows) =>
        new() { Value = JsonSerializer.Serialize(rows, Options), NpgsqlDbType = NpgsqlDbType.Json };

    /// <summary>As the input of <c>bytea</c>.</summary>
    public static string Bytes(byte[] value) => "\\x" + Convert.ToHexString(value);
}
