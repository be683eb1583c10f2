using System.Text.Json.Nodes;
using Generation.Core.Queue;

namespace Generation.Tests.Queue;

/// <summary>
/// What every <see cref="IJobQueue"/> does. Each test has queues of its own, empty; a message unacknowledged for a second comes again.
/// </summary>
public abstract class JobQueueContract : IAsyncLifetime
{
    protected const int Window = 1_000;

    private static readonly TimeSpan MaxWait = TimeSpan.FromSeconds(20);
    private static readonly TimeSpan Moment = TimeSpan.FromMilliseconds(300);

    private readonly List<IJobQueue> opened = [];
    private long lastOutboxId;

    public async ValueTask InitializeAsync() => await SetUpAsync();

    public async ValueTask DisposeAsync()
    {
        foreach (var queue in opened)
        {
            if (queue is IAsyncDisposable patient)
            {
                await patient.DisposeAsync();
            }
            else
            {
                (queue as IDisposable)?.Dispose();
            }
        }

        await TearDownAsync();
        GC.SuppressFinalize(this);
    }

    protected abstract Task SetUpAsync();

    protected abstract Task TearDownAsync();

    /// <summary>A process's own view of the test's queues, on a clock that is ahead.</summary>
    protected abstract IJobQueue NewQueue(TimeSpan clockAhead);

    /// <summary>One whose server does not answer.</summary>
    protected abstract IJobQueue NewQueueWithoutServer();

    /// <summary>Everything in the lane is gone.</summary>
    protected abstract Task LoseAsync(string lane);

    /// <summary>The reasons in the dead letters.</summary>
    protected abstract Task<IReadOnlyList<string>> DeadReasonsAsync(string lane);

    /// <summary>How long a message must be gone until the queue can know it.</summary>
    protected abstract TimeSpan LostAfter { get; }

    [Fact]
    public async Task A_message_arrives_as_it_was_sent_and_only_in_its_lane()
    {
        var (relay, worker) = (Open(), Open());
        var sent = Message("""{"payloadVersion":1,"params":{"prompt":"a \"dusk\" \\ at\nsea 🌊 ? \u0001 日本"}}""".Replace('?', '\uFFFE'),
            trace: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        var plain = Message();
        await relay.SendAsync("image", [sent], Window, default);
        await relay.SendAsync("video", [plain], Window, default);

        var image = Assert.Single(await ReceiveAsync(worker, "image", 1)).Message;
        Assert.Equal((sent.OutboxId, sent.SessionId, sent.TraceParent), (image.OutboxId, image.SessionId, image.TraceParent));
        Assert.True(JsonNode.DeepEquals(JsonNode.Parse(sent.Envelope), JsonNode.Parse(image.Envelope)), image.Envelope);
        Assert.Equal(plain, Assert.Single(await ReceiveAsync(worker, "video", 1)).Message);
        Assert.Empty(await worker.ReceiveAsync("gpu", 10, Moment, default));
    }

    [Fact]
    public async Task Many_messages_get_an_id_each_and_arrive_once_at_one_of_several_workers()
    {
        var relay = Open();
        var messages = Enumerable.Range(0, 57).Select(_ => Message(bytes: 8_000)).ToList();

        var sent = await relay.SendAsync("image", messages, Window, default);
        Assert.Equal(57, sent.MessageIds.Distinct(StringComparer.Ordinal).Count());
        Assert.Equal(57, await relay.DepthAsync("image", default));

        var workers = await Task.WhenAll(Enumerable.Range(0, 3).Select(_ => TakeAllAsync(Open())));
        Assert.All(workers, taken => Assert.True(taken.Count < 57));
        Assert.Equal(messages.Select(m => m.OutboxId).Order(), workers.SelectMany(taken => taken).Order());
        await UntilAsync(async () => await Open().DepthAsync("image", default) == 0);

        async Task<List<long>> TakeAllAsync(IJobQueue worker)
        {
            var taken = new List<long>();
            while (await worker.ReceiveAsync("image", 5, TimeSpan.FromSeconds(1), default) is { Count: > 0 } some)
            {
                Assert.True(some.Count <= 5);
                taken.AddRange(some.Select(d => d.Message.OutboxId));
                await worker.CompleteAsync("image", [.. some.Select(d => d.Receipt)], default);
            }

            return taken;
        }
    }

    [Fact]
    public async Task A_full_window_takes_what_fits_and_takes_again_when_something_was_completed()
    {
        var queue = Open();
        var messages = Enumerable.Range(0, 10).Select(_ => Message()).ToList();

        Assert.Equal(4, (await queue.SendAsync("image", messages, 4, default)).MessageIds.Count);
        Assert.Empty((await queue.SendAsync("image", messages[4..], 4, default)).MessageIds);
        var received = await ReceiveAsync(queue, "image", 4);
        Assert.Equal(messages.Take(4).Select(m => m.OutboxId), received.Select(d => d.Message.OutboxId).Order());
        Assert.Empty((await queue.SendAsync("image", messages[4..], 4, default)).MessageIds); // delivered is not done
        await queue.CompleteAsync("image", [received[0].Receipt, received[1].Receipt], default);
        Assert.Equal(2, (await queue.SendAsync("image", messages[4..], 4, default)).MessageIds.Count);
    }

    [Fact]
    public async Task What_a_worker_left_behind_comes_to_another_and_what_it_completed_does_not()
    {
        var (dead, heir) = (Open(), Open());
        await dead.SendAsync("image", [Message(), Message(), Message()], Window, default);
        var received = await ReceiveAsync(dead, "image", 3);
        await dead.CompleteAsync("image", [received[1].Receipt], default);

        var left = await ReceiveAsync(heir, "image", 2);

        Assert.Equal(new[] { received[0], received[2] }.Select(d => d.Message.OutboxId).Order(), left.Select(d => d.Message.OutboxId).Order());
        await heir.CompleteAsync("image", [.. left.Select(d => d.Receipt)], default);
        Assert.Empty(await heir.ReceiveAsync("image", 10, TimeSpan.FromSeconds(2), default)); // longer than the visibility timeout
        await UntilAsync(async () => await Open().DepthAsync("image", default) == 0);
    }

    [Fact]
    public async Task A_receive_waits_for_the_first_message_and_no_longer_than_it_was_told()
    {
        var (relay, worker) = (Open(), Open());
        Assert.Empty(await worker.ReceiveAsync("image", 10, Moment, default));

        var waiting = worker.ReceiveAsync("image", 10, MaxWait, default);
        var started = TimeProvider.System.GetTimestamp();
        await relay.SendAsync("image", [Message()], Window, default);

        Assert.Single(await waiting);
        Assert.True(TimeProvider.System.GetElapsedTime(started) < MaxWait / 2);
    }

    [Fact]
    public async Task A_dead_letter_stands_aside_with_its_reason_and_does_not_come_again()
    {
        var queue = Open();
        await queue.SendAsync("image", [Message() with { SessionId = Guid.Empty }], Window, default);
        var broken = Assert.Single(await ReceiveAsync(queue, "image", 1));
        Assert.Equal(Guid.Empty, broken.Message.SessionId);

        await queue.DeadLetterAsync("image", broken, "names no session", default);

        Assert.Equal(["names no session"], await DeadReasonsAsync("image"));
        Assert.Empty(await queue.ReceiveAsync("image", 10, TimeSpan.FromSeconds(2), default));
        Assert.Equal(0, await queue.DepthAsync("image", default));
    }

    [Fact]
    public async Task What_is_in_the_queue_is_not_gone_and_what_was_lost_is()
    {
        var relay = Open();
        var sent = await relay.SendAsync("image", [Message(), Message()], Window, default);
        Assert.Empty(await relay.FindMissingAsync("image", sent.MessageIds, default));

        await LoseAsync("image");

        Assert.Equal(sent.MessageIds, await Open(LostAfter).FindMissingAsync("image", sent.MessageIds, default));
        Assert.Empty(await relay.FindMissingAsync("image", [], default));
    }

    [Fact]
    public async Task Without_its_server_every_call_says_so()
    {
        var queue = NewQueueWithoutServer();
        opened.Add(queue);

        await Assert.ThrowsAsync<QueueException>(() => queue.SendAsync("image", [Message()], Window, default));
        await Assert.ThrowsAsync<QueueException>(() => queue.ReceiveAsync("image", 1, TimeSpan.FromSeconds(5), default));
        await Assert.ThrowsAsync<QueueException>(() => queue.CompleteAsync("image", ["1-1"], default));
        await Assert.ThrowsAsync<QueueException>(() => queue.DeadLetterAsync("image", new Delivery("1-1", Message()), "a test", default));
        await Assert.ThrowsAsync<QueueException>(() => queue.DepthAsync("image", default));
    }

    protected IJobQueue Open(TimeSpan clockAhead = default)
    {
        var queue = NewQueue(clockAhead);
        opened.Add(queue);
        return queue;
    }

    protected JobMessage Message(string? envelope = null, string? trace = null, int bytes = 100) =>
        new(++lastOutboxId, Guid.NewGuid(), envelope ?? $$"""{"payloadVersion": 1, "prompt": "{{new string('x', bytes)}}"}""", trace);

    /// <summary>Receives until so many have come.</summary>
    protected static async Task<List<Delivery>> ReceiveAsync(IJobQueue queue, string lane, int count)
    {
        var received = new List<Delivery>();
        var started = TimeProvider.System.GetTimestamp();
        while (received.Count < count)
        {
            Assert.True(TimeProvider.System.GetElapsedTime(started) < MaxWait, $"{received.Count} of {count} messages came in lane {lane}.");
            received.AddRange(await queue.ReceiveAsync(lane, count - received.Count, TimeSpan.FromSeconds(1), default));
        }

        return received;
    }

    protected static async Task UntilAsync(Func<Task<bool>> condition)
    {
        var started = TimeProvider.System.GetTimestamp();
        while (!await condition())
        {
            Assert.True(TimeProvider.System.GetElapsedTime(started) < MaxWait, "It did not come true.");
            await Task.Delay(TimeSpan.FromMilliseconds(50), TimeProvider.System, CancellationToken.None);
        }
    }
}
