using Npgsql;

namespace Generation.Core.Database;

/// <summary>
/// Planner settings for a transaction of index look-ups: the first command of a batch, <c>planner_settings.sql</c>. Its result is empty.
/// </summary>
internal static class PlannerSettings
{
    /// <param name="lockTimeout">How long to wait for a locked row; null waits without a limit.</param>
    public static NpgsqlBatchCommand Command(TimeSpan? lockTimeout = null) => new(Sql.Text("Database/planner_settings.sql"))
    {
        Parameters = { new() { Value = $"{(lockTimeout ?? TimeSpan.Zero).TotalMilliseconds:0}ms" } },
    };
}
