using System.Buffers;
using System.Buffers.Text;
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Text;

namespace Generation.Bench.Submit;

/// <summary>What one run has seen.</summary>
/// <param name="Accepted">Sessions made, warm-up included.</param>
/// <param name="PerSecond">Accepted in the measured time.</param>
/// <param name="P50">Milliseconds from the first byte sent to the last byte received, in the measured time.</param>
/// <param name="P99">As <paramref name="P50"/>.</param>
/// <param name="OfferedPerSecond">Asked in the measured time.</param>
/// <param name="RefusedPerSecond">Answered with 429 or 503 and Retry-After in the measured time.</param>
internal readonly record struct LoadRun(long Accepted, double PerSecond, double P50, double P99, double OfferedPerSecond, double RefusedPerSecond);

/// <summary>
/// Posts generations over a fixed number of connections, each with one request under way. It shares two cores with what it measures, so
/// it is as cheap as a client can be: bytes made beforehand, in which user and key are overwritten, and answers of which only the
/// status and the length are read. An answer other than 202 ends the run, unless <see cref="MayRefuse"/>.
/// </summary>
internal sealed class LoadGenerator(Uri api, int users)
{
    public const string Prompt = "a lighthouse at dusk, oil on canvas, heavy clouds, warm light in one window";

    private const string Body = $$$"""{"model":"seedream-4","params":{"prompt":"{{{Prompt}}}","size":"2K","n":1,"watermark":false}}""";
    private const string UserMark = "00000";
    private const string KeyMark = "0000000000000000";

    private const int PaceMilliseconds = 1;

    private static readonly byte[] AcceptedStatus = "HTTP/1.1 202 "u8.ToArray();
    private static readonly byte[] TooManyStatus = "HTTP/1.1 429 "u8.ToArray();
    private static readonly byte[] UnavailableStatus = "HTTP/1.1 503 "u8.ToArray();
    private static readonly byte[] RetryAfterHeader = "\r\nRetry-After: "u8.ToArray();
    private static readonly byte[] EndOfHeaders = "\r\n\r\n"u8.ToArray();
    private static readonly byte[] LengthHeader = "\r\nContent-Length: "u8.ToArray();
    private static readonly byte[] LastChunk = "\r\n0\r\n\r\n"u8.ToArray();

    private readonly byte[] template = Encoding.ASCII.GetBytes(
        $"POST /api/generations HTTP/1.1\r\nHost: {api.Authority}\r\nAuthorization: Bearer gk_bench_{UserMark}\r\nIdempotency-Key: "
            + $"bench-{KeyMark}\r\n" +
        $"Content-Type: application/json\r\nContent-Length: {Body.Length}\r\n\r\n{Body}");

    private ulong keys = (ulong)TimeProvider.System.GetUtcNow().UtcTicks << 8; // no two runs share a key

    /// <summary>Whether 429 and 503 count as answers, if they say when to come again.</summary>
    public bool MayRefuse { get; init; }

    /// <param name="connections">Each has at most one request under way.</param>
    /// <param name="warmUp">Not measured.</param>
    /// <param name="duration">Measured.</param>
    /// <param name="ct">Ends it.</param>
    /// <param name="perSecond">How often is asked, as long as a connection is free for it; without it a connection asks again as soon as it was
    /// answered.</param>
    public Task<LoadRun> RunAsync(int connections, TimeSpan warmUp, TimeSpan duration, CancellationToken ct, double? perSecond = null) =>
        Task.Factory.StartNew(() => Run(connections, warmUp, duration, perSecond, ct), ct, TaskCreationOptions.LongRunning, TaskScheduler.Default);

    /// <summary>
    /// One thread for all connections: answers come many at a time, so one poll serves many. A task a connection costs three times as much.
    /// </summary>
    private LoadRun Run(int count, TimeSpan warmUp, TimeSpan duration, double? perSecond, CancellationToken ct)
    {
        var begin = TimeProvider.System.GetTimestamp();
        var measured = begin + Ticks(warmUp);
        var end = measured + Ticks(duration);
        var latencies = new List<long>(capacity: 1 << 18);
        var (accepted, refused, offered, sent) = (0L, 0L, 0L, 0L);
        var connections = Enumerable.Range(0, count).Select(_ => new Connection(template, api, users, keys += 1UL << 32)).ToArray();
        var idle = new Queue<int>(Enumerable.Range(0, count));
        try
        {
            var polled = connections.Select(c => new PollEntry { FileDescriptor = c.FileDescriptor, Events = PollEntry.Readable }).ToArray();
            var heardAt = begin;
            for (var underWay = 0; ;)
            {
                var now = TimeProvider.System.GetTimestamp();
                var due = perSecond is { } rate ? (long)((now - begin) * rate / TimeProvider.System.TimestampFrequency) : long.MaxValue;
                for (; now < end && sent < due && idle.TryDequeue(out var free); sent++, underWay++)
                {
                    connections[free].Send();
                    offered += connections[free].SentAt >= measured ? 1 : 0;
                }

                if (underWay == 0 && now >= end)
                {
                    break;
                }

                if (Poll(polled, (nuint)count, perSecond is null ? 10_000 : PaceMilliseconds) > 0)
                {
                    heardAt = TimeProvider.System.GetTimestamp();
                }
                else if (underWay > 0 && TimeProvider.System.GetElapsedTime(heardAt).TotalSeconds > 10)
                {
                    throw new InvalidOperationException(
                    $"{underWay} requests got no answer in ten seconds.");
                }

                ct.ThrowIfCancellationRequested();
                for (var i = 0; i < count; i++)
                {
                    if (polled[i].Returned == 0 || !connections[i].Receive(MayRefuse, out var isAccepted))
                    {
                        continue;
                    }

                    underWay--;
                    idle.Enqueue(i);
                    accepted += isAccepted ? 1 : 0;
                    now = TimeProvider.System.GetTimestamp();
                    if (connections[i].SentAt < measured || now > end)
                    {
                        continue;
                    }

                    if (isAccepted)
                    {
                        latencies.Add(now - connections[i].SentAt);
                    }
                    else
                    {
                        refused++;
                    }
                }
            }
        }
        finally
        {
            Array.ForEach(connections, connection => connection.Dispose());
        }

        latencies.Sort();
        return new LoadRun(
            accepted, latencies.Count / duration.TotalSeconds, Percentile(0.5), Percentile(0.99), offered / duration.TotalSeconds,
                refused / duration.TotalSeconds);

        double Percentile(double share) => latencies.Count == 0 ? double.NaN
            : latencies[Math.Min(latencies.Count - 1, (int)(latencies.Count * share))] * 1000.0 / TimeProvider.System.TimestampFrequency;

        static long Ticks(TimeSpan span) => (long)(span.TotalSeconds * TimeProvider.System.TimestampFrequency);
    }

    [DllImport("libc", EntryPoint = "poll", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int Poll([In, Out] PollEntry[] entries, nuint count, int timeout);

    /// <summary>poll(2)'s struct pollfd.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct PollEntry
    {
        public const short Readable = 1;

        public int FileDescriptor;
        public short Events;
        public short Returned;
    }

    private sealed class Connection : IDisposable
    {
        private readonly byte[] request;
        private readonly byte[] answer = new byte[8192];
        private readonly Socket socket = new(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        private readonly int users;
        private readonly int userAt;
        private readonly int keyAt;
        private ulong key;
        private int received;

        public Connection(byte[] template, Uri api, int users, ulong firstKey)
        {
            (request, this.users, key) = ((byte[])template.Clone(), users, firstKey);
            (userAt, keyAt) = (request.AsSpan().IndexOf(Encoding.ASCII.GetBytes(UserMark)),
                request.AsSpan().IndexOf(Encoding.ASCII.GetBytes(KeyMark)));
            socket.Connect(new IPEndPoint(IPAddress.Parse(api.Host), api.Port));
        }

        public int FileDescriptor => (int)socket.SafeHandle.DangerousGetHandle();

        /// <summary>When the request under way was sent, as a timestamp.</summary>
        public long SentAt { get; private set; }

        public void Send()
        {
            key++;
            Utf8Formatter.TryFormat(key, request.AsSpan(keyAt, KeyMark.Length), out _, new StandardFormat('x', 16));
            // A multiplicative hash of the key: any user, and each equally often.
            var user = (int)((key * 0x9E3779B97F4A7C15 >> 33) % (ulong)users) + 1;
            Utf8Formatter.TryFormat(user, request.AsSpan(userAt, UserMark.Length), out _, new StandardFormat('D', 5));
            received = 0;
            SentAt = TimeProvider.System.GetTimestamp();
            socket.Send(request);
        }

        /// <summary>Takes what has arrived; true when the answer is complete.</summary>
        public bool Receive(bool mayRefuse, out bool isAccepted)
        {
            isAccepted = false;
            var more = socket.Receive(answer.AsSpan(received));
            if (more == 0)
            {
                throw new InvalidOperationException("The Api closed a connection.");
            }

            received += more;
            var text = answer.AsSpan(0, received);
            if (!IsComplete(text))
            {
                return false;
            }

            isAccepted = text.StartsWith(AcceptedStatus);
            return isAccepted || (mayRefuse && (text.StartsWith(TooManyStatus) || text.StartsWith(UnavailableStatus))
                && text.IndexOf(RetryAfterHeader) > 0)
                ? true
                : throw new InvalidOperationException($"Not accepted: {Encoding.UTF8.GetString(text)}");
        }

        public void Dispose() => socket.Dispose();

        private static bool IsComplete(ReadOnlySpan<byte> received)
        {
            var headers = received.IndexOf(EndOfHeaders);
            if (headers < 0)
            {
                return false;
            }

            var length = received[..headers].IndexOf(LengthHeader);
            if (length < 0)
            {
                return received.EndsWith(LastChunk);
            }

            return Utf8Parser.TryParse(received[(length + LengthHeader.Length)..], out int bytes, out _)
                && received.Length == headers + EndOfHeaders.Length + bytes;
        }
    }
}
