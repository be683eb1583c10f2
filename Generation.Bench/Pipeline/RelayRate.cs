using System.Globalization;
using Generation.Bench.Harness;
using Generation.LocalServers;
using StackExchange.Redis;

namespace Generation.Bench.Pipeline;

/// <summary>
/// How fast the relay moves a backlog into the stream, from when the first messages are seen in it until the last is there; beside it, in
/// the same round on the same server, redis-benchmark with XADDs of the same size, as many in a pipeline as the relay has in a batch.
/// </summary>
internal static class RelayRate
{
    private const int Rounds = 3;
    private const int Rows = 50_000;
    private const int Pipelined = 500; // Relay:OutboxBatch

    private const string Envelope =
        """{"payloadVersion" : 1, "jobType" : "gen.seedream4", "sessionId" : "0199d1a2-0000-7000-8000-000000000000", "outboxId" : 1234567, "attempt" : 0, "params" : {"n": 1, "size": "2K", "prompt": "a lighthouse at dusk, oil on canvas, heavy clouds, warm light in one window", "watermark": false}, "meta" : {"requestedOutputs" : 1, "resolution" : "2K", "model" : "seedream-4", "mock" : true}}""";

    private static readonly TimeSpan MaxWait = TimeSpan.FromMinutes(5);

    public static async Task MeasureAsync(BenchSystem system, Backlog backlog, Report report, CancellationToken ct)
    {
        using var redis = await ConnectionMultiplexer.ConnectAsync($"127.0.0.1:{system.RedisPort}");
        var (relay, xadd) = (new List<double>(), new List<double>());
        report.Add("relay.load_average", PipelineBenchmark.LoadAverage(), "");
        var process = new ProcessorTime(system.Relay.ProcessId);
        var seconds = 0.0;
        for (var round = 0; round <= Rounds; round++) // the first is for the relay's code to be compiled, and is not counted
        {
            Report.Say(round == 0 ? $"relay: {Rows:#,0} rows unmeasured" : $"relay: round {round} of {Rounds}, {Rows:#,0} rows and as many XADD");
            var before = await LengthAsync();
            var own = process.Seconds();
            await backlog.AddAsync(Rows, ct);
            var rate = await FillsAsync(before);
            if (round == 0)
            {
                continue;
            }

            seconds += process.Seconds() - own;
            relay.Add(rate);
            xadd.Add(await XaddAsync());
        }

        report.Add("relay.rate", Report.Median(relay), "rows/s");
        report.Add("relay.cpu", seconds / (Rounds * Rows) * 1e6, "us/row");
        report.Add("xadd.rate", Report.Median(xadd), "entries/s");
        report.AddRatio("relay.over_xadd", Report.Median(relay) / Report.Median(xadd));

        async Task<double> FillsAsync(long before)
        {
            using var timeout = CancellationTokenSource.CreateLinkedTokenSource(ct);
            timeout.CancelAfter(MaxWait);
            long first;
            while ((first = await LengthAsync()) == before)
            {
                await Task.Delay(TimeSpan.FromMilliseconds(1), TimeProvider.System, timeout.Token);
            }

            var since = TimeProvider.System.GetTimestamp();
            while (await LengthAsync() < before + Rows)
            {
                await Task.Delay(TimeSpan.FromMilliseconds(5), TimeProvider.System, timeout.Token);
            }

            return (before + Rows - first) / TimeProvider.System.GetElapsedTime(since).TotalSeconds;
        }

        Task<long> LengthAsync() => redis.GetDatabase().StreamLengthAsync("generation:{image}:jobs");

        async Task<double> XaddAsync()
        {
            var program = Programs.Find("redis-benchmark") ?? Programs.Find("valkey-benchmark")
                ?? throw new StartFailure("There is no redis-benchmark. It comes with the server: sudo apt-get install redis-tools");
            var (exitCode, output) = await ChildProcess.RunAsync(
                new ChildCommand(
                    program, "-h", "127.0.0.1", "-p", $"{system.RedisPort}", "-c", "1", "-P", $"{Pipelined}", "-n", $"{4 * Rows}", "--csv",
                    "XADD", "bench:xadd", "*", "o", "1234567", "s", "0199d1a2-0000-7000-8000-000000000000", "e", Envelope,
                    "t", "00-0199d1a2000070008000000000000000-0123456789abcdef-00"),
                ct);
            await redis.GetDatabase().KeyDeleteAsync("bench:xadd");
            var columns = output.TrimEnd().Split('\n')[^1].Split("\",\""); // the command, requests per second, six latencies
            return exitCode == 0 && columns.Length >= 8 && double.TryParse(columns[^7], CultureInfo.InvariantCulture, out var rate)
                ? rate
                : throw new StartFailure($"redis-benchmark failed with exit code {exitCode}:\n{output}");
        }
    }
}
