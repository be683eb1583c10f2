using System.Text.Json;
using Npgsql;

namespace Generation.Core.Sessions;

/// <summary>Columns of a row by name. A statement may then reorder its columns, and a missing one is an error that names it.</summary>
internal static class Columns
{
    public static T Get<T>(this NpgsqlDataReader reader, string column) => reader.GetFieldValue<T>(reader.GetOrdinal(column));

    public static bool IsNull(this NpgsqlDataReader reader, string column) => reader.IsDBNull(reader.GetOrdinal(column));

    /// <summary>A nullable column of a value type.</summary>
    public static T? GetNullable<T>(this NpgsqlDataReader reader, string column)
        where T : struct => reader.IsNull(column) ? null : reader.Get<T>(column);

    /// <summary>A nullable text column.</summary>
    public static string? GetText(this NpgsqlDataReader reader, string column) => reader.IsNull(column) ? null : reader.Get<string>(column);

    /// <summary>A nullable JSON column.</summary>
    public static JsonElement? GetJson(this NpgsqlDataReader reader, string column) =>
        reader.GetText(column) is { } json ? JsonSerializer.Deserialize<JsonElement>(json) : null;
}
