using Npgsql;

namespace Generation.Core.Database;

/// <summary>
/// Finds the result of a statement of a batch by its position: a statement without rows to answer with, such as an INSERT, has none.
/// </summary>
internal static class ResultSets
{
    /// <summary>Moves past the results of statements that lock or set something.</summary>
    public static async Task SkipResultsAsync(this NpgsqlDataReader reader, int count, CancellationToken ct = default)
    {
        for (var skipped = 0; skipped < count; skipped++)
        {
            if (!await reader.NextResultAsync(ct))
            {
                throw new InvalidOperationException($"The batch has {skipped + 1} results where more than {count} were expected.");
            }
        }
    }

    /// <summary>Reads to the end: what fails in a later statement, or at the commit, is thrown here.</summary>
    public static async Task FinishAsync(this NpgsqlDataReader reader, CancellationToken ct = default)
    {
        while (await reader.NextResultAsync(ct))
        {
        }
    }
}
