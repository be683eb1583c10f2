using Generation.Core.Settings;

namespace Generation.Relay;

/// <summary>Section <c>Relay</c>.</summary>
public sealed class RelayOptions
{
    public const string Section = "Relay";

    /// <summary>What a timer can count.</summary>
    private static readonly TimeSpan MaxDuration = TimeSpan.FromDays(45);

    /// <summary>Rows dispatched at once; default 500, also as OUTBOX_BATCH. They are locked while they are published.</summary>
    public int OutboxBatch { get; set; } = 500;

    /// <summary>
    /// The most unclaimed messages a lane in the queue; default 1,000. The rest waits in Postgres, where order, position and cancel are; a small
    /// window makes a lost queue a small loss, a very small one lets workers run dry.
    /// </summary>
    public int DispatchWindow { get; set; } = 1_000;

    /// <summary>
    /// So many seconds of work are sent ahead of the workers, measured by what they have claimed lately; default 2. What is sent has its place: a
    /// user who comes later waits for all of it. 0 always fills <see cref="DispatchWindow"/>.
    /// </summary>
    public double WindowSeconds { get; set; } = 2;

    /// <summary>How often the outbox is looked at when no notification comes; default 500 ms. Also the grain of delayed retries.</summary>
    public TimeSpan PollInterval { get; set; } = TimeSpan.FromMilliseconds(500);

    /// <summary>How often the queue is asked whether it still has what was sent; default 2 s.</summary>
    public TimeSpan LostDispatchInterval { get; set; } = TimeSpan.FromSeconds(2);

    /// <summary>How often dead workers are looked for; default 2 s.</summary>
    public TimeSpan DeadLeaseInterval { get; set; } = TimeSpan.FromSeconds(2);

    /// <summary>
    /// The grace period in which workers renew leases that expired during a database outage; default 10 s, a few of their renewal
    /// intervals. It also applies after the start of a relay, which cannot know whether there was an outage.
    /// </summary>
    public TimeSpan LeaseGrace { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>How often jobs that hang are looked for; default 10 s.</summary>
    public TimeSpan StuckInterval { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>
    /// How long a worker may hold a session without progress, byte or call under way, before its lease is revoked; default 5 min, at least
    /// three times the workers' renewal interval.
    /// </summary>
    public TimeSpan StuckAfter { get; set; } = TimeSpan.FromMinutes(5);

    /// <summary>How often sessions past their deadline are looked for; default 5 s.</summary>
    public TimeSpan DeadlineInterval { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>How often, and for how long a session must have been waiting without an outbox row; default 1 min.</summary>
    public TimeSpan StrayInterval { get; set; } = TimeSpan.FromMinutes(1);

    /// <summary>How often holds of living sessions are extended; default 1 min. A hold has at least 30 minutes left when it is looked at.</summary>
    public TimeSpan HoldInterval { get; set; } = TimeSpan.FromMinutes(1);

    /// <summary>How often holds that outlived their session are looked for; default 1 min. There should be none.</summary>
    public TimeSpan AbandonedHoldInterval { get; set; } = TimeSpan.FromMinutes(1);

    /// <summary>How often overdue lots are expired; default 1 min. Until then a balance promises what a submit would not find.</summary>
    public TimeSpan OverdueLotInterval { get; set; } = TimeSpan.FromMinutes(1);

    /// <summary>How often callbacks are booked whose task ended without them; default 1 min.</summary>
    public TimeSpan CallbackInterval { get; set; } = TimeSpan.FromMinutes(1);

    /// <summary>How often old rows are deleted; default 10 min, a batch of each kind at a time, and again at once while a batch is full.</summary>
    public TimeSpan OldRowInterval { get; set; } = TimeSpan.FromMinutes(10);

    /// <summary>
    /// How often the outbox is looked at for a vacuum, beside the server's own; default 5 s. It runs from 50,000 dead rows on, as the login
    /// of <c>ConnectionStrings:generation</c>, which may do so from Postgres 17 on; before, only the server's own comes.
    /// </summary>
    public TimeSpan VacuumInterval { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>
    /// How long <c>error_events</c> are kept; default 90 days, at least one. After that a dead letter has its calls for a history and no
    /// events. An open <c>outcome_unknown</c> is kept until it is resolved.
    /// </summary>
    public TimeSpan ErrorEventsKept { get; set; } = TimeSpan.FromDays(90);

    /// <summary>How often uploads past their time are removed; default 10 min.</summary>
    public TimeSpan UploadInterval { get; set; } = TimeSpan.FromMinutes(10);

    /// <summary>How often transfers into the store that never ended are looked for; default 1 h, over all relays. A listing of all of them.</summary>
    public TimeSpan TransferInterval { get; set; } = TimeSpan.FromHours(1);

    /// <summary>From when on a transfer counts as never ended; default 24 h. Longer than any transfer takes, or it kills one.</summary>
    public TimeSpan TransferAge { get; set; } = TimeSpan.FromHours(24);

    /// <summary>
    /// How often objects that no row refers to are looked for among the sessions that may have left some; default 1 min, over all relays.
    /// </summary>
    public TimeSpan OrphanInterval { get; set; } = TimeSpan.FromMinutes(1);

    /// <summary>How long a session must have been over until its orphaned objects are removed; default 24 h.</summary>
    public TimeSpan OrphanAge { get; set; } = TimeSpan.FromHours(24);

    /// <summary>
    /// How often the walk over everything that is stored takes a step of 1,000 names; default 1 min, over all relays: 1.4 million objects
    /// a day for 1,440 listings. Shorter for larger stores.
    /// </summary>
    public TimeSpan WalkInterval { get; set; } = TimeSpan.FromMinutes(1);

    /// <summary>
    /// From what age on the walk also removes objects whose session or upload is not in this database; default none: they stay. Set it
    /// (7 days, say) only where the store belongs to this database alone: it would take the media of any other.
    /// </summary>
    public TimeSpan? UnknownObjectAge { get; set; }

    /// <summary>How often outbox lag and queue depth are measured for their gauges; default 5 s.</summary>
    public TimeSpan MeasureInterval { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>
    /// How often the ledger is audited; default 1 h. Several relays audit one after another, each for its own gauges. An audit reads the
    /// whole ledger on one core: much more often only makes the disk warm.
    /// </summary>
    public TimeSpan AuditInterval { get; set; } = TimeSpan.FromHours(1);

    public void Check(SettingsCheck check)
    {
        ArgumentNullException.ThrowIfNull(check);
        check.Range("OutboxBatch (OUTBOX_BATCH)", OutboxBatch, 1, 10_000);
        check.Range(nameof(DispatchWindow), DispatchWindow, 1, 1_000_000);
        check.That(WindowSeconds is >= 0 and <= 60, $"{nameof(WindowSeconds)} must be from 0 to 60.");
        check.AtLeast(nameof(UnknownObjectAge), UnknownObjectAge, TimeSpan.FromDays(1));
        check.AtLeast(nameof(ErrorEventsKept), ErrorEventsKept, TimeSpan.FromDays(1));
        foreach (var (setting, duration) in Durations())
        {
            check.Timeout(setting, duration, MaxDuration);
        }
    }

    private IEnumerable<(string Setting, TimeSpan Value)> Durations() =>
    [
        (nameof(PollInterval), PollInterval), (nameof(LostDispatchInterval), LostDispatchInterval), (nameof(DeadLeaseInterval), DeadLeaseInterval),
        (nameof(LeaseGrace), LeaseGrace),
        (nameof(StuckInterval), StuckInterval), (nameof(StuckAfter), StuckAfter), (nameof(DeadlineInterval), DeadlineInterval),
        (nameof(StrayInterval), StrayInterval), (nameof(HoldInterval), HoldInterval), (nameof(AbandonedHoldInterval), AbandonedHoldInterval),
        (nameof(OverdueLotInterval), OverdueLotInterval), (nameof(CallbackInterval), CallbackInterval), (nameof(OldRowInterval), OldRowInterval),
        (nameof(VacuumInterval), VacuumInterval), (nameof(UploadInterval), UploadInterval), (nameof(TransferInterval), TransferInterval),
        (nameof(TransferAge), TransferAge),
        (nameof(OrphanInterval), OrphanInterval), (nameof(OrphanAge), OrphanAge), (nameof(WalkInterval), WalkInterval),
        (nameof(MeasureInterval), MeasureInterval), (nameof(AuditInterval), AuditInterval),
    ];
}
