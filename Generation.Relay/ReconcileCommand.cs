using System.Globalization;
using Generation.Core.Credits;
using Generation.Core.Maintenance;
using Generation.Core.Media;
using Generation.ServiceDefaults;
using Microsoft.Extensions.Options;
using Npgsql;

namespace Generation.Relay;

/// <summary>
/// <c>Generation.Relay reconcile [FILE]</c>: after a restore to a point in time and before the services start. Advances the numbers that must
/// not be given out twice, says what will become of the work that is open, audits the ledger, and writes to FILE which outputs are in the
/// store without a row (CSV). docs/operations.md has the whole procedure.
/// </summary>
public static class ReconcileCommand
{
    public const int Done = 0;
    public const int Differences = 1;
    public const int CouldNotRun = 2;

    private static readonly CultureInfo Invariant = CultureInfo.InvariantCulture;

    /// <param name="services">The relay's.</param>
    /// <param name="arguments">Those after the command's name.</param>
    /// <param name="output">Gets the report.</param>
    /// <param name="errors">Gets what went wrong.</param>
    /// <returns>The exit code: 0 done, 1 the ledger has differences, 2 it could not run.</returns>
    public static async Task<int> RunAsync(IServiceProvider services, IReadOnlyList<string> arguments, TextWriter output, TextWriter errors)
    {
        if (arguments.Count > 1)
        {
            await errors.WriteLineAsync("Usage: Generation.Relay reconcile [FILE]");
            return CouldNotRun;
        }

        try
        {
            var connectionString = DatabaseConnections.ReadOwner(
                services.GetRequiredService<IConfiguration>(), services.GetRequiredService<IHostEnvironment>())
                ?? throw new InvalidOperationException(
                    $"ConnectionStrings:{DatabaseConnections.OwnerConnectionName} is not set; it is the login that owns the schema");
            await using var owner = NpgsqlDataSource.Create(new NpgsqlConnectionStringBuilder(connectionString) { Pooling = false });
            if (await RestoreReconciliation.ConnectedServicesAsync(owner, CancellationToken.None) is { Count: > 0 } connected)
            {
                throw new InvalidOperationException($"{string.Join(", ", connected)} still use the database. Stop all services first");
            }

            // Opened before anything is changed: it may not be writable.
            await using var list = arguments is [var path] ? new StreamWriter(path) : StreamWriter.Null;
            await output.WriteLineAsync(Text(await RestoreReconciliation.RunAsync(owner, CancellationToken.None)));
            await output.WriteLineAsync(await ListAsync(owner, services.GetRequiredService<IMediaStore>(), list));
            await output.WriteLineAsync(arguments is [var file] ? $"They are listed in {file}." : "Name a FILE to have them listed.");
            var audit = await new LedgerAudit(owner, services.GetRequiredService<AuditOptions>(), services.GetRequiredService<TimeProvider>())
                .RunAsync(CancellationToken.None);
            await output.WriteLineAsync(audit.Clean
                ? "The ledger is clean."
                : $"The ledger has {audit.Totals.Values.Sum()} differences: `Generation.Relay audit` names them. The backup is not one of a single "
                    + "moment.");
            return audit.Clean ? Done : Differences;
        }
        catch (Exception e) when (e is NpgsqlException or TimeoutException or InvalidOperationException or OptionsValidationException
            or MediaException or IOException or UnauthorizedAccessException)
        {
            await errors.WriteLineAsync($"The restored database could not be reconciled: {e.Message.TrimEnd('.')}.");
            return CouldNotRun;
        }
    }

    private static string Text(RestoreReport report)
    {
        var lines = new List<string> { string.Create(Invariant,
            $"Advanced the lease tokens and versions of {report.Advanced:N0} open sessions, and every sequence, by "
            + $"{RestoreReconciliation.Advance:N0}.") };
        foreach (var work in report.Work.OrderBy(work => work.Fate, StringComparer.Ordinal))
        {
            lines.Add(string.Create(Invariant, $"  {work.Sessions,8:N0}  {work.HeldCredits,12:N0} credits held  {Meaning(work.Fate)}"));
        }

        return string.Join(Environment.NewLine, lines);
    }

    private static string Meaning(string fate) => fate switch
    {
        "unanswered" => "with a paid call that was not answered: will end as outcome_unknown, the hold released",
        "asked" => "with a task at the provider: will be asked for its result",
        "answered" => "answered: their files will be fetched",
        _ => "not called, as far as the backup knows: will be called, and paid twice if they had been called since",
    };

    /// <summary>Writes the outputs without a row, one a line, as they are found, and counts them in a sentence.</summary>
    private static async Task<string> ListAsync(NpgsqlDataSource owner, IMediaStore store, TextWriter list)
    {
        var (lost, sessions, known) = (0L, 0L, 0L);
        Guid? before = null;
        await list.WriteLineAsync("session_id,user_id,session,stored_at,bytes,object_key");
        await foreach (var found in RestoreReconciliation.FindUnreferencedAsync(owner, store, CancellationToken.None))
        {
            if (found.IsSessionKnown)
            {
                known++;
            }
            else
            {
                lost++;
                sessions += found.Key.SessionId == before ? 0 : 1; // those of a session follow one another
                before = found.Key.SessionId;
            }

            await list.WriteLineAsync(string.Create(Invariant,
                $"{found.Key.SessionId},{found.Key.UserId},{(found.IsSessionKnown ? "known" : "lost")},"
                + $"{found.StoredAt.UtcDateTime:yyyy-MM-ddTHH:mm:ssZ},{found.Bytes},{found.Key}"));
        }

        return string.Create(Invariant,
            $"The store has {lost + known:N0} outputs without a row: {lost:N0} of {sessions:N0} sessions that were accepted after the point in time, "
            + $"{known:N0} of sessions that are here.");
    }
}
