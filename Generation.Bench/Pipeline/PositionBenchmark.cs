using System.Net.Http.Json;
using System.Text.Json.Nodes;
using Generation.Bench.Harness;
using Generation.Core.Outbox;
using Generation.Core.Queue;
using Npgsql;
using StackExchange.Redis;

namespace Generation.Bench.Pipeline;

/// <summary>
/// Where one stands in a line of 100,000: a GET at any depth, a page of a list, and what the relay's pass over the lane costs. The lane is paused, so
/// that the line stays as it is.
/// </summary>
internal static class PositionBenchmark
{
    public static readonly Benchmark Entry = new("positions", "With 100,000 waiting a GET answers an exact position within 5 ms (p99).", RunAsync);

    private const int Waiting = 100_000;
    private const int Users = 100;
    private const int AskedFor = 2_000;
    private const int Passes = 8;
    private const double LimitMs = 5;

    private static async Task RunAsync(Report report, CancellationToken ct)
    {
        using var folder = await RunFolder.CreateAsync(ct);
        Report.Say("starting Postgres, Redis, relay and Api");
        await using var system = await BenchSystem.StartAsync(folder, BenchScope.Submits, new Dictionary<string, string>(StringComparer.Ordinal), ct);
        await using var owner = NpgsqlDataSource.Create(system.OwnerConnectionString);
        await Fill.UsersAsync(owner, Users, ct);
        await ExecuteAsync("UPDATE lanes SET paused_at = now(), paused_by = 'a benchmark'");
        Report.Say($"{Waiting:#,0} rows into the outbox");
        await new Backlog(owner, Users).AddAsync(Waiting, ct);
        await ExecuteAsync("UPDATE outbox SET rank = 10 * (outbox_id * 7919 % 100000), work = 10");
        await ExecuteAsync($"""
            UPDATE generation_sessions SET user_id = (SELECT user_id FROM users WHERE handle = 'bench')
            WHERE session_id = ANY (ARRAY(SELECT session_id FROM outbox WHERE outbox_id % {Waiting / AskedFor} = 0))
            """);
        await ExecuteAsync("VACUUM (ANALYZE)");
        using var redis = await ConnectionMultiplexer.ConnectAsync($"127.0.0.1:{system.RedisPort}");
        var key = PositionIndexer.KeyOf(new QueueOptions(), "image");

        Report.Say($"{Passes} passes over the lane");
        var (costs, bytes, last) = (new List<double>(), 0, default(DateTimeOffset));
        while (costs.Count < Passes)
        {
            if ((byte[]?)await redis.GetDatabase().StringGetAsync(key) is { } found && PositionIndex.Decode(found) is { State: var state }
                && state.WaitingCount >= Waiting && state.AsOf > last)
            {
                costs.Add(state.CostMs);
                (bytes, last) = (found.Length, state.AsOf);
            }

            await Task.Delay(TimeSpan.FromMilliseconds(100), TimeProvider.System, ct);
        }

        report.Add("index.pass.p50", PipelineBenchmark.Percentile(costs, 0.5), "ms");
        report.Add("index.pass.max", costs[^1], "ms");
        report.Add("index.size", bytes / 1000.0, "KB");

        var ids = new List<Guid>();
        await using (var command = owner.CreateCommand(
            "SELECT session_id FROM generation_sessions WHERE user_id = (SELECT user_id FROM users WHERE handle = 'bench')"))
        await using (var reader = await command.ExecuteReaderAsync(ct))
        {
            while (await reader.ReadAsync(ct)) ids.Add(reader.GetGuid(0));
        }

        Report.Say($"{ids.Count} generations, each asked for twice");
        await MeasureAsync("get", ids, async id =>
        {
            var one = await system.Http.GetFromJsonAsync<JsonObject>(new Uri($"/api/generations/{id}", UriKind.Relative), ct);
            report.Check((bool?)one!["queue"]?["exact"] == true, $"The position of {id} is not exact: {one["queue"]}");
        });
        await MeasureAsync("list_of_100", ids.Take(200), async id =>
            (await system.Http.GetAsync(new Uri($"/api/generations?limit=100&cursor={id}", UriKind.Relative), ct)).EnsureSuccessStatusCode());
        report.Check(report["get.p99"] < LimitMs, $"A GET took {report["get.p99"]} ms (p99).");

        async Task MeasureAsync(string name, IEnumerable<Guid> asked, Func<Guid, Task> askAsync)
        {
            var times = new List<double>();
            foreach (var round in new[] { 1, 2 }) // the first warms up
            {
                times.Clear();
                foreach (var id in asked)
                {
                    var started = TimeProvider.System.GetTimestamp();
                    await askAsync(id);
                    times.Add(TimeProvider.System.GetElapsedTime(started).TotalMilliseconds);
                }

                Report.Say($"{name}: round {round}");
            }

            report.Add($"{name}.p50", PipelineBenchmark.Percentile(times, 0.5), "ms");
            report.Add($"{name}.p99", PipelineBenchmark.Percentile(times, 0.99), "ms");
        }

        async Task ExecuteAsync(string sql)
        {
            await using var command = owner.CreateCommand(sql);
            command.CommandTimeout = 600;
            await command.ExecuteNonQueryAsync(ct);
        }
    }
}
