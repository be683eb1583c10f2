using System.Globalization;
using Generation.Core.Credits;
using Microsoft.Extensions.Options;
using Npgsql;

namespace Generation.Relay;

/// <summary>
/// <c>Generation.Relay audit</c>: audits the ledger once, prints what it found, and ends. For a terminal, a cron job, a deployment's last step.
/// </summary>
public static class AuditCommand
{
    public const int Clean = 0;
    public const int Differences = 1;
    public const int CouldNotRun = 2;

    private static readonly CultureInfo Invariant = CultureInfo.InvariantCulture;

    /// <returns>The exit code: 0 clean, 1 differences, 2 when the audit could not run.</returns>
    public static async Task<int> RunAsync(IServiceProvider services, TextWriter output)
    {
        var isLookedAt = !Console.IsOutputRedirected && string.IsNullOrEmpty(Environment.GetEnvironmentVariable("NO_COLOR"));
        using var interrupted = new CancellationTokenSource();
        ConsoleCancelEventHandler interrupt = (_, e) =>
        {
            e.Cancel = true; // the database is told to stop before we do
            interrupted.Cancel();
        };
        Console.CancelKeyPress += interrupt;
        try
        {
            var report = await services.GetRequiredService<LedgerAudit>().RunAsync(interrupted.Token);
            await output.WriteLineAsync(Text(report, isLookedAt));
            return report.Clean ? Clean : Differences;
        }
        catch (Exception e) when (e is NpgsqlException or TimeoutException or OperationCanceledException or OptionsValidationException
            or InvalidOperationException)
        {
            await output.WriteLineAsync(e switch
            {
                OperationCanceledException => "The audit was interrupted.",
                PostgresException
                {
                    SqlState: PostgresErrorCodes.UndefinedTable or PostgresErrorCodes.UndefinedColumn
                    or PostgresErrorCodes.InvalidParameterValue
                } =>
                    $"The audit could not run: the database does not have this version's schema ({e.Message}). Run `Generation.Relay migrate` first.",
                NpgsqlException => $"The audit could not run: {e.Message}. The database is the one at ConnectionStrings:generation.",
                _ => $"The audit could not run: {e.Message}",
            });
            return CouldNotRun;
        }
        finally
        {
            Console.CancelKeyPress -= interrupt;
        }
    }

    private static string Text(AuditReport report, bool isColoured)
    {
        var rows = report.Checked;
        var lines = new List<string>
        {
            string.Create(Invariant, $"Checked {LedgerAudit.Rules.Count} rules over {rows.Users:N0} users, {rows.Sessions:N0} sessions, "
                + $"{rows.Reservations:N0} holds, {rows.Transactions:N0} ledger rows and {rows.Media:N0} outputs in {report.Seconds:N1} s."),
        };
        foreach (var broken in report.Differences.GroupBy(difference => difference.Rule))
        {
            lines.Add("");
            lines.Add(string.Create(Invariant, $"{Colour("1;31", broken.Key)}  {report.Totals[broken.Key]:N0}  {broken.First().Says}"));
            lines.AddRange(broken.Select(d => $"  {d.IdKind} {d.Id}  expected {d.Expected}  found {d.Actual}"));
            if (report.Totals[broken.Key] > LedgerAudit.MaxDifferences)
            {
                lines.Add(string.Create(Invariant, $"  … and {report.Totals[broken.Key] - LedgerAudit.MaxDifferences:N0} more"));
            }
        }

        lines.Add(report.Clean ? Colour("1;32", "The ledger is clean.")
            : string.Create(Invariant, $"\n{Colour("1;31", "The ledger has differences:")} {report.Totals.Values.Sum():N0}."));
        return string.Join(Environment.NewLine, lines);

        string Colour(string code, string text) => isColoured ? $"\e[{code}m{text}\e[0m" : text;
    }
}
