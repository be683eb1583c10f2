using Npgsql;

namespace Generation.Core.Database;

/// <summary>What a batch that works on the rows of a list begins with: <c>by_index.sql</c>. Its result has seven columns and no meaning.</summary>
internal static class ByIndex
{
    /// <param name="lockTimeout">Null waits for ever.</param>
    public static NpgsqlBatchCommand Prelude(TimeSpan? lockTimeout = null) => new(Sql.Text("Database/by_index.sql"))
    {
        Parameters = { new() { Value = $"{(lockTimeout ?? TimeSpan.Zero).TotalMilliseconds:0}ms" } },
    };
}
