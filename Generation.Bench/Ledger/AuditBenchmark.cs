using System.Diagnostics;
using Generation.Bench.Harness;
using Generation.Core.Credits;
using Npgsql;

namespace Generation.Bench.Ledger;

/// <summary>
/// The audit of a million finished sessions, beside the time in which the same server reads the same tables once from end to end: no audit
/// of all rows can be quicker than that.
/// </summary>
internal static class AuditBenchmark
{
    public static readonly Benchmark Entry = new("audit", "The ledger of a million sessions is audited in under 30 seconds.", RunAsync);

    private const int Users = 1_000;
    private const int Sessions = 1_000_000;
    private const int Rounds = 3;
    private const double MaxSeconds = 30;

    private static readonly string[] Tables =
        ["generation_sessions", "credit_reservations", "credit_reservation_draws", "credit_transactions", "credit_lots", "credit_accounts", "media"];

    private static async Task RunAsync(Report report, CancellationToken ct)
    {
        using var folder = await RunFolder.CreateAsync(ct);
        Report.Say("starting Postgres");
        await using var system = await BenchSystem.StartAsync(folder, BenchScope.Submits, new Dictionary<string, string>(StringComparer.Ordinal), ct);
        await system.Api.DisposeAsync();
        await system.Relay.DisposeAsync(); // it has migrated; now only the audit works
        await using var owner = NpgsqlDataSource.Create(system.OwnerConnectionString + ";Command Timeout=600");
        await Fill.UsersAsync(owner, Users, ct);
        await Fill.SessionsAsync(owner, Users, Sessions, ct);

        // As ServiceDefaults/DatabaseConnections.cs has it.
        await using var service = NpgsqlDataSource.Create(system.OwnerConnectionString
            + ";Options=-c role=generation_service;No Reset On Close=true");
        var audit = new LedgerAudit(service, new AuditOptions(), TimeProvider.System);
        var (audits, scans) = (new List<double>(), new List<double>());
        for (var round = 1; round <= Rounds; round++)
        {
            Report.Say($"round {round} of {Rounds}: audit, and a plain reading of the same tables");
            var done = await audit.RunAsync(ct);
            audits.Add(done.Seconds);
            report.Add("audit.sessions", done.Checked.Sessions, "rows");
            report.Add("audit.transactions", done.Checked.Transactions, "rows");
            report.Check(done.Clean, $"The audit of clean books found {done.Differences.Count} differences: "
                + $"{string.Join("; ", done.Differences.Take(3))}");

            var started = Stopwatch.GetTimestamp();
            foreach (var table in Tables)
            {
                await using var scan = owner.CreateCommand($"SELECT count(t), max(length(t::text)) FROM {table} AS t");
                await scan.ExecuteNonQueryAsync(ct);
            }

            scans.Add(Stopwatch.GetElapsedTime(started).TotalSeconds);
        }

        report.Add("audit.seconds", Report.Median(audits), "s");
        report.Add("scan.seconds", Report.Median(scans), "s");
        report.AddRatio("audit.scan_over_audit", Report.Median(scans) / Report.Median(audits));
        report.Check(Report.Median(audits) < MaxSeconds, $"The audit took {Report.Median(audits):0.0} s, and {MaxSeconds:0} are allowed.");
    }
}
