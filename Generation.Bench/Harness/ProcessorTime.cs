using Npgsql;

namespace Generation.Bench.Harness;

/// <summary>
/// Seconds of processor time that a process and its children have used (<c>/proc</c>). On a machine that others use too it says what
/// the clock cannot: what a request costs.
/// </summary>
internal sealed class ProcessorTime(int processId)
{
    private const double TicksPerSecond = 100; // USER_HZ, the same on every Linux

    /// <summary>The database server's, with all its backends.</summary>
    public static async Task<ProcessorTime> OfPostgresAsync(NpgsqlDataSource database, CancellationToken ct)
    {
        await using var command = database.CreateCommand("SELECT pg_backend_pid()");
        return new ProcessorTime((int)Field((int)(await command.ExecuteScalarAsync(ct))!, 4)!.Value);
    }

    /// <summary>So far, those children included that run or have been waited for.</summary>
    public double Seconds()
    {
        var ticks = Enumerable.Range(14, 4).Sum(field => Field(processId, field) ?? 0); // own and of ended children, user and system
        foreach (var folder in Directory.EnumerateDirectories("/proc"))
        {
            if (int.TryParse(Path.GetFileName(folder), out var other) && Field(other, 4) == processId)
            {
                ticks += (Field(other, 14) ?? 0)
                + (Field(other, 15) ?? 0);
            }
        }

        return ticks / TicksPerSecond;
    }

    /// <summary>A field of <c>/proc/…/stat</c> by its number in proc(5), above 2; null when the process has just ended.</summary>
    private static long? Field(int processId, int number)
    {
        try
        {
            var stat = File.ReadAllText($"/proc/{processId}/stat");
            return long.Parse(stat[(stat.LastIndexOf(')') + 2)..].Split(' ')[number - 3]);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
