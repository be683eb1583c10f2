using System.Globalization;
using Generation.Bench.Harness;
using Generation.Core.Credits;
using Npgsql;
using StackExchange.Redis;

namespace Generation.Bench.Pipeline;

/// <summary>
/// A backlog of mock jobs and one worker of 128 slots, on a database that flushes every commit: from the first claim to the last end, by the
/// database's clock. Every job leaves a media row, a captured hold, its ledger rows and its notifications; the books are audited behind it.
/// </summary>
internal static class Drain
{
    private const int Rounds = 3;
    private const int WarmUpJobs = 10_000;
    private const int Jobs = 20_000;
    private const int StoredJobs = 5_000;
    private const string DrainConcurrency = "128"; // the default of 16 is for calls that take seconds and megabytes
    private static readonly TimeSpan SettingsArrive = TimeSpan.FromSeconds(7); // Settings:CacheMs, and the receive that is under way
    private static readonly TimeSpan MaxWait = TimeSpan.FromMinutes(10);

    // Asked once a second while it is measured: by its index, in no time.
    private const string IsOpen = "SELECT EXISTS (SELECT FROM generation_sessions WHERE completed_at IS NULL)";

    private const string Outcome =
        """
        SELECT count(*) FILTER (WHERE s.status = 'completed' AND s.captured_credits = 4) AS paid,
               count(m.media_id) AS pictures,
               coalesce(extract(epoch FROM max(s.completed_at) - min(s.started_at)), 0)::double precision AS seconds
        FROM generation_sessions AS s
        LEFT JOIN media AS m USING (session_id)
        WHERE s.created_at = (SELECT max(created_at) FROM generation_sessions)
        """;

    public static async Task MeasureAsync(BenchSystem system, NpgsqlDataSource database, Backlog backlog, Report report, CancellationToken ct)
    {
        var processes = new Dictionary<string, ProcessorTime>(StringComparer.Ordinal)
        {
            ["postgres"] = await ProcessorTime.OfPostgresAsync(database, ct),
            ["worker"] = new(system.Worker.ProcessId),
            ["relay"] = new(system.Relay.ProcessId),
            ["api"] = new(system.Api.ProcessId),
            ["redis"] = await OfRedisAsync(system.RedisPort),
        };

        await RoundAsync("warm-up", WarmUpJobs, upload: false);
        var rates = new List<double>();
        var cost = processes.Keys.ToDictionary(name => name, _ => 0.0, StringComparer.Ordinal);
        report.Add("drain.load_average", PipelineBenchmark.LoadAverage(), "");
        for (var round = 1; round <= Rounds; round++)
        {
            var before = processes.ToDictionary(p => p.Key, p => p.Value.Seconds(), StringComparer.Ordinal);
            rates.Add(await RoundAsync($"round {round} of {Rounds}", Jobs, upload: false, () => before = processes.ToDictionary(
                p => p.Key, p => p.Value.Seconds(), StringComparer.Ordinal)));
            foreach (var (name, process) in processes)
            {
                cost[name] += process.Seconds() - before[name];
            }
        }

        report.Add("drain.rate", Report.Median(rates), "jobs/s");
        foreach (var (name, seconds) in cost)
        {
            report.Add($"drain.cpu.{name}", seconds / (Rounds * Jobs) * 1e6, "us/job");
        }

        report.Add("drain.stored.rate", await RoundAsync("pictures are written to files", StoredJobs, upload: true), "jobs/s");

        await using var service = NpgsqlDataSource.Create(system.OwnerConnectionString
            + ";Options=-c role=generation_service;No Reset On Close=true");
        var audit = await new LedgerAudit(service, new AuditOptions(), TimeProvider.System).RunAsync(ct);
        report.Check(audit.Clean, $"The books do not add up behind the drain: {string.Join("; ", audit.Differences.Take(3))}");

        static async Task<ProcessorTime> OfRedisAsync(int port)
        {
            using var redis = await ConnectionMultiplexer.ConnectAsync($"127.0.0.1:{port},allowAdmin=true"); // INFO counts as administration
            var about = (string)(await redis.GetDatabase().ExecuteAsync("INFO", "server"))!;
            return new ProcessorTime(int.Parse(about.Split("process_id:")[1].Split('\r')[0], CultureInfo.InvariantCulture));
        }

        async Task<double> RoundAsync(string what, int jobs, bool upload, Action? beforeRelease = null)
        {
            Report.Say($"drain, {what}: {jobs:#,0} jobs");
            await SetAsync("gen_worker_concurrency", "0");
            await SetAsync("upload_mock_outputs_to_b2", upload ? "true" : "false");
            await Task.Delay(SettingsArrive, TimeProvider.System, ct);
            await backlog.AddAsync(jobs, ct);
            await using (var checkpoint = database.CreateCommand("CHECKPOINT"))
            {
                await checkpoint.ExecuteNonQueryAsync(ct);
            }

            beforeRelease?.Invoke();
            await SetAsync("gen_worker_concurrency", DrainConcurrency);

            using var timeout = CancellationTokenSource.CreateLinkedTokenSource(ct);
            timeout.CancelAfter(MaxWait);
            while (true)
            {
                await Task.Delay(TimeSpan.FromSeconds(1), TimeProvider.System, timeout.Token);
                await using (var isOpen = database.CreateCommand(IsOpen))
                {
                    if ((bool)(await isOpen.ExecuteScalarAsync(timeout.Token))!)
                    {
                        continue;
                    }
                }

                await using var command = database.CreateCommand(Outcome);
                await using var reader = await command.ExecuteReaderAsync(timeout.Token);
                await reader.ReadAsync(timeout.Token);
                report.Check(
                    reader.GetInt64(0) == jobs && reader.GetInt64(1) == jobs,
                    $"Of {jobs:#,0} jobs {reader.GetInt64(0):#,0} are completed and paid, with {reader.GetInt64(1):#,0} pictures.");
                var rate = jobs / reader.GetDouble(2);
                Report.Say($"{rate:#,0} jobs/s");
                return rate;
            }
        }

        async Task SetAsync(string key, string value)
        {
            await using var command = database.CreateCommand(
                "INSERT INTO app_settings (key, value) VALUES ($1, $2::jsonb) ON CONFLICT (key) DO UPDATE SET value = excluded.value");
            command.Parameters.AddWithValue(key);
            command.Parameters.AddWithValue(value);
            await command.ExecuteNonQueryAsync(ct);
        }
    }
}
