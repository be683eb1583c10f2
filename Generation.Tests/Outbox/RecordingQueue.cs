using Generation.Core.Queue;

namespace Generation.Tests.Outbox;

/// <summary>Takes every message there is room for, and keeps the sessions in the order in which they came.</summary>
internal sealed class RecordingQueue : IJobQueue
{
    private readonly Lock gate = new();
    private readonly List<Guid> sent = [];

    public string MessagingSystem => "test";

    public IReadOnlyList<Guid> Sent
    {
        get
        {
            lock (gate)
            {
                return [.. sent];
            }
        }
    }

    /// <summary>Runs before a batch is taken.</summary>
    public Func<Task> BeforeAsync { get; set; } = () => Task.CompletedTask;

    /// <summary>Runs when a batch was taken.</summary>
    public Func<Task> AfterAsync { get; set; } = () => Task.CompletedTask;

    public async Task<Sent> SendAsync(string lane, IReadOnlyList<JobMessage> messages, int window, CancellationToken ct)
    {
        await BeforeAsync();
        lock (gate)
        {
            sent.AddRange(messages.Select(message => message.SessionId));
        }

        await AfterAsync();
        return new Sent([.. messages.Select(message => $"{message.OutboxId}")], IsQueueLost: false);
    }

    public Task<long> DepthAsync(string lane, CancellationToken ct) => Task.FromResult(0L);

    public Task<IReadOnlyList<Delivery>> ReceiveAsync(string lane, int max, TimeSpan wait, CancellationToken ct) => throw new NotSupportedException();

    public Task CompleteAsync(string lane, IReadOnlyList<string> receipts, CancellationToken ct) => throw new NotSupportedException();

    public Task DeadLetterAsync(string lane, Delivery delivery, string reason, CancellationToken ct) => throw new NotSupportedException();

    public Task<IReadOnlyList<string>> FindMissingAsync(string lane, IReadOnlyList<string> messageIds, CancellationToken ct) =>
        throw new NotSupportedException();
}
