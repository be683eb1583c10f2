using System.Net;
using System.Net.Http.Json;
using System.Text.Json.Nodes;
using Generation.Bench.Harness;
using Generation.Bench.Pipeline;
using Npgsql;

namespace Generation.Bench.Fairness;

/// <summary>
/// One user has posted 10,000 pictures; forty others post one now and then. How long these wait for a worker: first in, first out (everything is one
/// user's, for within a user that is the order), in fair order behind a full window, and in fair order with a window that follows the lane.
/// </summary>
internal static class FairnessBenchmark
{
    public static readonly Benchmark Entry = new(
        "fairness", "A user with one request waits seconds behind another's 10,000, not for all of them.", RunAsync);

    private const int HeavyJobs = 10_000;
    private const int LightUsers = 40;
    private const int Senders = 32;

    /// <summary>Longest wait of 99 of 100 light requests: two seconds of work are ahead, and what runs.</summary>
    private const double MaxWait = 5;

    private static readonly TimeSpan Duration = TimeSpan.FromSeconds(80);
    private static readonly TimeSpan BetweenRequests = TimeSpan.FromSeconds(20); // of one light user

    private static async Task RunAsync(Report report, CancellationToken ct)
    {
        using var folder = await RunFolder.CreateAsync(ct);
        await MeasureAsync("fifo", isFair: false, windowSeconds: 0);
        await MeasureAsync("fair_window_1000", isFair: true, windowSeconds: 0);
        await MeasureAsync("fair", isFair: true, windowSeconds: 2);
        report.AddRatio("fair.served_over_asked", report["fair.served"] / report["fair.asked"]);
        report.Check(report["fair.p99"] <= MaxWait, $"99 of 100 light requests start within {report["fair.p99"]} s, not {MaxWait}.");
        report.Check(report["fair.served"] >= 0.95 * report["fair.asked"], "Light requests were left waiting.");
        report.Check(report["fifo.served"] <= 0.1 * report["fifo.asked"], "First in, first out served them as well: this load shows nothing.");

        async Task MeasureAsync(string name, bool isFair, double windowSeconds)
        {
            Report.Say($"{name}: starting Postgres, Redis, relay, api and worker");
            await using var system = await BenchSystem.StartAsync(folder, BenchScope.Jobs, new Dictionary<string, string>(StringComparer.Ordinal)
            {
                ["Mock:Enabled"] = "true",
                ["Mock:UploadOutputs"] = "false",
                ["Mock:StageDelay"] = "00:00:00.200",
                ["Worker:Concurrency"] = "10",
                ["Relay:WindowSeconds"] = $"{windowSeconds}",
            }, ct);
            await using var database = NpgsqlDataSource.Create(system.OwnerConnectionString);
            await Fill.UsersAsync(database, LightUsers + 1, ct);
            Report.Say($"{name}: {HeavyJobs:#,0} requests of one user, then {LightUsers} users for {Duration.TotalSeconds} s");
            var left = HeavyJobs;
            await Task.WhenAll(Enumerable.Range(0, Senders).Select(async _ =>
            {
                while (Interlocked.Decrement(ref left) >= 0)
                {
                    await PostAsync(system.Http, 1, ct);
                }
            }));

            var pause = BetweenRequests / LightUsers;
            var light = new List<Task<Guid>>();
            using var pace = new PeriodicTimer(pause, TimeProvider.System);
            for (var n = 0; n < Duration / pause && await pace.WaitForNextTickAsync(ct); n++)
            {
                light.Add(PostAsync(system.Http, isFair ? 2 + (n % LightUsers) : 1, ct));
            }

            var asked = await Task.WhenAll(light);
            await Task.Delay(TimeSpan.FromSeconds(MaxWait), TimeProvider.System, ct); // the last ones are asked for as much as the first
            var (waits, rate) = await ReadAsync(database, asked, ct);
            report.Add($"{name}.rate", rate, "jobs/s");
            report.Add($"{name}.asked", asked.Length, "");
            report.Add($"{name}.served", waits.Count, "");
            if (waits.Count > 0)
            {
                report.Add($"{name}.p50", PipelineBenchmark.Percentile(waits, 0.5), "s");
                report.Add($"{name}.p99", PipelineBenchmark.Percentile(waits, 0.99), "s");
            }
        }
    }

    /// <summary>Seconds that the light requests have waited which have begun, and what the lane did a second.</summary>
    private static async Task<(List<double> Waits, double Rate)> ReadAsync(NpgsqlDataSource database, Guid[] asked, CancellationToken ct)
    {
        var waits = new List<double>();
        await using var command = database.CreateCommand(
            """
            SELECT extract(epoch FROM started_at - created_at)::double precision
            FROM generation_sessions
            WHERE session_id = ANY ($1) AND started_at IS NOT NULL
            """);
        command.Parameters.AddWithValue(asked);
        await using (var reader = await command.ExecuteReaderAsync(ct))
        {
            while (await reader.ReadAsync(ct))
            {
                waits.Add(reader.GetDouble(0));
            }
        }

        await using var rate = database.CreateCommand(
            "SELECT count(*) / extract(epoch FROM max(completed_at) - min(started_at))::double precision FROM generation_sessions "
            + "WHERE completed_at IS NOT NULL");
        return (waits, (double)(await rate.ExecuteScalarAsync(ct))!);
    }

    /// <summary>Posts for a user of <see cref="Fill.UsersAsync"/>, again where the Api is too busy to take it.</summary>
    private static async Task<Guid> PostAsync(HttpClient http, int user, CancellationToken ct)
    {
        var key = Guid.NewGuid();
        while (true)
        {
            using var request = new HttpRequestMessage(HttpMethod.Post, "/api/generations")
            {
                Content = JsonContent.Create(new
                {
                    clientKey = key,
                    model = "seedream-4",
                    @params = new { prompt = "a lighthouse at dusk", size = "1K" },
                }),
                Headers = { Authorization = new("Bearer", $"gk_bench_{user:00000}") },
            };
            using var response = await http.SendAsync(request, ct);
            if (response.StatusCode != HttpStatusCode.ServiceUnavailable)
            {
                var answer = (await response.Content.ReadFromJsonAsync<JsonObject>(ct))!;
                return response.IsSuccessStatusCode ? (Guid)answer["sessionId"]! : throw new InvalidOperationException($"Not accepted: {answer}");
            }

            await Task.Delay(TimeSpan.FromMilliseconds(100), TimeProvider.System, ct);
        }
    }
}
