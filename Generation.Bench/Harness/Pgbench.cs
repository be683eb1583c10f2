using System.Globalization;
using Generation.LocalServers;
using Npgsql;

namespace Generation.Bench.Harness;

/// <summary>What pgbench has counted.</summary>
/// <param name="Transactions">Committed.</param>
/// <param name="PerSecond">Without the time to connect.</param>
internal readonly record struct PgbenchRun(long Transactions, double PerSecond);

/// <summary>
/// PostgreSQL's own benchmark, on the server that is measured: one script, prepared statements, as the role that the services act as.
/// Debian has it in the package of the server, so who can run Postgres has it.
/// </summary>
internal static class Pgbench
{
    private static readonly Lazy<string> Program = new(() =>
        Directory.Exists("/usr/lib/postgresql")
        && Directory.GetDirectories("/usr/lib/postgresql").Select(version => Path.Combine(version, "bin", "pgbench")).Where(File.Exists)
            .Max(StringComparer.Ordinal) is { } debian
            ? debian
            : Programs.Find("pgbench", "/opt/homebrew/bin", "/usr/local/bin")
                ?? throw new StartFailure("There is no pgbench. It comes with the server: sudo apt-get install postgresql"));

    /// <param name="scriptPath">Below the repository's root.</param>
    /// <param name="database">As a superuser; the script runs as the services' role all the same.</param>
    /// <param name="clients">Connections, each with one statement under way.</param>
    /// <param name="duration">In whole seconds.</param>
    /// <param name="ct">Stops the wait, and pgbench.</param>
    public static async Task<PgbenchRun> RunAsync(string scriptPath, string database, int clients, TimeSpan duration, CancellationToken ct)
    {
        var server = new NpgsqlConnectionStringBuilder(database);
        var command = new ChildCommand(
            Program.Value, "--no-vacuum", "-M", "prepared", "-c", $"{clients}", "-j", $"{Math.Min(clients, 2)}", "-T", $"{duration.TotalSeconds:0}",
            "-f", Path.Combine(Repository.Root, scriptPath), "-h", server.Host!, "-p", $"{server.Port}", "-U", server.Username!, server.Database!)
        {
            Environment = new Dictionary<string, string?>(StringComparer.Ordinal)
            {
                ["PGPASSWORD"] = server.Password,
                ["PGOPTIONS"] =
                "-c role=generation_service"
            },
        };
        var (exitCode, output) = await ChildProcess.RunAsync(command, ct);
        if (exitCode != 0 || Number("number of failed transactions: ") != 0)
        {
            throw new StartFailure(
            $"pgbench failed with exit code {exitCode}:\n{output}");
        }

        return new PgbenchRun((long)Number("number of transactions actually processed: "), Number("tps = "));

        double Number(string before)
        {
            var at = output.IndexOf(before, StringComparison.Ordinal);
            if (at < 0)
            {
                throw new StartFailure($"pgbench does not say \"{before.Trim()}\":\n{output}");
            }

            var rest = output[(at + before.Length)..];
            return double.Parse(rest[..rest.IndexOfAny([' ', '\n', '/'])], CultureInfo.InvariantCulture);
        }
    }
}
