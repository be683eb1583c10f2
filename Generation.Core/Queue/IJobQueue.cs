using Generation.Core.Settings;
using Microsoft.Extensions.Configuration;

namespace Generation.Core.Queue;

/// <summary>Section <c>Queue</c>.</summary>
public sealed class QueueOptions
{
    public const string Section = "Queue";

    /// <summary>The names of the lanes.</summary>
    public static readonly string[] Lanes = [.. Enum.GetValues<Lane>().Select(lane => lane.Name())];

    /// <summary>
    /// What carries the messages: <c>redis</c> or <c>sqs</c>; default <c>sqs</c> where an SQS queue is named (<c>Queue:Sqs:MainQueueUrl</c>,
    /// also as SQS_MAIN_QUEUE_URL, or <c>Queue:Lanes:&lt;lane&gt;:Url</c>), else <c>redis</c>. Read at start. Relay and workers must agree.
    /// </summary>
    public QueueTransport? Transport { get; set; }

    /// <summary>As set, or as the queues that are named tell.</summary>
    public QueueTransport TransportInUse => Transport ?? (NamedSqsQueue is null ? QueueTransport.Redis : QueueTransport.Sqs);

    /// <summary>A setting that names a queue of SQS, or null.</summary>
    public string? NamedSqsQueue =>
        Sqs.MainQueueUrl.Length > 0 ? SqsOptions.MainQueueSetting
        : ByLane.FirstOrDefault(own => own.Value.Url.Length > 0).Key is { } lane ? LaneOptions.UrlSetting(lane)
        : null;

    /// <summary>Only for <see cref="QueueTransport.Sqs"/>; to name a queue in it is to choose that.</summary>
    public SqsOptions Sqs { get; set; } = new();

    /// <summary>Section <c>Queue:Lanes</c>: what differs from lane to lane.</summary>
    [ConfigurationKeyName("Lanes")]
    public Dictionary<string, LaneOptions> ByLane { get; set; } = new(StringComparer.OrdinalIgnoreCase);

    /// <summary>First part of every key and channel in Redis; default <c>generation</c>. Two systems on one Redis need two.</summary>
    public string Prefix { get; set; } = "generation";

    /// <summary>
    /// How long a delivered message may stay unacknowledged before another worker gets it; default 30 s. Workers acknowledge as soon as
    /// they have claimed the session, so only a death in between is waited for.
    /// </summary>
    public TimeSpan VisibilityTimeout { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>How long a publish may take; default 2 s. Row locks are held meanwhile.</summary>
    public TimeSpan SendTimeout { get; set; } = TimeSpan.FromSeconds(2);

    /// <summary>The visibility timeout in SQS, which counts in seconds.</summary>
    internal TimeSpan SqsVisibility => Sqs.VisibilityTimeoutSeconds is { } seconds ? TimeSpan.FromSeconds(seconds) : TimeSpan.FromSeconds(
        Math.Ceiling(VisibilityTimeout.TotalSeconds));

    public void Check(SettingsCheck check)
    {
        ArgumentNullException.ThrowIfNull(check);
        check.That(Enum.IsDefined(TransportInUse), "Transport must be redis or sqs.");
        check.That(Prefix.Length > 0 && !Prefix.Contains('{', StringComparison.Ordinal), "Prefix must not be empty nor contain '{'.");
        check.AtLeast(nameof(VisibilityTimeout), VisibilityTimeout, TimeSpan.FromMilliseconds(100));
        check.Positive(nameof(SendTimeout), SendTimeout);
        foreach (var unknown in ByLane.Keys.Except(Lanes, StringComparer.OrdinalIgnoreCase))
        {
            check.That(false, $"Lanes names '{unknown}'; there are {string.Join(", ", Lanes)}.");
        }

        if (TransportInUse == QueueTransport.Sqs)
        {
            Sqs.Check(check);
        }
    }
}

/// <summary>What goes into the queue. The session row always wins over what a message says.</summary>
/// <param name="OutboxId">The outbox row that it was made from.</param>
/// <param name="SessionId">The session to work on.</param>
/// <param name="Envelope">JSON: payloadVersion, jobType, sessionId, outboxId, attempt, params (up to 8 KiB), meta.</param>
/// <param name="TraceParent">W3C trace context of the request that led here.</param>
public sealed record JobMessage(long OutboxId, Guid SessionId, string Envelope, string? TraceParent)
{
    /// <summary>Of the envelope, as due.sql writes it.</summary>
    public const int PayloadVersion = 1;
}

/// <summary>A message as received. Unless it is completed it is delivered again after the visibility timeout.</summary>
/// <param name="Receipt">Names this delivery to the queue.</param>
/// <param name="Message">What was sent.</param>
public sealed record Delivery(string Receipt, JobMessage Message)
{
    /// <summary>The queue's own name of the message, in every delivery the same.</summary>
    public string MessageId { get; init; } = Receipt;
}

/// <summary>What became of a send.</summary>
/// <param name="MessageIds">Ids of the messages that were taken, in order: a prefix of what was given when the window is full.</param>
/// <param name="IsQueueLost">The queue had to be made anew: what was in it before is gone.</param>
public sealed record Sent(IReadOnlyList<string> MessageIds, bool IsQueueLost);

/// <summary>
/// The way from the relay to the workers: deliver, acknowledge, redeliver, and nothing cleverer. Delivery is at least once;
/// correctness comes from the claim in Postgres. Any method may throw <see cref="QueueException"/> when the queue is unavailable.
/// </summary>
public interface IJobQueue
{
    /// <summary>What carries the messages, as <c>messaging.system</c> on spans: <c>redis</c>, <c>aws_sqs</c>.</summary>
    string MessagingSystem { get; }

    /// <summary>Appends to a lane as long as fewer than <paramref name="window"/> messages are unclaimed in it.</summary>
    Task<Sent> SendAsync(string lane, IReadOnlyList<JobMessage> messages, int window, CancellationToken ct);

    /// <summary>
    /// Up to <paramref name="max"/> messages; waits up to <paramref name="wait"/> for the first. Includes what dead workers left behind.
    /// </summary>
    Task<IReadOnlyList<Delivery>> ReceiveAsync(string lane, int max, TimeSpan wait, CancellationToken ct);

    /// <summary>Acknowledges and removes.</summary>
    Task CompleteAsync(string lane, IReadOnlyList<string> receipts, CancellationToken ct);

    /// <summary>Moves a message that cannot be understood aside, with the reason.</summary>
    Task DeadLetterAsync(string lane, Delivery delivery, string reason, CancellationToken ct);

    /// <summary>Messages sent and not yet completed.</summary>
    Task<long> DepthAsync(string lane, CancellationToken ct);

    /// <summary>Which of these messages the queue no longer has: completed, or lost with it.</summary>
    Task<IReadOnlyList<string>> FindMissingAsync(string lane, IReadOnlyList<string> messageIds, CancellationToken ct);
}

/// <summary>The queue did not do what it was asked; whether it did it all the same is not known.</summary>
public sealed class QueueException : Exception
{
    public QueueException(string message)
        : base(message)
    {
    }

    public QueueException(string message, Exception inner)
        : base(message, inner)
    {
    }

    public QueueException()
    {
    }
}
