namespace Generation.Relay;

/// <summary>Section <c>Relay</c>.</summary>
public sealed class RelayOptions
{
    public const string Section = "Relay";

    /// <summary>Rows dispatched at once; default 500, also as OUTBOX_BATCH. They are locked while they are published.</summary>
    public int OutboxBatch { get; set; } = 500;

    /// <summary>
    /// Unclaimed messages a lane in the queue; default 1,000. The rest waits in Postgres, where order, position and cancel are; a small
    /// window makes a lost queue a small loss, a very small one lets workers run dry.
    /// </summary>
    public int DispatchWindow { get; set; } = 1_000;

    /// <summary>How often the outbox is looked at when no notification comes; default 500 ms. Also the grain of delayed retries.</summary>
    public TimeSpan PollInterval { get; set; } = TimeSpan.FromMilliseconds(500);

    /// <summary>How often the queue is asked whether it still has what was sent; default 2 s.</summary>
    public TimeSpan LostDispatchInterval { get; set; } = TimeSpan.FromSeconds(2);

    /// <summary>How often dead workers are looked for; default 2 s.</summary>
    public TimeSpan DeadLeaseInterval { get; set; } = TimeSpan.FromSeconds(2);

    /// <summary>How often jobs that hang are looked for; default 10 s.</summary>
    public TimeSpan StuckInterval { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>
    /// How long a worker may hold a session without progress, byte or call under way, until it is taken away; default 5 min, at least
    /// three times the workers' renewal interval.
    /// </summary>
    public TimeSpan StuckAfter { get; set; } = TimeSpan.FromMinutes(5);

    /// <summary>How often sessions past their deadline are looked for; default 5 s.</summary>
    public TimeSpan DeadlineInterval { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>How often, and how long a session must look forgotten; default 1 min.</summary>
    public TimeSpan StrayInterval { get; set; } = TimeSpan.FromMinutes(1);

    /// <summary>How often holds are extended and overdue lots expired; default 1 min. A hold has at least 30 minutes left when it is looked at.</summary>
    public TimeSpan HoldInterval { get; set; } = TimeSpan.FromMinutes(1);

    /// <summary>How often outbox lag and queue depth are measured for their gauges; default 5 s.</summary>
    public TimeSpan MeasureInterval { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>
    /// How often the ledger is audited; default 1 h. Several relays audit one after another, each for its own gauges. An audit reads the
    /// whole ledger on one core: much more often only makes the disk warm.
    /// </summary>
    public TimeSpan AuditInterval { get; set; } = TimeSpan.FromHours(1);

    public string? Problem() =>
        OutboxBatch is < 1 or > 10_000 ? "Relay:OutboxBatch (OUTBOX_BATCH) must be from 1 to 10000."
        : DispatchWindow is < 1 or > 1_000_000 ? "Relay:DispatchWindow must be from 1 to 1000000."
        : PollInterval <= TimeSpan.Zero || LostDispatchInterval <= TimeSpan.Zero || DeadLeaseInterval <= TimeSpan.Zero
          || StuckInterval <= TimeSpan.Zero || StuckAfter <= TimeSpan.Zero || DeadlineInterval <= TimeSpan.Zero || StrayInterval <= TimeSpan.Zero || MeasureInterval <= TimeSpan.Zero
          || HoldInterval <= TimeSpan.Zero || AuditInterval <= TimeSpan.Zero ? "The intervals of Relay must be positive."
        : null;
}
