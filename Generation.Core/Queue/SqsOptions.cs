using Generation.Core.Settings;

namespace Generation.Core.Queue;

/// <summary>What carries messages from the relay to the workers.</summary>
public enum QueueTransport
{
    /// <summary>Redis Streams, on the Redis that progress needs anyway.</summary>
    Redis,

    /// <summary>Amazon SQS, or a server that speaks its JSON protocol. Redis still carries progress.</summary>
    Sqs,
}

/// <summary>
/// Section <c>Queue:Sqs</c>, read when <c>Queue:Transport</c> is <c>sqs</c>, or is not set and a queue is named. Standard queues, not FIFO ones.
/// </summary>
public sealed class SqsOptions
{
    internal const string MainQueueSetting = "Queue:Sqs:MainQueueUrl (SQS_MAIN_QUEUE_URL)";

    /// <summary>
    /// The queue of every lane without one (<c>Queue:Lanes:&lt;lane&gt;:Url</c>); also as SQS_MAIN_QUEUE_URL. It alone
    /// makes SQS the transport. Missing or wrong: messages wait in the outbox, and relay and workers say so once a minute.
    /// <para>Lanes that share a queue wait for each other: its depth counts against the window of each, and a long backlog of one is in
    /// front of the others. Workers that serve only some lanes (<c>Worker:Lanes</c>) want queues of their own for them.</para>
    /// </summary>
    public string MainQueueUrl { get; set; } = "";

    /// <summary>
    /// Where a message that names no session goes, with the reason as an attribute; also as SQS_DLQ_QUEUE_URL. Default none: then it comes
    /// back until the queue's own redrive policy takes it.
    /// </summary>
    public string DlqQueueUrl { get; set; } = "";

    /// <summary>
    /// How long a receive waits at the server, 0 to 20 s; default 5, also as SQS_WAIT_TIME_SECONDS. Shorter means more calls to pay for. A
    /// worker that stops waits for its last receive, 5 s at most: with more than that, a message that arrives just then may be delivered to
    /// nobody and come again only after its visibility timeout.
    /// </summary>
    public int WaitTimeSeconds { get; set; } = 5;

    /// <summary>
    /// Seconds until an unacknowledged message comes again, 1 to 43,200; default <c>Queue:VisibilityTimeout</c>, also as SQS_VISIBILITY_TIMEOUT.
    /// </summary>
    public int? VisibilityTimeoutSeconds { get; set; }

    /// <summary>Pause after a receive that found nothing, ms; default 0, also as SQS_IDLE_DELAY_MS. It is added to the time a job waits.</summary>
    public int IdleDelayMs { get; set; }

    /// <summary>Region of the queues, also as AWS_REGION; default the one in the queue's URL, else us-east-1.</summary>
    public string Region { get; set; } = "";

    /// <summary>Where calls go instead of the host in the queue's URL: LocalStack, a VPC endpoint. Default none.</summary>
    public string Endpoint { get; set; } = "";

    /// <summary>Default none: the AWS chain (environment, profile, web identity, container, instance).</summary>
    public string AccessKey { get; set; } = "";

    /// <summary>Goes with <see cref="AccessKey"/>.</summary>
    public string SecretKey { get; set; } = "";

    /// <summary>
    /// The age at which an unclaimed message counts as lost and is sent again; default 15 min. SQS cannot be asked whether it
    /// still has a message. Too short only makes duplicates, which the claim refuses; too long delays the repair of a purged queue.
    /// </summary>
    public TimeSpan LostAfter { get; set; } = TimeSpan.FromMinutes(15);

    internal void Check(SettingsCheck check)
    {
        check.Range("Sqs:WaitTimeSeconds (SQS_WAIT_TIME_SECONDS)", WaitTimeSeconds, 0, 20);
        check.Range("Sqs:VisibilityTimeoutSeconds (SQS_VISIBILITY_TIMEOUT)", VisibilityTimeoutSeconds, 1, 43_200);
        check.Range("Sqs:IdleDelayMs (SQS_IDLE_DELAY_MS)", IdleDelayMs, 0, 60_000);
        check.That(AccessKey.Length == 0 == (SecretKey.Length == 0), "Sqs:AccessKey and Queue:Sqs:SecretKey go together: set both, or neither.");
        check.Positive("Sqs:LostAfter", LostAfter);
    }
}

/// <summary>Section <c>Queue:Lanes:&lt;lane&gt;</c>.</summary>
public sealed class LaneOptions
{
    /// <summary>The SQS queue of this lane alone; default none: <c>Queue:Sqs:MainQueueUrl</c>.</summary>
    public string Url { get; set; } = "";

    internal static string UrlSetting(string lane) => $"Queue:Lanes:{lane}:Url";
}
