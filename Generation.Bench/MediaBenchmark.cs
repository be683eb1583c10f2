using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Security.Cryptography;
using System.Text.Json.Nodes;
using Generation.Bench.Harness;

namespace Generation.Bench;

/// <summary>
/// Promise 10, memory is flat: one picture of half a gigabyte goes the whole way, from the POST to the end of its session, while the
/// worker's resident memory is watched. The limit is the same file fetched from the same server by nothing but HttpClient, into a
/// file that is flushed to the disk as a stored object is.
/// </summary>
internal static class MediaBenchmark
{
    public static readonly Benchmark Entry = new("media", "A 500 MB stream through the worker raises its memory by less than 64 MB.", RunAsync);

    private const long PictureBytes = 500_000_000;
    private const long MaxGrowthBytes = 64_000_000;
    private const double Megabyte = 1e6;
    private const int WarmUpPictures = 5;
    private const int WarmUpBytes = 200_000;
    private const int Copies = 3;
    private const int CopyBufferBytes = 1 << 20;
    private static readonly TimeSpan Quiet = TimeSpan.FromSeconds(1);
    private static readonly string Prompt = $"a grey wall [bytes={PictureBytes}]";

    private static async Task RunAsync(Report report, CancellationToken ct)
    {
        using var folder = await RunFolder.CreateAsync(ct);
        await MeasureAsync("folder", report, folder, [], ct);
    }

    private static async Task MeasureAsync(string store, Report report, RunFolder folder, Dictionary<string, string> storeSettings, CancellationToken ct)
    {
        Report.Say($"{store}: starting Postgres, Redis, simulator, relay, api and worker");
        var settings = new Dictionary<string, string>(storeSettings, StringComparer.Ordinal) { ["Media:MaxImageDownloadBytes"] = PictureBytes.ToString() };
        await using var system = await BenchSystem.StartAsync(folder, settings, ct);
        using var http = new HttpClient { Timeout = Timeout.InfiniteTimeSpan };
        for (var i = 0; i < WarmUpPictures; i++) await system.GenerateAsync($"warm up {i} [bytes={WarmUpBytes}]", ct);

        Report.Say($"{store}: the picture through the worker");
        var memory = new ResidentMemory(system.Worker.ProcessId, "Generation.Worker.dll");
        var before = await memory.LowestAsync(Quiet, ct);
        var started = TimeProvider.System.GetTimestamp();
        var generating = system.Worker.WhileItLivesAsync(system.GenerateAsync(Prompt, ct));
        var (sampledPeak, kernelPeak) = await memory.PeakWhileAsync(generating, ct);
        var seconds = TimeProvider.System.GetElapsedTime(started).TotalSeconds;
        var end = await generating;
        var growth = Math.Max(sampledPeak, kernelPeak) - before;

        Report.Say($"{store}: the same picture by plain copy, {Copies} times");
        var source = await PictureAtTheSimulatorAsync(http, system.Sim.Address, ct);
        var copyPath = folder[$"{store}-copy"];
        var copySeconds = double.MaxValue;
        for (var i = 0; i < Copies; i++) copySeconds = Math.Min(copySeconds, await CopyAsync(http, source, copyPath, ct));

        report.Add($"{store}.seconds", seconds, "s, POST to done");
        report.Add($"{store}.throughput", PictureBytes / Megabyte / seconds, "MB/s");
        report.Add($"{store}.copy_seconds", copySeconds, $"s, best of {Copies}");
        report.Add($"{store}.copy_throughput", PictureBytes / Megabyte / copySeconds, "MB/s");
        report.Add($"{store}.rss_before", before / Megabyte, "MB");
        report.Add($"{store}.rss_peak_sampled", sampledPeak / Megabyte, "MB");
        report.Add($"{store}.rss_peak_kernel", kernelPeak / Megabyte, "MB");
        report.Add($"{store}.rss_growth", growth / Megabyte, $"MB, under {MaxGrowthBytes / Megabyte}");
        report.AddRatio("media.worker_over_copy", copySeconds, seconds);
        report.Check(growth < MaxGrowthBytes, $"{store}: the worker grew by {growth:#,0} bytes, {MaxGrowthBytes:#,0} or more.");
        await CheckObjectAsync(store, report, http, end, copyPath, ct);
    }

    /// <summary>What the session says it stored, what its signed URL gives, and what the simulator sent are the same.</summary>
    private static async Task CheckObjectAsync(string store, Report report, HttpClient http, JsonObject end, string copyPath, CancellationToken ct)
    {
        if ((string?)end["status"] != "completed" || end["media"] is not JsonArray { Count: 1 } outputs)
        {
            report.Check(false, $"{store}: the session did not complete with one picture: {end}");
            return;
        }

        var media = outputs[0]!;
        await using var read = await http.GetStreamAsync((string)media["url"]!, ct);
        using var copy = File.OpenRead(copyPath);
        var readSha256 = Convert.ToHexStringLower(await SHA256.HashDataAsync(read, ct));
        var copySha256 = Convert.ToHexStringLower(await SHA256.HashDataAsync(copy, ct));
        report.Add($"{store}.bytes", (long)media["bytes"]!, "bytes stored");
        report.Check((long)media["bytes"]! == PictureBytes && copy.Length == PictureBytes, $"{store}: {media["bytes"]} bytes are said to be stored, {copy.Length} were copied, {PictureBytes} were asked for.");
        report.Check((string?)media["sha256"] == readSha256 && readSha256 == copySha256, $"{store}: the session says sha256 {media["sha256"]}, its object has {readSha256}, the simulator's file {copySha256}.");
    }

    /// <summary>Lets the simulator make the same picture again, for its address alone.</summary>
    private static async Task<Uri> PictureAtTheSimulatorAsync(HttpClient http, Uri simulator, CancellationToken ct)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, new Uri(simulator, "api/v3/images/generations"))
        {
            Headers = { Authorization = new AuthenticationHeaderValue("Bearer", "sim-ark-key") },
            Content = JsonContent.Create(new { model = "seedream-4-0-250828", prompt = Prompt, size = "1K", response_format = "url", watermark = false }),
        };
        using var response = await http.SendAsync(request, ct);
        response.EnsureSuccessStatusCode();
        return new Uri((string)(await response.Content.ReadFromJsonAsync<JsonObject>(ct))!["data"]![0]!["url"]!);
    }

    private static async Task<double> CopyAsync(HttpClient http, Uri source, string path, CancellationToken ct)
    {
        var started = TimeProvider.System.GetTimestamp();
        await using (var body = await http.GetStreamAsync(source, ct))
        await using (var file = new FileStream(path, FileMode.Create, FileAccess.Write, FileShare.None, bufferSize: 0))
        {
            await body.CopyToAsync(file, CopyBufferBytes, ct);
            file.Flush(flushToDisk: true);
        }

        return TimeProvider.System.GetElapsedTime(started).TotalSeconds;
    }
}
