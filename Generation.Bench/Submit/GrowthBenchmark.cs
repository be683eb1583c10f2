using Generation.Bench.Harness;
using Npgsql;

namespace Generation.Bench.Submit;

/// <summary>
/// The same submits on an empty database and on one with five million finished sessions: indexes get deeper and tables outgrow the
/// cache, and neither may be felt.
/// </summary>
internal static class GrowthBenchmark
{
    public static readonly Benchmark Entry = new(
        "submit-growth", "With 5 million sessions in the database a submit takes at most 1.3 times as long as with none.", RunAsync);

    private const int Users = 1_000;
    private const int Sessions = 5_000_000;
    private const int Rounds = 5;
    private const double MaxGrowth = 1.3;
    private static readonly int[] ConnectionCounts = [1, 64];
    private static readonly TimeSpan WarmUp = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan Measured = TimeSpan.FromSeconds(5);

    private static async Task RunAsync(Report report, CancellationToken ct)
    {
        using var folder = await RunFolder.CreateAsync(ct);
        Report.Say("starting Postgres, Redis, relay and api");
        await using var system = await BenchSystem.StartAsync(folder, BenchScope.Submits, new Dictionary<string, string>(StringComparer.Ordinal), ct);
        await using var database = NpgsqlDataSource.Create(system.OwnerConnectionString);
        await Fill.UsersAsync(database, Users, ct);
        var load = new LoadGenerator(system.Api.Address, Users);
        var postgres = await ProcessorTime.OfPostgresAsync(database, ct);

        Report.Say("warming up");
        await load.RunAsync(64, TimeSpan.Zero, 15 * WarmUp, ct);
        var empty = await MeasureAsync("empty");
        await Fill.SessionsAsync(database, Users, Sessions, ct);
        var full = await MeasureAsync("full");

        await using (var size = database.CreateCommand("SELECT pg_database_size(current_database())"))
        {
            report.Add("full.database_size", (long)(await size.ExecuteScalarAsync(ct))! / 1e9, "GB");
        }

        foreach (var connections in ConnectionCounts)
        {
            var growth = full[connections] / empty[connections];
            report.Add($"growth.{connections}.p50", growth, "times");
            report.Check(growth <= MaxGrowth, $"p50 with {connections} connections has grown {growth:0.00} times, and {MaxGrowth} are allowed.");
        }

        async Task<Dictionary<int, double>> MeasureAsync(string state)
        {
            Report.Say($"{state}: {Rounds} rounds with {string.Join(" and ", ConnectionCounts)} connections");
            var runs = ConnectionCounts.ToDictionary(connections => connections, _ => new List<LoadRun>());
            var (spent, accepted) = (0.0, 0L);
            for (var round = 0; round < Rounds; round++)
            {
                foreach (var connections in ConnectionCounts)
                {
                    var before = postgres.Seconds();
                    var run = await load.RunAsync(connections, WarmUp, Measured, ct);
                    runs[connections].Add(run);
                    if (connections > 1)
                    {
                        (spent, accepted) = (spent + postgres.Seconds() - before, accepted + run.Accepted);
                    }
                }
            }

            foreach (var connections in ConnectionCounts)
            {
                report.Add($"{state}.{connections}.rate", Report.Median(runs[connections].Select(run => run.PerSecond)), "accepted/s");
                report.Add($"{state}.{connections}.p50", Report.Median(runs[connections].Select(run => run.P50)), "ms");
                report.Add($"{state}.{connections}.p99", Report.Median(runs[connections].Select(run => run.P99)), "ms");
            }

            report.Add($"{state}.64.postgres_cpu", spent / accepted * 1e6, "us/request");
            return ConnectionCounts.ToDictionary(connections => connections, connections => Report.Median(runs[connections].Select(run => run.P50)));
        }
    }
}
