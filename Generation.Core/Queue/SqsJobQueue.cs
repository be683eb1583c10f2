using System.Collections.Concurrent;
using System.Globalization;
using System.Text;
using Microsoft.Extensions.Logging;

namespace Generation.Core.Queue;

/// <summary>
/// <see cref="IJobQueue"/> over SQS. A lane has the queue at <c>Queue:Lanes:&lt;lane&gt;:Url</c>, or shares <c>Queue:Sqs:MainQueueUrl</c>
/// with others; its messages carry its name, and <see cref="SqsInbox"/> sorts what arrives. The body is the envelope, the rest are
/// attributes.
/// <para>What SQS cannot do is judged from outside. Whether it still has a message: by the message's age (<see cref="FindMissingAsync"/>), and
/// the claim refuses the duplicates of a wrong guess. How much is in it: by its approximate counts, a second old at most, with what this
/// process has sent and removed since. So a window may be passed by what other relays send in the same second.</para>
/// </summary>
/// <param name="client">The calls.</param>
/// <param name="read">Options as they are now: a URL that is put right in a settings file works without a restart.</param>
/// <param name="time">Ages of messages and counts.</param>
/// <param name="log">For entries that the server refuses.</param>
public sealed class SqsJobQueue(SqsConnection client, Func<QueueOptions> read, TimeProvider time, ILogger<SqsJobQueue> log)
    : IJobQueue, IAsyncDisposable, IDisposable
{
    /// <summary>Attribute that names the lane; a message without it may be received for any lane.</summary>
    internal const string LaneAttribute = "lane";

    private const string OutboxAttribute = "outboxId";
    private const string SessionAttribute = "sessionId";
    private const string TraceAttribute = "traceparent";

    /// <summary>Batches under way at once: row locks are held meanwhile, and a call takes 10 ms and more.</summary>
    private const int ParallelBatches = 8;

    private static readonly TimeSpan DepthAge = TimeSpan.FromSeconds(1);

    private readonly ConcurrentDictionary<string, SqsInbox> inboxes = new(StringComparer.Ordinal);
    private readonly Lock gate = new();
    private readonly Dictionary<string, (long Messages, long At)> depths = new(StringComparer.Ordinal);

    public string MessagingSystem => "aws_sqs";

    public async Task<Sent> SendAsync(string lane, IReadOnlyList<JobMessage> messages, int window, CancellationToken ct)
    {
        var options = read();
        var queue = QueueOf(lane, options);
        using var timer = new CancellationTokenSource(options.SendTimeout, time);
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(ct, timer.Token);
        try
        {
            var room = window - await DepthAsync(queue, limit.Token);
            var entries = messages.Take((int)Math.Clamp(room, 0, messages.Count)).Select(message => Entry(lane, message)).ToList();
            var results = new SqsEntryResult?[entries.Count];
            for (var round = 0; round < 2; round++)
            {
                var open = Enumerable.Range(0, entries.Count).Where(i => results[i] is null or { Error: not null, IsSenderFault: false });
                await Parallel.ForEachAsync(Batches(entries, open),
                    new ParallelOptions { MaxDegreeOfParallelism = ParallelBatches, CancellationToken = limit.Token }, async (batch, stop) =>
                {
                    var answers = await client.SendAsync(queue, batch.ConvertAll(i => entries[i]), stop);
                    batch.Zip(answers).ToList().ForEach(pair => results[pair.First] = pair.Second);
                });
            }

            Count(queue, results.Count(result => result!.Error is null));

            // A prefix: what was taken behind a failed one is sent again with it, and the claim tells the second from the first.
            var sentAt = time.GetUtcNow().ToUnixTimeMilliseconds();
            var taken = results.TakeWhile(result => result!.Error is null).Select(result => NewId(sentAt, result!.MessageId!)).ToList();
            if (taken.Count < results.Length)
            {
                var refused = $"{queue.Setting} refuses a message of lane {lane}: {results[taken.Count]!.Error}";
                if (taken.Count == 0)
                {
                    throw new QueueException(refused);
                }

                log.LogWarning("{Problem}", refused);
            }

            return new Sent(taken, IsQueueLost: false);
        }
        catch (OperationCanceledException e) when (!ct.IsCancellationRequested)
        {
            throw new QueueException($"SQS did not take {messages.Count} messages of lane {lane} within {options.SendTimeout.TotalSeconds:0.#} s "
                + "(Queue:SendTimeout).", e);
        }
    }

    public async Task<IReadOnlyList<Delivery>> ReceiveAsync(string lane, int max, TimeSpan wait, CancellationToken ct)
    {
        var queue = QueueOf(lane, read());
        var inbox = inboxes.GetOrAdd(queue.Url, _ => new SqsInbox(client, read, time, log));
        var messages = await inbox.TakeAsync(queue, lane, max, wait, ct);
        return [.. messages.Select(message =>
        {
            _ = long.TryParse(message.Attributes.GetValueOrDefault(OutboxAttribute), CultureInfo.InvariantCulture, out var outboxId);
            _ = Guid.TryParse(message.Attributes.GetValueOrDefault(SessionAttribute), out var sessionId);
            return new Delivery(message.Receipt, new JobMessage(outboxId, sessionId, message.Body,
                message.Attributes.GetValueOrDefault(TraceAttribute))) { MessageId = message.MessageId };
        })];
    }

    public async Task CompleteAsync(string lane, IReadOnlyList<string> receipts, CancellationToken ct)
    {
        var queue = QueueOf(lane, read());
        string? failure = null;
        foreach (var batch in receipts.Chunk(SqsConnection.MaxBatch))
        {
            var results = await client.DeleteAsync(queue, batch, ct);
            var again = batch.Where((_, i) => results[i] is { Error: not null, IsSenderFault: false }).ToList();
            results = again.Count > 0 ? [.. results.Where(r => r.Error is null || r.IsSenderFault), .. await client.DeleteAsync(queue, again, ct)]
                : results;
            failure = results.FirstOrDefault(r => r.Error is not null)?.Error ?? failure;
            Count(queue, -results.Count(r => r.Error is null));
        }

        if (failure is not null)
        {
            throw new QueueException($"{queue.Setting} did not remove all messages of lane {lane}: {failure}");
        }
    }

    public async Task DeadLetterAsync(string lane, Delivery delivery, string reason, CancellationToken ct)
    {
        var dead = new SqsQueue("Queue:Sqs:DlqQueueUrl (SQS_DLQ_QUEUE_URL)", read().Sqs.DlqQueueUrl);
        if (dead.Url.Length == 0)
        {
            // Removing it would lose it, failing would hold up what came with it.
            log.LogWarning("A message of lane {Lane} ({Reason}) is left to the redrive policy of its queue, because {Setting} is not set", lane,
                reason, dead.Setting);
            return;
        }

        var entry = Entry(lane, delivery.Message);
        var result = (await client.SendAsync(dead,
            [new SqsEntry(entry.Body, new Dictionary<string, string>(entry.Attributes, StringComparer.Ordinal) { ["reason"] = Legal(reason) })],
            ct))[0];
        if (result.Error is not null)
        {
            throw new QueueException($"{dead.Setting} does not take a message: {result.Error}");
        }

        await CompleteAsync(lane, [delivery.Receipt], ct);
    }

    /// <summary>Of the lane's queue: lanes that share one have one depth.</summary>
    public Task<long> DepthAsync(string lane, CancellationToken ct) => DepthAsync(QueueOf(lane, read()), ct);

    /// <summary>Those older than <c>Queue:Sqs:LostAfter</c>. No call is made.</summary>
    public Task<IReadOnlyList<string>> FindMissingAsync(string lane, IReadOnlyList<string> messageIds, CancellationToken ct)
    {
        var lostBefore = (time.GetUtcNow() - read().Sqs.LostAfter).ToUnixTimeMilliseconds();
        return Task.FromResult<IReadOnlyList<string>>(
            [.. messageIds.Where(id => !long.TryParse(id.Split('-')[0], CultureInfo.InvariantCulture, out var sentAt) || sentAt < lostBefore)]);
    }

    public async ValueTask DisposeAsync()
    {
        await Task.WhenAll(inboxes.Values.Select(inbox => inbox.DisposeAsync().AsTask()));
        client.Dispose();
    }

    /// <summary>Without the wait for the last receives and for what is given back: it comes again after the visibility timeout.</summary>
    public void Dispose() => client.Dispose();

    private static SqsQueue QueueOf(string lane, QueueOptions options) => options.ByLane.TryGetValue(lane, out var own) && own.Url.Length > 0
        ? new SqsQueue(LaneOptions.UrlSetting(lane), own.Url)
        : new SqsQueue(SqsOptions.MainQueueSetting, options.Sqs.MainQueueUrl);

    private static SqsEntry Entry(string lane, JobMessage message)
    {
        var attributes = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            [LaneAttribute] = lane,
            [OutboxAttribute] = message.OutboxId.ToString(CultureInfo.InvariantCulture),
            [SessionAttribute] = message.SessionId.ToString(),
        };
        if (!string.IsNullOrEmpty(message.TraceParent))
        {
            attributes[TraceAttribute] = message.TraceParent;
        }

        return new SqsEntry(Legal(message.Envelope), attributes);
    }

    /// <summary>
    /// The same JSON without the characters that XML 1.0 does not know, which SQS refuses, and without surrogate pairs, which some servers
    /// take for such; in JSON both stand only within strings, where they can be escaped.
    /// </summary>
    private static string Legal(string json)
    {
        static bool IsLegal(char c) => c is '\t' or '\n' or '\r' or (>= ' ' and <= '\uD7FF') or (>= '\uE000' and <= '\uFFFD');
        if (json.All(IsLegal))
        {
            return json.Length > 0 ? json : "{}"; // an empty body is refused as well
        }

        var text = new StringBuilder(json.Length + 64);
        foreach (var c in json)
        {
            _ = IsLegal(c) ? text.Append(c) : text.Append(CultureInfo.InvariantCulture, $"\\u{(int)c:x4}");
        }

        return text.ToString();
    }

    /// <summary>In the order given, as many as fit by number and by size.</summary>
    private static IEnumerable<List<int>> Batches(List<SqsEntry> entries, IEnumerable<int> indexes)
    {
        var (batch, bytes) = (new List<int>(SqsConnection.MaxBatch), 0);
        foreach (var i in indexes.ToList())
        {
            if (batch.Count == SqsConnection.MaxBatch || (batch.Count > 0 && bytes + entries[i].Bytes > SqsConnection.MaxBatchBytes))
            {
                yield return batch;
                (batch, bytes) = (new List<int>(SqsConnection.MaxBatch), 0);
            }

            batch.Add(i);
            bytes += entries[i].Bytes;
        }

        if (batch.Count > 0)
        {
            yield return batch;
        }
    }

    /// <summary>
    /// The time when it was sent, and a unique number. It looks like an id of Redis Streams: after a change of transport that side finds it gone.
    /// </summary>
    private static string NewId(long sentAt, string messageId) =>
        $"{sentAt}-{BitConverter.ToUInt64(System.Security.Cryptography.SHA256.HashData(Encoding.UTF8.GetBytes(messageId)))}";

    private async Task<long> DepthAsync(SqsQueue queue, CancellationToken ct)
    {
        lock (gate)
        {
            if (depths.TryGetValue(queue.Url, out var known) && time.GetElapsedTime(known.At) < DepthAge)
            {
                return known.Messages;
            }
        }

        var messages = await client.DepthAsync(queue, ct);
        lock (gate)
        {
            depths[queue.Url] = (messages, time.GetTimestamp());
        }

        return messages;
    }

    private void Count(SqsQueue queue, int change)
    {
        lock (gate)
        {
            if (depths.TryGetValue(queue.Url, out var known))
            {
                depths[queue.Url] = (Math.Max(0, known.Messages + change), known.At);
            }
        }
    }
}
