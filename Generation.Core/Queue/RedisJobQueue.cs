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
/// that were sent are gone (<see cref="FindMissingAsync"/>).
/// </para>
/// </summary>
/// <param name="redis">Shared connection for everything that does not wait.</param>
/// <param name="openBlocking">
/// Opens a connection for reads that wait: on the shared one they would hold up everybody else. One is kept a lane.
/// </param>
/// <param name="options">Names and times.</param>
/// <param name="time">Sets the interval at which messages of dead workers are reclaimed.</param>
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

    /// <summary>
    /// Every worker that ever started left a consumer behind. One that has not read for so long, and holds nothing, is a worker that is gone; should
    /// it come back, its next read makes it anew. In a script, so that nothing is delivered to it between the look and the end.
    /// KEYS: stream. ARGV: group, milliseconds.
    /// </summary>
    private const string RemoveConsumersScript =
        """
        local removed = 0
        for _, fields in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
            local it = {}
            for i = 1, #fields, 2 do it[fields[i]] = fields[i + 1] end
            if it.pending == 0 and it.idle > tonumber(ARGV[2]) then
                redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], it.name)
                removed = removed + 1
            end
        end
        return removed
        """;

    /// <summary>In visibility timeouts.</summary>
    private const int ConsumerLifetime = 20;

    private readonly string consumer = $"{Environment.MachineName}-{Environment.ProcessId}-{Guid.NewGuid():N}"[..^24];
    private readonly ConcurrentDictionary<string, Lazy<Task<IConnectionMultiplexer>>> blocking = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, (string Cursor, long At)> reclaims = new(StringComparer.Ordinal);

    public string MessagingSystem => "redis";

    public Task<Sent> SendAsync(string lane, IReadOnlyList<JobMessage> messages, int window, CancellationToken ct) =>
        CallAsync("send", lane, options.SendTimeout, async () =>
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
        return new Sent(reply[1..], IsQueueLost: reply[0] == "1");
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
            // The one command through EXECUTE: the client's own XREADGROUP cannot wait.
            var reply = await connection.GetDatabase().ExecuteAsync(
                "XREADGROUP", "GROUP", Group, consumer, "COUNT", max, "BLOCK", Math.Max(1, (long)wait.TotalMilliseconds), "STREAMS",
                    (RedisKey)Stream(lane), ">");
            return Deliveries(ReadEntries(reply));
        }, ct);
    }

    public Task CompleteAsync(string lane, IReadOnlyList<string> receipts, CancellationToken ct) =>
        CallAsync("complete", lane, options.SendTimeout, async () =>
    {
        var database = redis.GetDatabase();
        RedisValue[] ids = [.. receipts.Select(receipt => (RedisValue)receipt)];
        var acknowledged = database.StreamAcknowledgeAsync(Stream(lane), Group, ids);
        await database.StreamDeleteAsync(Stream(lane), ids); // pipelined behind the acknowledgement
        await acknowledged;
        return true;
    }, ct);

    public Task DeadLetterAsync(string lane, Delivery delivery, string reason, CancellationToken ct) =>
        CallAsync("dead-letter", lane, options.SendTimeout, async () =>
    {
        NameValueEntry[] fields = [new("reason", reason), new("e", delivery.Message.Envelope), new("s", delivery.Message.SessionId.ToString())];
        await redis.GetDatabase().StreamAddAsync($"{Stream(lane)}:dead", fields);
        await CompleteAsync(lane, [delivery.Receipt], ct);
        return true;
    }, ct);

    public Task<long> DepthAsync(string lane, CancellationToken ct) => CallAsync("depth", lane, options.SendTimeout,
        () => redis.GetDatabase().StreamLengthAsync(Stream(lane)), ct);

    public Task<IReadOnlyList<string>> FindMissingAsync(string lane, IReadOnlyList<string> messageIds, CancellationToken ct) =>
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
        var claimed = await redis.GetDatabase().StreamAutoClaimAsync(Stream(lane), Group, consumer, (long)options.VisibilityTimeout.TotalMilliseconds,
            start, max);
        reclaims[lane] = (claimed.NextStartId.ToString(), time.GetTimestamp());
        if (reclaims[lane].Cursor == "0-0")
        {
            await redis.GetDatabase().ScriptEvaluateAsync(
                RemoveConsumersScript, [Stream(lane)], [Group, (long)(options.VisibilityTimeout * ConsumerLifetime).TotalMilliseconds]);
        }

        var deliveries = Deliveries(claimed.ClaimedEntries);
        if (deliveries.Count > 0)
        {
            log.LogInformation(OperationEvents.MessagesClaimed, "Claimed {Count} messages of lane {Lane} that another worker did not acknowledge",
                deliveries.Count, lane);
        }

        return deliveries;
    }

    /// <summary>
    /// The entries in a reply to <c>XREADGROUP</c> that names one stream: <c>[[name, entries]]</c> in RESP2, and in RESP3 the map <c>{name:
    /// entries}</c>.
    /// </summary>
    private static IEnumerable<StreamEntry> ReadEntries(RedisResult reply)
    {
        if (reply.IsNull)
        {
            return [];
        }

        var entries = reply[0].Length < 0 ? reply[1] : reply[0][1]; // a map is given as names and values in turn; a name has no length
        return ((RedisResult[])entries!).Where(entry => !entry.IsNull).Select(entry =>
        {
            var fields = (RedisValue[]?)entry[1] ?? [];
            return new StreamEntry((RedisValue)entry[0], [.. fields.Chunk(2).Select(field => new NameValueEntry(field[0], field[1]))]);
        });
    }

    private static List<Delivery> Deliveries(IEnumerable<StreamEntry> entries)
    {
        var deliveries = new List<Delivery>();
        foreach (var entry in entries)
        {
            // An entry that was deleted while pending comes back as nil, or without fields.
            if (entry.IsNull || entry.Values.Length == 0)
            {
                continue;
            }

            _ = long.TryParse((string?)entry["o"], CultureInfo.InvariantCulture, out var outboxId);
            _ = Guid.TryParse((string?)entry["s"], out var sessionId);
            var trace = (string?)entry["t"];
            deliveries.Add(new Delivery(entry.Id.ToString(), new JobMessage(
                outboxId, sessionId, (string?)entry["e"] ?? "", string.IsNullOrEmpty(trace) ? null : trace)));
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
            await LeaveDemotedServerAsync(lane, e);
            throw new QueueException($"Redis did not {what} on lane {lane}. Is it up at ConnectionStrings:redis? {e.Message}", e);
        }
    }

    private async Task LeaveDemotedServerAsync(string lane, Exception failure)
    {
        var isLeft = await RedisFailover.ReconnectAfterAsync(redis, failure, time);
        if (blocking.TryGetValue(lane, out var opening) && opening.IsValueCreated && opening.Value.IsCompletedSuccessfully)
        {
            isLeft |= await RedisFailover.ReconnectAfterAsync(await opening.Value, failure, time);
        }

        if (isLeft)
        {
            log.LogWarning("Redis takes no writes ({Problem}): connecting anew, for another server may be the primary now", failure.Message);
        }
    }

    private async Task EnsureGroupAsync(string lane)
    {
        try
        {
            await redis.GetDatabase().StreamCreateConsumerGroupAsync(Stream(lane), Group, StreamPosition.Beginning, createStream: true);
        }
        catch (RedisServerException e) when (e.Message.StartsWith("BUSYGROUP", StringComparison.Ordinal))
        {
            log.LogDebug("Another process made the group of lane {Lane}", lane);
        }
    }

    private string Stream(string lane) => $"{options.Prefix}:{{{lane}}}:jobs"; // {lane}: one cluster slot for stream and marker

    private string Marker(string lane) => $"{options.Prefix}:{{{lane}}}:marker";
}
