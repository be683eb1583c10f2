using Npgsql;

namespace Generation.Core.Database;

/// <summary>
/// Planner settings for a transaction of index look-ups: the first command of a batch, <c>planner_settings.sql</c>. Its result is empty.
/// </summary>
internal static class PlannerSettings
{
    /// <summary>How long a statement waits for a locked row where it says nothing else; the services' connections have the same.</summary>
    public static readonly TimeSpan DefaultLockTimeout = TimeSpan.FromSeconds(1);

    /// <param name="lockTimeout">How long to wait for a locked row; <see cref="DefaultLockTimeout"/> without it.</param>
    public static NpgsqlBatchCommand Command(TimeSpan? lockTimeout = null) => new(Sql.Text("Database/planner_settings.sql"))
    {
        Parameters = { new() { Value = $"{(lockTimeout ?? DefaultLockTimeout).TotalMilliseconds:0}ms" } },
    };
}
