using System.Buffers.Text;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace Generation.Bench.Submit;

/// <summary>What one run has seen.</summary>
/// <param name="Accepted">Sessions made, warm-up included.</param>
/// <param name="PerSecond">Accepted in the measured time.</param>
/// <param name="P50">Milliseconds from the first byte sent to the last byte received, in the measured time.</param>
/// <param name="P99">As <paramref name="P50"/>.</param>
internal readonly record struct LoadRun(long Accepted, double PerSecond, double P50, double P99);

/// <summary>
/// Posts generations over a fixed number of connections, each with one request under way. It shares two cores with what it measures, so
/// it is as cheap as a client can be: bytes made beforehand, in which user and key are overwritten, and answers of which only the
/// status and the length are read. An answer other than 202 ends the run.
/// </summary>
internal sealed class LoadGenerator(Uri api, int users)
{
    public const string Prompt = "a lighthouse at dusk, oil on canvas, heavy clouds, warm light in one window";

    private const string Body = $$$"""{"model":"seedream-4","params":{"prompt":"{{{Prompt}}}","size":"2K","n":1,"watermark":false}}""";
    private const string UserMark = "00000";
    private const string KeyMark = "0000000000000000";

    private static readonly byte[] AcceptedStatus = "HTTP/1.1 202 "u8.ToArray();
    private static readonly byte[] EndOfHeaders = "\r\n\r\n"u8.ToArray();
    private static readonly byte[] LengthHeader = "\r\nContent-Length: "u8.ToArray();
    private static readonly byte[] LastChunk = "\r\n0\r\n\r\n"u8.ToArray();

    private readonly byte[] template = Encoding.ASCII.GetBytes(
        $"POST /api/generations HTTP/1.1\r\nHost: {api.Authority}\r\nAuthorization: Bearer gk_bench_{UserMark}\r\nIdempotency-Key: bench-{KeyMark}\r\n" +
        $"Content-Type: application/json\r\nContent-Length: {Body.Length}\r\n\r\n{Body}");

    private ulong keys = (ulong)TimeProvider.System.GetUtcNow().UtcTicks << 8; // no two runs share a key

    public async Task<LoadRun> RunAsync(int connections, TimeSpan warmUp, TimeSpan duration, CancellationToken ct)
    {
        var begin = TimeProvider.System.GetTimestamp();
        var measured = begin + Ticks(warmUp);
        var end = measured + Ticks(duration);
        var drivers = Enumerable.Range(0, connections).Select(_ => new Driver(template, api, users, keys += 1UL << 32)).ToArray();
        await Task.WhenAll(drivers.Select(driver => Task.Run(() => driver.DriveAsync(measured, end, ct), ct)));

        var latencies = drivers.SelectMany(driver => driver.LatencyTicks).ToArray();
        Array.Sort(latencies);
        return new LoadRun(drivers.Sum(driver => driver.Accepted), latencies.Length / duration.TotalSeconds, Percentile(0.5), Percentile(0.99));

        double Percentile(double share) => latencies.Length == 0 ? double.NaN
            : latencies[Math.Min(latencies.Length - 1, (int)(latencies.Length * share))] * 1000.0 / TimeProvider.System.TimestampFrequency;

        static long Ticks(TimeSpan span) => (long)(span.TotalSeconds * TimeProvider.System.TimestampFrequency);
    }

    /// <summary>One connection.</summary>
    private sealed class Driver(byte[] template, Uri api, int users, ulong firstKey)
    {
        private readonly byte[] request = (byte[])template.Clone();
        private readonly byte[] answer = new byte[8192];
        private ulong key = firstKey;

        public List<long> LatencyTicks { get; } = new(capacity: 16_384);

        public long Accepted { get; private set; }

        public async Task DriveAsync(long measured, long end, CancellationToken ct)
        {
            var (userAt, keyAt) = (request.AsSpan().IndexOf(Encoding.ASCII.GetBytes(UserMark)), request.AsSpan().IndexOf(Encoding.ASCII.GetBytes(KeyMark)));
            using var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
            await socket.ConnectAsync(new IPEndPoint(IPAddress.Parse(api.Host), api.Port), ct);
            while (true)
            {
                var sent = TimeProvider.System.GetTimestamp();
                if (sent >= end) return;
                key++;
                Utf8Formatter.TryFormat(key, request.AsSpan(keyAt, KeyMark.Length), out _, new System.Buffers.StandardFormat('x', 16));
                // A multiplicative hash of the key: any user, and each equally often.
                var user = (int)((key * 0x9E3779B97F4A7C15 >> 33) % (ulong)users) + 1;
                Utf8Formatter.TryFormat(user, request.AsSpan(userAt, UserMark.Length), out _, new System.Buffers.StandardFormat('D', 5));
                await socket.SendAsync(request, SocketFlags.None, ct);
                await ReceiveAsync(socket, ct);
                Accepted++;
                var received = TimeProvider.System.GetTimestamp();
                if (sent >= measured && received <= end) LatencyTicks.Add(received - sent);
            }
        }

        private async ValueTask ReceiveAsync(Socket socket, CancellationToken ct)
        {
            for (var length = 0; ;)
            {
                var more = await socket.ReceiveAsync(answer.AsMemory(length), SocketFlags.None, ct);
                if (more == 0) throw new InvalidOperationException("The Api closed a connection.");
                length += more;
                if (!IsComplete(answer.AsSpan(0, length))) continue;
                if (!answer.AsSpan().StartsWith(AcceptedStatus)) throw new InvalidOperationException($"Not accepted: {Encoding.UTF8.GetString(answer, 0, length)}");
                return;
            }
        }

        private static bool IsComplete(ReadOnlySpan<byte> received)
        {
            var headers = received.IndexOf(EndOfHeaders);
            if (headers < 0) return false;
            var length = received[..headers].IndexOf(LengthHeader);
            if (length < 0) return received.EndsWith(LastChunk);
            return Utf8Parser.TryParse(received[(length + LengthHeader.Length)..], out int bytes, out _)
                && received.Length == headers + EndOfHeaders.Length + bytes;
        }
    }
}
