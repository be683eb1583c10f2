using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Security.Cryptography;
using System.Text.Json.Nodes;
using Generation.Bench.Harness;

namespace Generation.Bench;

/// <summary>
/// Invariant 10, memory is flat: one picture of half a gigabyte goes the whole way, from the POST to the end of its session, while the
/// worker's resident memory is watched. The limit is the same file moved from the same server to the same place by nothing but
/// HttpClient: into a file that is flushed to the disk as a stored object is, or into the S3 server by one PUT.
/// </summary>
internal static class MediaBenchmark
{
    public static readonly Benchmark Entry = new("media", "A 500 MB stream through the worker raises its memory by less than 64 MB.", RunAsync);

    private const long PictureBytes = 500_000_000;
    private const long MaxGrowthBytes = 64_000_000;
    private const double Megabyte = 1e6;
    private const int Rounds = 3;
    private const int WarmUpPictures = 5;
    private const int WarmUpBytes = 200_000;
    private const int CopyBufferBytes = 1 << 20;
    private static readonly TimeSpan Quiet = TimeSpan.FromSeconds(1);
    private static readonly string Prompt = $"a grey wall [bytes={PictureBytes}]";

    private static async Task RunAsync(Report report, CancellationToken ct)
    {
        using var folder = await RunFolder.CreateAsync(ct);
        using var http = new HttpClient { Timeout = Timeout.InfiniteTimeSpan };
        report.AddRatio("media.worker_over_copy", await MeasureAsync("folder", [], (body, token) => WriteFileAsync(folder["copy"], body, token)));
        if (!S3Server.IsInstalled)
        {
            Report.Say("s3: not measured, because its server is not installed (npm ci in Generation.Tests/Servers)");
            return;
        }

        using var s3 = await S3Server.StartAsync(folder, ct);
        report.AddRatio("media.s3.worker_over_copy", await MeasureAsync("s3", s3.Settings, (body, token) =>
            PutAsync(http, s3.PutAddress("copy"), body, token)));

        async Task<double> MeasureAsync(string store, Dictionary<string, string> settings, Func<Stream, CancellationToken, Task> copy)
        {
            Report.Say($"{store}: starting Postgres, Redis, simulator, relay, api and worker");
            settings["Media:MaxImageDownloadBytes"] = PictureBytes.ToString();
            await using var system = await BenchSystem.StartAsync(folder, BenchScope.WholePipeline, settings, ct);
            for (var i = 0; i < WarmUpPictures; i++)
            {
                await system.GenerateAsync($"warm up {i} [bytes={WarmUpBytes}]", ct);
            }

            var source = await PictureAtTheSimulatorAsync(http, system.Sim.Address, ct);
            var sha256 = await Sha256Async(http, source, ct);

            var memory = new ResidentMemory(system.Worker.ProcessId, "Generation.Worker.dll");
            var before = await memory.LowestAsync(Quiet, ct);
            var (peak, workerSeconds, copySeconds) = (0L, double.MaxValue, double.MaxValue);
            for (var round = 1; round <= Rounds; round++)
            {
                Report.Say($"{store}: round {round} of {Rounds}, through the worker and by plain copy");
                var generating = TimeAsync(() => system.Worker.WhileItLivesAsync(system.GenerateAsync(Prompt, ct)));
                peak = Math.Max(peak, await memory.PeakWhileAsync(generating, ct));
                var (end, seconds) = await generating;
                workerSeconds = Math.Min(workerSeconds, seconds);
                copySeconds = Math.Min(copySeconds, (await TimeAsync(async () =>
                {
                    await using var body = await http.GetStreamAsync(source, ct);
                    await copy(body, ct);
                    return true;
                })).Seconds);
                await CheckObjectAsync(store, report, http, end, sha256, ct);
            }

            report.Add($"{store}.worker_time", workerSeconds, "s");
            report.Add($"{store}.worker_rate", PictureBytes / Megabyte / workerSeconds, "MB/s");
            report.Add($"{store}.copy_time", copySeconds, "s");
            report.Add($"{store}.copy_rate", PictureBytes / Megabyte / copySeconds, "MB/s");
            report.Add($"{store}.memory_before", before / Megabyte, "MB");
            report.Add($"{store}.memory_peak", peak / Megabyte, "MB");
            report.Add($"{store}.memory_growth", (peak - before) / Megabyte, "MB");
            report.Check(peak - before < MaxGrowthBytes,
                $"{store}: the worker grew by {peak - before:#,0} bytes, which is not under {MaxGrowthBytes:#,0}.");
            return copySeconds / workerSeconds;
        }
    }

    /// <summary>The session says what the simulator sent, and its signed URL gives it.</summary>
    private static async Task CheckObjectAsync(string store, Report report, HttpClient http, JsonObject end, string sha256, CancellationToken ct)
    {
        if ((string?)end["status"] != "completed" || end["media"] is not JsonArray { Count: 1 } outputs)
        {
            report.Check(false, $"{store}: the session did not complete with one picture: {end.ToJsonString()}");
            return;
        }

        var media = outputs[0]!;
        report.Add($"{store}.stored", (long)media["bytes"]!, "bytes");
        report.Check((long)media["bytes"]! == PictureBytes, $"{store}: {media["bytes"]} bytes are stored, {PictureBytes} were sent.");
        report.Check((string?)media["sha256"] == sha256, $"{store}: the session says sha256 {media["sha256"]}, {sha256} was sent.");
        var read = await Sha256Async(http, new Uri((string)media["url"]!), ct);
        report.Check(read == sha256, $"{store}: the object has sha256 {read}, {sha256} was sent.");
    }

    /// <summary>Lets the simulator make the same picture, for its address alone.</summary>
    private static async Task<Uri> PictureAtTheSimulatorAsync(HttpClient http, Uri simulator, CancellationToken ct)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, new Uri(simulator, "api/v3/images/generations"))
        {
            Headers = { Authorization = new AuthenticationHeaderValue("Bearer", BenchSystem.ProviderKey) },
            Content = JsonContent.Create(
                new { model = "seedream-4-0-250828", prompt = Prompt, size = "1K", response_format = "url", watermark = false }),
        };
        using var response = await http.SendAsync(request, ct);
        response.EnsureSuccessStatusCode();
        return new Uri((string)(await response.Content.ReadFromJsonAsync<JsonObject>(ct))!["data"]![0]!["url"]!);
    }

    private static async Task WriteFileAsync(string path, Stream body, CancellationToken ct)
    {
        await using var file = new FileStream(path, FileMode.Create, FileAccess.Write, FileShare.None, bufferSize: 0);
        await body.CopyToAsync(file, CopyBufferBytes, ct);
        file.Flush(flushToDisk: true);
    }

    private static async Task PutAsync(HttpClient http, Uri address, Stream body, CancellationToken ct)
    {
        using var content = new StreamContent(body, CopyBufferBytes) { Headers = { ContentLength = PictureBytes } };
        using var response = await http.PutAsync(address, content, ct);
        response.EnsureSuccessStatusCode();
    }

    private static async Task<string> Sha256Async(HttpClient http, Uri address, CancellationToken ct)
    {
        await using var body = await http.GetStreamAsync(address, ct);
        return Convert.ToHexStringLower(await SHA256.HashDataAsync(body, ct));
    }

    private static async Task<(T Result, double Seconds)> TimeAsync<T>(Func<Task<T>> work)
    {
        var started = TimeProvider.System.GetTimestamp();
        var result = await work();
        return (result, TimeProvider.System.GetElapsedTime(started).TotalSeconds);
    }
}
