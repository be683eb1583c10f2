using Generation.Bench.Harness;
using Generation.Bench.Submit;
using Npgsql;

namespace Generation.Bench.Overload;

/// <summary>
/// Invariant 12, twice: five times what a limit allows (429), and, without a limit, five times what the machine writes (503). Each with the
/// normal load before it, on the same system, and the normal load again five seconds after it. In the second case the load generator and
/// the refusals need the very processors whose lack is measured: there it is reported how long the accepted took, and claimed only that
/// service does not collapse.
/// </summary>
internal static class OverloadBenchmark
{
    public static readonly Benchmark Entry = new(
        "overload", "Of five times the load, what is accepted takes at most twice as long, memory stays flat, and service is normal again in five "
            + "seconds.", RunAsync);

    private const int Users = 1_000;
    private const int LimitPerSecond = 400;
    private const int Connections = 64;
    private const int BusyConnections = 256;
    private const int ManyConnections = 1_024;
    private const double Times = 5;
    private const double MaxSlowdown = 2;
    private const double MaxGrowth = 1.5;
    private static readonly TimeSpan WarmUp = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan Normal = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan Flood = TimeSpan.FromSeconds(60);
    private static readonly TimeSpan Recovery = TimeSpan.FromSeconds(5);

    private static async Task RunAsync(Report report, CancellationToken ct)
    {
        using var folder = await RunFolder.CreateAsync(ct);

        Report.Say($"starting a system that takes {LimitPerSecond} submits a second");
        await using (var limited = await StartAsync(new(StringComparer.Ordinal) { ["RateLimits:GlobalPerMinute"] = $"{60 * LimitPerSecond}" }))
        {
            // The bucket holds a minute's worth: it is emptied first, or the first part of the flood would be no overload.
            var normal = 0.8 * LimitPerSecond;
            await PhaseAsync("limit", limited, BusyConnections, normal, Times * LimitPerSecond, emptyFirst: true);
        }

        Report.Say("starting a system without a limit");
        await using (var unlimited = await StartAsync(new(StringComparer.Ordinal)))
        {
            var load = await LoadAsync(unlimited);
            Report.Say("machine: as much as it takes");
            var most = await load.RunAsync(BusyConnections, WarmUp, Normal, ct);
            report.Add("machine.capacity", most.PerSecond, "accepted/s");
            report.Add("machine.capacity.p50", most.P50, "ms");
            report.Add("machine.capacity.p99", most.P99, "ms");
            await PhaseAsync("machine", unlimited, ManyConnections, most.PerSecond / 2, Times * most.PerSecond, emptyFirst: false, most);
        }

        async Task<BenchSystem> StartAsync(Dictionary<string, string> settings)
        {
            var system = await BenchSystem.StartAsync(folder, BenchScope.Submits, settings, ct);
            await using var database = NpgsqlDataSource.Create(system.OwnerConnectionString);
            await Fill.UsersAsync(database, Users, ct);
            return system;
        }

        async Task<LoadGenerator> LoadAsync(BenchSystem system)
        {
            var load = new LoadGenerator(system.Api.Address, Users) { MayRefuse = true };
            Report.Say("warming up");
            await load.RunAsync(Connections, TimeSpan.Zero, 15 * WarmUp, ct);
            return load;
        }

        async Task PhaseAsync(string name, BenchSystem system, int connections, double normalRate, double floodRate, bool emptyFirst,
            LoadRun? capacity = null)
        {
            var load = await LoadAsync(system);
            var memory = new ResidentMemory(system.Api.ProcessId, "Generation.Api.dll");
            if (emptyFirst)
            {
                await load.RunAsync(Connections, TimeSpan.Zero, Normal, ct);
            }

            Report.Say($"{name}: normal load, {normalRate:#,0}/s");
            await Task.Delay(Recovery, TimeProvider.System, ct);
            var before = await load.RunAsync(connections, WarmUp, Normal, ct, normalRate);
            var calm = memory.Peak();
            Report.Say($"{name}: {floodRate:#,0}/s for {Flood.TotalSeconds} s");
            var flood = load.RunAsync(connections, WarmUp, Flood, ct, floodRate);
            var peak = await memory.PeakWhileAsync(flood, ct);
            var during = await flood;
            await Task.Delay(Recovery, TimeProvider.System, ct);
            Report.Say($"{name}: normal load again");
            var after = await load.RunAsync(connections, TimeSpan.Zero, Normal, ct, normalRate);

            foreach (var (when, run) in new[] { ("before", before), ("flood", during), ("after", after) })
            {
                report.Add($"{name}.{when}.offered", run.OfferedPerSecond, "requests/s");
                report.Add($"{name}.{when}.accepted", run.PerSecond, "accepted/s");
                report.Add($"{name}.{when}.refused", run.RefusedPerSecond, "refused/s");
                report.Add($"{name}.{when}.p50", run.P50, "ms");
                report.Add($"{name}.{when}.p99", run.P99, "ms");
            }

            report.Add($"{name}.api.memory_before", calm / 1e6, "MB");
            report.Add($"{name}.api.memory_flood", peak / 1e6, "MB");
            report.AddRatio($"{name}.offered_over_accepted", during.OfferedPerSecond / during.PerSecond);
            var normalP99 = capacity?.P99 ?? before.P99;
            report.AddRatio($"{name}.p99_flood_over_normal", during.P99 / normalP99);
            report.Check(during.RefusedPerSecond > 0, $"{name}: nothing was refused, so this was no overload.");
            if (capacity is null)
            {
                report.Check(during.P99 < MaxSlowdown * normalP99,
                $"{name}: p99 of what was accepted went from {normalP99:0} to {during.P99:0} ms.");
            }
            else
            {
                report.Check(during.PerSecond > capacity.Value.PerSecond / 3,
                $"{name}: of {capacity.Value.PerSecond:#,0}/s only {during.PerSecond:#,0}/s were still accepted.");
            }

            report.Check(peak < MaxGrowth * calm, $"{name}: the Api went from {calm / 1e6:0} to {peak / 1e6:0} MB.");
            report.Check(after.RefusedPerSecond == 0 && after.P99 < MaxSlowdown * normalP99,
                $"{name}: five seconds later {after.RefusedPerSecond:0.0}/s were refused, p99 {after.P99:0} ms.");
        }
    }
}
