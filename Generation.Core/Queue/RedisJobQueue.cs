using System.Collections.Concurrent;
using System.Globalization;
using Microsoft.Extensions.Logging;
using StackExchange.Redis;

namespace Generation.Core.Queue;

/// <summary>
/// <see cref="IJobQueue"/> over Redis Streams: a stream a lane with one consumer group. An acknowledged entry is deleted, so the
/// stream's length is what is unclaimed; it is never trimmed (<c>MAXLEN</c> would drop undelivered work).
/// <para>
/// A lost Redis is noticed by two signs: the marker key, which is written with the group and checked by every send, is gone; or entries
/// that were sent are gone (<see cref="FindGoneAsync"/>). Streams through <c>EXECUTE</c>, because the client library knows no
/// streams in the version that is to be had everywhere.
/// </para>
/// </summary>
/// <param name="redis">Shared connection for everything that does not wait.</param>
/// <param name="openBlocking">
/// Opens a connection for reads that wait: on the shared one they would hold up everybody else. One is kept a lane.
/// </param>
/// <param name="options">Names and times.</param>
/// <param name="time">Paces the look for what dead workers left behind.</param>
/// <param name="log">For recoveries.</param>
public sealed class RedisJobQueue(
    IConnectionMultiplexer redis, Func<Task<IConnectionMultiplexer>> openBlocking, QueueOptions options, TimeProvider time,
    ILogger<RedisJobQueue> log) : IJobQueue, IDisposable
{
    private const string Group = "workers";

    /// <summary>
    /// Appends while the stream is shorter than the window, atomically, and makes marker and group anew when the marker is gone.
    /// KEYS: stream, marker. ARGV: window, group, then outbox id, session id, envelope, traceparent per message.
    /// </summary>
    private const string SendScript =
        """
        local lost = 0
        if redis.call('EXISTS', KEYS[2]) == 0 then
            lost = 1
            redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[2], '0', 'MKSTREAM')
            redis.call('SET', KEYS[2], '1')
        end
        local room = tonumber(ARGV[1]) - redis.call('XLEN', KEYS[1])
        local reply = { tostring(lost) }
        for i = 3, #ARGV, 4 do
            if room <= 0 then break end
            room = room - 1
            reply[#reply + 1] = redis.call('XADD', KEYS[1], '*', 'o', ARGV[i], 's', ARGV[i + 1], 'e', ARGV[i + 2], 't', ARGV[i + 3])
        end
        return reply
        """;

    /// <summary>KEYS: stream. ARGV: ids. Answers those that are gone.</summary>
    private const string GoneScript =
        """
        local gone = {}
        for i = 1, #ARGV do
            if #redis.call('XRANGE', KEYS[1], ARGV[i], ARGV[i]) == 0 then gone[#gone + 1] = ARGV[i] end
        end
        return gone
        """;

    private readonly string consumer = $"{Environment.MachineName}-{Environment.ProcessId}-{Guid.NewGuid():N}"[..^24];
    private readonly ConcurrentDictionary<string, Lazy<Task<IConnectionMultiplexer>>> blocking = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, (string Cursor, long At)> reclaims = new(StringComparer.Ordinal);

    public string MessagingSystem => "redis";

    public Task<Sent> SendAsync(string lane, IReadOnlyList<JobMessage> messages, int window, CancellationToken ct) => CallAsync("send", lane, options.SendTimeout, async () =>
    {
        var arguments = new RedisValue[2 + (messages.Count * 4)];
        (arguments[0], arguments[1]) = (window, Group);
        for (var i = 0; i < messages.Count; i++)
        {
            var message = messages[i];
            arguments[2 + (i * 4)] = message.OutboxId;
            arguments[3 + (i * 4)] = message.SessionId.ToString();
            arguments[4 + (i * 4)] = message.Envelope;
            arguments[5 + (i * 4)] = message.TraceParent ?? "";
        }

        var reply = (string[])(await redis.GetDatabase().ScriptEvaluateAsync(SendScript, [Stream(lane), Marker(lane)], arguments))!;
        return new Sent(reply[1..], QueueWasLost: reply[0] == "1");
    }, ct);

    public async Task<IReadOnlyList<Delivery>> ReceiveAsync(string lane, int max, TimeSpan wait, CancellationToken ct)
    {
        // Four times in a visibility timeout, and again at once while there is more.
        var last = reclaims.GetValueOrDefault(lane, ("0-0", 0));
        if (last.Cursor != "0-0" || last.At == 0 || time.GetElapsedTime(last.At) > options.VisibilityTimeout / 4)
        {
            var left = await CallAsync("reclaim", lane, options.SendTimeout, () => ReclaimAsync(lane, max, last.Cursor), ct);
            if (left.Count > 0)
            {
                return left;
            }
        }

        var connection = await blocking.GetOrAdd(lane, _ => new Lazy<Task<IConnectionMultiplexer>>(openBlocking)).Value;
        return await CallAsync("receive", lane, wait + options.SendTimeout, async () =>
        {
            var reply = await connection.GetDatabase().ExecuteAsync(
                "XREADGROUP", "GROUP", Group, consumer, "COUNT", max, "BLOCK", Math.Max(1, (long)wait.TotalMilliseconds), "STREAMS", (RedisKey)Stream(lane), ">");
            return reply.IsNull ? [] : Entries(((RedisResult[])((RedisResult[])reply!)[0]!)[1]);
        }, ct);
    }

    public Task CompleteAsync(string lane, IReadOnlyList<string> receipts, CancellationToken ct) => CallAsync("complete", lane, options.SendTimeout, async () =>
    {
        var database = redis.GetDatabase();
        object[] ids = [.. receipts];
        var acknowledged = database.ExecuteAsync("XACK", [(RedisKey)Stream(lane), Group, .. ids]);
        await database.ExecuteAsync("XDEL", [(RedisKey)Stream(lane), .. ids]); // pipelined behind the acknowledgement
        await acknowledged;
        return true;
    }, ct);

    public Task DeadLetterAsync(string lane, Delivery delivery, string reason, CancellationToken ct) => CallAsync("dead-letter", lane, options.SendTimeout, async () =>
    {
        await redis.GetDatabase().ExecuteAsync(
            "XADD", (RedisKey)$"{Stream(lane)}:dead", "*", "reason", reason, "e", delivery.Message.Envelope, "s", delivery.Message.SessionId.ToString());
        await CompleteAsync(lane, [delivery.Receipt], ct);
        return true;
    }, ct);

    public Task<long> DepthAsync(string lane, CancellationToken ct) => CallAsync("depth", lane, options.SendTimeout,
        async () => (long)await redis.GetDatabase().ExecuteAsync("XLEN", (RedisKey)Stream(lane)), ct);

    public Task<IReadOnlyList<string>> FindGoneAsync(string lane, IReadOnlyList<string> messageIds, CancellationToken ct) =>
        CallAsync<IReadOnlyList<string>>("look for lost messages", lane, options.SendTimeout, async () =>
            (string[])(await redis.GetDatabase().ScriptEvaluateAsync(GoneScript, [Stream(lane)], [.. messageIds.Select(id => (RedisValue)id)]))!, ct);

    public void Dispose()
    {
        foreach (var connection in blocking.Values.Where(c => c is { IsValueCreated: true, Value.IsCompletedSuccessfully: true }))
        {
            connection.Value.Result.Close(allowCommandsToComplete: false); // waiting for a blocking read would hold up the shutdown
            connection.Value.Result.Dispose();
        }
    }

    /// <summary>What was delivered to a worker that has not acknowledged it for the visibility timeout.</summary>
    private async Task<IReadOnlyList<Delivery>> ReclaimAsync(string lane, int max, string start)
    {
        var reply = (RedisResult[])(await redis.GetDatabase().ExecuteAsync(
            "XAUTOCLAIM", (RedisKey)Stream(lane), Group, consumer, (long)options.VisibilityTimeout.TotalMilliseconds, start, "COUNT", max))!;
        reclaims[lane] = ((string)reply[0]!, time.GetTimestamp());
        var entries = Entries(reply[1]);
        if (entries.Count > 0)
        {
            log.LogInformation("{Count} messages of lane {Lane} were left behind by another worker and are taken over", entries.Count, lane);
        }

        return entries;
    }

    private static List<Delivery> Entries(RedisResult entries)
    {
        var deliveries = new List<Delivery>();
        foreach (var entry in (RedisResult[])entries!)
        {
            // An entry that was deleted while pending comes back as nil.
            if (entry.IsNull || ((RedisResult[])entry!)[1].IsNull)
            {
                continue;
            }

            var id = (string)((RedisResult[])entry!)[0]!;
            var fields = (string[])((RedisResult[])entry!)[1]!;
            string Field(string name) => Array.IndexOf(fields, name) is >= 0 and var at && at % 2 == 0 ? fields[at + 1] : "";
            _ = long.TryParse(Field("o"), CultureInfo.InvariantCulture, out var outboxId);
            _ = Guid.TryParse(Field("s"), out var sessionId);
            deliveries.Add(new Delivery(id, new JobMessage(outboxId, sessionId, Field("e"), Field("t") is { Length: > 0 } trace ? trace : null)));
        }

        return deliveries;
    }

    /// <summary>Bounds a call in time, makes a missing group, and turns the library's exceptions into one.</summary>
    private async Task<T> CallAsync<T>(string what, string lane, TimeSpan timeout, Func<Task<T>> call, CancellationToken ct)
    {
        try
        {
            try
            {
                return await call().WaitAsync(timeout, ct);
            }
            catch (RedisServerException e) when (e.Message.StartsWith("NOGROUP", StringComparison.Ordinal))
            {
                // A wiped Redis, met by a worker first. The marker is the relay's to write: that is how it learns of the loss.
                await EnsureGroupAsync(lane);
                return await call().WaitAsync(timeout, ct);
            }
        }
        catch (Exception e) when (e is RedisException or TimeoutException or ObjectDisposedException)
        {
            throw new QueueException($"Redis did not {what} on lane {lane}. Is it up at ConnectionStrings:redis? {e.Message}", e);
        }
    }

    private async Task EnsureGroupAsync(string lane)
    {
        try
        {
            await redis.GetDatabase().ExecuteAsync("XGROUP", "CREATE", (RedisKey)Stream(lane), Group, "0", "MKSTREAM");
        }
        catch (RedisServerException e) when (e.Message.StartsWith("BUSYGROUP", StringComparison.Ordinal))
        {
            log.LogDebug("Another process made the group of lane {Lane}", lane);
        }
    }

    private string Stream(string lane) => $"{options.Prefix}:{{{lane}}}:jobs"; // {lane}: one cluster slot for stream and marker

    private string Marker(string lane) => $"{options.Prefix}:{{{lane}}}:marker";
}
