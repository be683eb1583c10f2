using System.Globalization;
using Generation.Bench.Harness;
using Npgsql;

namespace Generation.Bench.Pipeline;

/// <summary>
/// A job's way with a provider that answers at once: how long it takes alone, how fast the relay moves a backlog into the queue beside
/// what Redis can take, and how fast one worker ends a backlog.
/// </summary>
internal static class PipelineBenchmark
{
    public static readonly Benchmark Entry = new(
        "pipeline", "A job costs milliseconds of its own, and the relay is never the bottleneck.", RunAsync);

    private const int Users = 1_000;
    private const double MinRelayRate = 15_000;
    private const double MaxP50 = 20;

    private static async Task RunAsync(Report report, CancellationToken ct)
    {
        using var folder = await RunFolder.CreateAsync(ct);
        report.Add("load_average.start", LoadAverage(), "");
        await using (var system = await StartAsync(folder, "starting Postgres, Redis, relay, api and worker", BenchScope.Jobs, [], ct))
        {
            await using var database = NpgsqlDataSource.Create(system.OwnerConnectionString + ";Command Timeout=600");
            await Fill.UsersAsync(database, Users, ct);
            await Latency.MeasureAsync(system, database, report, ct);
            await Drain.MeasureAsync(system, database, new Backlog(database, Users), report, ct);
        }

        // A window that holds the whole backlog: with the default one the relay would wait for a worker, and nothing would be measured.
        await using (var system = await StartAsync(folder, "starting Postgres, Redis and relay", BenchScope.Submits, new(
            StringComparer.Ordinal)
        { ["Relay:DispatchWindow"] = "1000000", ["Relay:WindowSeconds"] = "0" }, ct))
        {
            await system.Api.DisposeAsync();
            await using var database = NpgsqlDataSource.Create(system.OwnerConnectionString + ";Command Timeout=600");
            await Fill.UsersAsync(database, Users, ct);
            await RelayRate.MeasureAsync(system, new Backlog(database, Users), report, ct);
        }

        report.Add("load_average.end", LoadAverage(), "");

        // Half and less of the aims: what must hold on a machine that is not alone. The aims stand in docs/benchmarks/pipeline.md.
        report.Check(report["latency.p50"] < MaxP50, $"p50 at 20 requests/s is not under {MaxP50} ms.");
        report.Check(report["relay.rate"] >= MinRelayRate / 2,
            $"The relay moves {report["relay.rate"]:#,0} rows/s, less than half of {MinRelayRate:#,0}.");
        report.Check(report["relay.rate"] >= report["drain.rate"], "The relay is slower than the worker behind it.");
    }

    /// <summary>Runnable processes in the last minute: what else the machine was busy with.</summary>
    public static double LoadAverage() => double.Parse(File.ReadAllText("/proc/loadavg").Split(' ')[0], CultureInfo.InvariantCulture);

    /// <summary>Of values that are sorted here; share 0.5 is the median.</summary>
    public static double Percentile(List<double> values, double share)
    {
        values.Sort();
        return values.Count == 0 ? double.NaN : values[Math.Min(values.Count - 1, (int)(values.Count * share))];
    }

    private static Task<BenchSystem> StartAsync(RunFolder folder, string what, BenchScope scope, Dictionary<string, string> settings,
        CancellationToken ct)
    {
        Report.Say(what);
        settings["Mock:Enabled"] = "true";
        settings["Mock:StageDelay"] = "00:00:00"; // the provider that answers at once
        return BenchSystem.StartAsync(folder, scope, settings, ct);
    }
}
