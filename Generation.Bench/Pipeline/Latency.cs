using System.Net;
using System.Net.Http.Json;
using System.Net.ServerSentEvents;
using System.Text.Json.Nodes;
using Generation.Bench.Harness;
using Npgsql;

namespace Generation.Bench.Pipeline;

/// <summary>
/// Twenty jobs a second, at even distances whatever becomes of them: from the first byte of the POST to the event <c>done</c> on a
/// stream that is opened when the answer is there, as a client would. Where the time goes is read from the rows.
/// </summary>
internal static class Latency
{
    private const int PerSecond = 20;
    private const int WarmUpJobs = 30 * PerSecond; // code is compiled in tiers, the last after 30 calls and some time
    private const int MeasuredJobs = 20 * PerSecond;

    private const string Stages =
        """
        SELECT extract(epoch FROM s.started_at - s.created_at)::double precision * 1000 AS pickup,
               extract(epoch FROM s.completed_at - s.started_at)::double precision * 1000 AS work
        FROM generation_sessions AS s
        WHERE s.session_id = ANY ($1)
        """;

    public static async Task MeasureAsync(BenchSystem system, NpgsqlDataSource database, Report report, CancellationToken ct)
    {
        Report.Say($"latency: {WarmUpJobs} jobs unmeasured, {MeasuredJobs} measured");
        await RunAsync(system, WarmUpJobs, ct);
        report.Add("latency.load_average", PipelineBenchmark.LoadAverage(), "");
        var jobs = await RunAsync(system, MeasuredJobs, ct);
        foreach (var (name, values) in new[] { ("latency", jobs.Select(j => j.Total)), ("latency.post", jobs.Select(j => j.Post)) })
        {
            report.Add($"{name}.p50", PipelineBenchmark.Percentile([.. values], 0.5), "ms");
            report.Add($"{name}.p99", PipelineBenchmark.Percentile([.. values], 0.99), "ms");
        }

        var stages = new Dictionary<string, List<double>>(StringComparer.Ordinal);
        await using var command = database.CreateCommand(Stages);
        command.Parameters.AddWithValue(jobs.Select(j => j.SessionId).ToArray());
        await using var reader = await command.ExecuteReaderAsync(ct);
        while (await reader.ReadAsync(ct))
        {
            for (var i = 0; i < reader.FieldCount; i++)
            {
                if (!stages.TryGetValue(reader.GetName(i), out var values))
                {
                    stages[reader.GetName(i)] = values = [];
                }

                values.Add(reader.GetDouble(i));
            }
        }

        foreach (var (stage, values) in stages)
        {
            report.Add($"latency.{stage}.p50", PipelineBenchmark.Percentile(values, 0.5), "ms");
            report.Add($"latency.{stage}.p99", PipelineBenchmark.Percentile(values, 0.99), "ms");
        }
    }

    private static async Task<Job[]> RunAsync(BenchSystem system, int count, CancellationToken ct)
    {
        var jobs = new List<Task<Job>>(count);
        using var pace = new PeriodicTimer(TimeSpan.FromSeconds(1.0 / PerSecond), TimeProvider.System);
        for (var i = 0; i < count && await pace.WaitForNextTickAsync(ct); i++)
        {
            jobs.Add(Task.Run(() => OneAsync(system.Http, ct), ct));
        }

        return await Task.WhenAll(jobs);
    }

    private static async Task<Job> OneAsync(HttpClient http, CancellationToken ct)
    {
        var sentAt = TimeProvider.System.GetTimestamp();
        var request = new { clientKey = Guid.NewGuid(), model = "seedream-4", @params = new { prompt = "a lighthouse at dusk", size = "2K" } };
        var accepted = await http.PostAsJsonAsync("/api/generations", request, ct);
        // a very busy machine; the same key again, as a client does, and its time counts
        while (accepted.StatusCode == HttpStatusCode.ServiceUnavailable)
        {
            accepted.Dispose();
            await Task.Delay(TimeSpan.FromMilliseconds(100), TimeProvider.System, ct);
            accepted = await http.PostAsJsonAsync("/api/generations", request, ct);
        }

        var answer = (await accepted.Content.ReadFromJsonAsync<JsonObject>(ct))!;
        if (!accepted.IsSuccessStatusCode)
        {
            throw new InvalidOperationException($"Not accepted: {answer}");
        }

        accepted.Dispose();
        var post = TimeProvider.System.GetElapsedTime(sentAt).TotalMilliseconds;
        await using var events = await http.GetStreamAsync((string)answer["links"]!["events"]!, ct);
        await foreach (var e in SseParser.Create(events, (_, _) => true).EnumerateAsync(ct))
        {
            if (e.EventType == "done")
            {
                return new Job((Guid)answer["sessionId"]!, post, TimeProvider.System.GetElapsedTime(sentAt).TotalMilliseconds);
            }

            if (e.EventType is "failed" or "canceled")
            {
                break;
            }
        }

        throw new InvalidOperationException($"Session {answer["sessionId"]} was not done.");
    }

    private readonly record struct Job(Guid SessionId, double Post, double Total);
}
