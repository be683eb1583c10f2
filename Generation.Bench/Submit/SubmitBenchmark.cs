using Generation.Bench.Harness;
using Npgsql;

namespace Generation.Bench.Submit;

/// <summary>
/// Group commit: accepted posts per second over HTTP, and beside them, in the same run on the same server and into the same tables,
/// what pgbench reaches with one statement a request and with one statement a hundred.
/// </summary>
internal static class SubmitBenchmark
{
    public static readonly Benchmark Entry = new(
        "submit", "Over HTTP as many submits are accepted as pgbench writes with a statement each.", RunAsync);

    private const int Users = 1_000;
    private const int Rounds = 3;
    private const int BatchedRequests = 100; // Submit/batched.sql
    private const int SingleClients = 32;
    private const double MaxP99 = 50;
    private const double MaxIdleP50 = 4;
    private const double MaxMemory = 250e6;
    private static readonly int[] ConnectionCounts = [1, 64, 256];
    private static readonly TimeSpan WarmUp = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan Measured = TimeSpan.FromSeconds(5);

    private static async Task RunAsync(Report report, CancellationToken ct)
    {
        using var folder = await RunFolder.CreateAsync(ct);
        Report.Say("starting Postgres, Redis, relay and api");
        await using var system = await BenchSystem.StartAsync(folder, BenchScope.Submits, new Dictionary<string, string>(StringComparer.Ordinal), ct);
        await using var database = NpgsqlDataSource.Create(system.OwnerConnectionString);
        await Fill.UsersAsync(database, Users, ct);
        var memory = new ResidentMemory(system.Api.ProcessId, "Generation.Api.dll");
        var load = new LoadGenerator(system.Api.Address, Users) { MayRefuse = true };

        Report.Say("warming up");
        await load.RunAsync(64, TimeSpan.Zero, 15 * WarmUp, ct); // the Api's code is compiled in tiers, the last after 30 calls and some time
        await SingleAsync(3 * WarmUp); // the first transactions of 32 connections wait for their plans
        await BatchedAsync(WarmUp);

        var cost = new Dictionary<string, (ProcessorTime Process, double Seconds)>(StringComparer.Ordinal)
        {
            ["api"] = (new ProcessorTime(system.Api.ProcessId), 0),
            ["relay"] = (new ProcessorTime(system.Relay.ProcessId), 0),
            ["postgres"] = (await ProcessorTime.OfPostgresAsync(database, ct), 0),
        };
        var generatorSeconds = 0.0;
        var http = ConnectionCounts.ToDictionary(connections => connections, _ => new List<LoadRun>());
        var (single, batched) = (new List<double>(), new List<double>());
        for (var round = 1; round <= Rounds; round++)
        {
            Report.Say($"round {round} of {Rounds}: HTTP with {string.Join(", ", ConnectionCounts)} connections, pgbench single and batched");
            foreach (var connections in ConnectionCounts)
            {
                http[connections].Add(await AlikeAsync($"HTTP with {connections} connections", () => HttpAsync(connections), run => run.Accepted));
            }

            single.Add((await AlikeAsync("pgbench single", () => SingleAsync(Measured), run => run.Transactions)).PerSecond);
            batched.Add(BatchedRequests * (await AlikeAsync(
                "pgbench batched", () => BatchedAsync(Measured), run => BatchedRequests * run.Transactions)).PerSecond);
        }

        foreach (var (connections, runs) in http)
        {
            report.Add($"http.{connections}.rate", Report.Median(runs.Select(run => run.PerSecond)), "accepted/s");
            report.Add($"http.{connections}.p50", Report.Median(runs.Select(run => run.P50)), "ms");
            report.Add($"http.{connections}.p99", Report.Median(runs.Select(run => run.P99)), "ms");
            report.Add($"http.{connections}.refused", Report.Median(runs.Select(run => run.RefusedPerSecond)), "refused/s");
            report.Check(
                report[$"http.{connections}.refused"] <= report[$"http.{connections}.rate"] / 100,
                $"With {connections} clients that each wait for their answer more than one in a hundred was refused.");
        }

        foreach (var (process, (_, seconds)) in cost)
        {
            report.Add(
            $"http.64.cpu.{process}", seconds / http[64].Sum(run => run.Accepted) * 1e6, "us/request");
        }

        report.Add("http.64.cpu.load_generator", generatorSeconds / http[64].Sum(run => run.Accepted) * 1e6, "us/request");
        report.Add("pgbench.single.rate", Report.Median(single), "requests/s");
        report.Add("pgbench.batched.rate", Report.Median(batched), "requests/s");
        report.Add("api.memory_peak", memory.Peak() / 1e6, "MB");
        var best = Report.Median(http[64].Select(run => run.PerSecond));
        report.AddRatio("submit.http_over_single", best / Report.Median(single));
        report.AddRatio("submit.http_over_batched", best / Report.Median(batched));
        report.AddRatio("submit.http_256_over_single", Report.Median(http[256].Select(run => run.PerSecond)) / Report.Median(single));

        report.Check(best >= Report.Median(single),
            $"With 64 connections {best:#,0} submits/s are accepted, and pgbench writes {Report.Median(single):#,0} with a statement each.");
        report.Check(Report.Median(http[64].Select(run => run.P99)) < MaxP99, $"p99 at 64 connections is not under {MaxP99} ms.");
        report.Check(Report.Median(http[1].Select(run => run.P50)) < MaxIdleP50, $"p50 of an idle system is not under {MaxIdleP50} ms.");
        report.Check(memory.Peak() < MaxMemory, $"The Api had {memory.Peak() / 1e6:0} MB, which is not under {MaxMemory / 1e6} MB.");

        async Task<LoadRun> HttpAsync(int connections)
        {
            var own = Environment.CpuUsage.TotalTime.TotalSeconds;
            var before = cost.ToDictionary(entry => entry.Key, entry => entry.Value.Process.Seconds(), StringComparer.Ordinal);
            var run = await load.RunAsync(connections, WarmUp, Measured, ct);
            foreach (var (process, seconds) in before)
            {
                if (connections == 64)
                {
                    cost[process] = (cost[process].Process, cost[process].Seconds + cost[process].Process.Seconds() - seconds);
                }
            }

            if (connections == 64)
            {
                generatorSeconds += Environment.CpuUsage.TotalTime.TotalSeconds - own;
            }

            return run;
        }

        Task<PgbenchRun> SingleAsync(TimeSpan duration) => Pgbench.RunAsync("Generation.Bench/Submit/single.sql", system.OwnerConnectionString,
            SingleClients, duration, ct);

        Task<PgbenchRun> BatchedAsync(TimeSpan duration) => Pgbench.RunAsync("Generation.Bench/Submit/batched.sql", system.OwnerConnectionString, 1,
            duration, ct);

        // Who writes fewer rows a request would be faster for a bad reason.
        async Task<T> AlikeAsync<T>(string who, Func<Task<T>> measure, Func<T, long> requests)
        {
            await using (var checkpoint = database.CreateCommand("CHECKPOINT")) // everybody begins with the same log
            {
                await checkpoint.ExecuteNonQueryAsync(ct);
            }

            var before = await Written.ReadAsync(database, ct);
            var run = await measure();
            var (rows, credits) = (await Written.ReadAsync(database, ct)).Since(before);
            report.Check(
                rows.All(table => table.Value == requests(run)) && credits.All(bucket => bucket.Value == 4 * requests(run)),
                $"{who} reports {requests(run):#,0} requests but wrote "
                    + $"{string.Join(", ", rows.Concat(credits).Select(c => $"{c.Value:#,0} {c.Key}"))}.");
            return run;
        }
    }

    /// <summary>What is in the tables: rows that a request adds one of to each, and credits that it moves.</summary>
    private sealed record Written(Dictionary<string, long> Rows, Dictionary<string, long> Credits)
    {
        private static readonly string[] Tables = ["generation_sessions", "credit_reservations", "credit_reservation_draws", "credit_transactions",
            "outbox"];

        private static readonly (string Name, string Sql)[] Sums =
        [
            ("reserved in accounts", "SELECT sum(reserved)::bigint FROM credit_accounts"),
            ("held in lots", "SELECT sum(held)::bigint FROM credit_lots"),
        ];

        public static async Task<Written> ReadAsync(NpgsqlDataSource database, CancellationToken ct)
        {
            var written = new Written(new(StringComparer.Ordinal), new(StringComparer.Ordinal));
            foreach (var table in Tables)
            {
                written.Rows[$"rows of {table}"] = await ScalarAsync($"SELECT count(*) FROM {table}");
            }

            foreach (var (name, sql) in Sums)
            {
                written.Credits[$"credits {name}"] = await ScalarAsync(sql);
            }

            return written;

            async Task<long> ScalarAsync(string sql)
            {
                await using var command = database.CreateCommand(sql);
                command.CommandTimeout = 120;
                return (long)(await command.ExecuteScalarAsync(ct))!;
            }
        }

        public (Dictionary<string, long> Rows, Dictionary<string, long> Credits) Since(Written before) =>
            (Rows.ToDictionary(r => r.Key, r => r.Value - before.Rows[r.Key], StringComparer.Ordinal),
             Credits.ToDictionary(c => c.Key, c => c.Value - before.Credits[c.Key], StringComparer.Ordinal));
    }
}
