using Generation.Core.Queue;
using Generation.Core.Settings;

namespace Generation.Worker;

/// <summary>Section <c>Worker</c>.</summary>
public sealed class WorkerOptions
{
    public const string Section = "Worker";

    /// <summary>The lanes this worker serves; default all. A machine with a GPU beside it may serve <c>gpu</c> alone.</summary>
    public string[] Lanes { get; set; } = [];

    /// <summary>
    /// Jobs at once in each lane; default 16, also as GEN_WORKER_CONCURRENCY; <c>app_settings.gen_worker_concurrency</c> overrides it live.
    /// A job mostly waits for its provider; each transfer costs one buffer.
    /// </summary>
    public int Concurrency { get; set; } = 16;

    /// <summary>
    /// <c>Settings:CacheMs</c> for workers alone, ms: how long <c>app_settings</c>, <c>gen_worker_concurrency</c> among them, are believed
    /// before they are read again; default what that one says, also as GEN_WORKER_SETTINGS_REFRESH_MS.
    /// </summary>
    public int? SettingsRefreshMs { get; set; }

    /// <summary>How long a claim lasts without renewal; default 30 s. The time after which a dead worker's jobs go on elsewhere.</summary>
    public TimeSpan LeaseDuration { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>The share of the lease after which an unrenewed job stops: what is left is for its last statement to arrive too late.</summary>
    internal TimeSpan LeaseTrust => LeaseDuration * 0.8;

    /// <summary>How often leases are renewed, progress is written and cancel requests are read; default 2 s.</summary>
    public TimeSpan RenewInterval { get; set; } = TimeSpan.FromSeconds(2);

    /// <summary>Failures until a session is given up; default 8, with the backoff below about six minutes.</summary>
    public int MaxAttempts { get; set; } = 8;

    /// <summary>Leases of a session that may be lost to dying workers before it fails as <c>worker_lost</c>, a poison job; default 5.</summary>
    public int MaxLostLeases { get; set; } = 5;

    /// <summary>
    /// Pauses between tries inside the slot when the provider is unavailable, with jitter; default 1, 2, 4 s. After them the outbox waits.
    /// </summary>
    public TimeSpan[] SlotRetries { get; set; } = [];

    /// <summary>First pause through the outbox, doubled with every attempt; default 5 s.</summary>
    public TimeSpan RetryBackoff { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>Longest pause through the outbox; default 2 min.</summary>
    public TimeSpan MaxRetryBackoff { get; set; } = TimeSpan.FromMinutes(2);

    /// <summary>
    /// How long a provider is left alone after five failures in a row, before one call probes it; default 60 s, at least 1 s. Sessions
    /// wait that long in the outbox.
    /// </summary>
    public TimeSpan BreakDuration { get; set; } = TimeSpan.FromSeconds(60);

    /// <summary>
    /// How long a task is asked for again that is done, while its provider has not said where its output is; default 5 min. Then the output is
    /// given up, although it was paid.
    /// </summary>
    public TimeSpan OutputWait { get; set; } = TimeSpan.FromMinutes(5);

    /// <summary>
    /// How long the address of a result that is paid for is asked again while it answers that there is none (404, 403, a page instead of a
    /// picture), with growing pauses; default 2 min. Then the output is given up as <c>output_unusable</c>. The job waits without a slot.
    /// </summary>
    public TimeSpan ResultTimeout { get; set; } = TimeSpan.FromMinutes(2);

    /// <summary>
    /// How often tasks are looked for that a provider works on although their session has ended, and the shortest pause between two questions
    /// about one; default 30 s, at least 100 ms.
    /// </summary>
    public TimeSpan EndedTaskInterval { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>
    /// How long such a task is followed; default 3 days, which is longer than a provider keeps one waiting. Then its outcome is unknown, with a
    /// record for the operator.
    /// </summary>
    public TimeSpan EndedTaskTimeout { get; set; } = TimeSpan.FromDays(3);

    /// <summary>
    /// How long running jobs may go on after the stop signal, before they are handed back; default: as long as <c>Shutdown:GracePeriod</c> allows,
    /// less 5 s (or a quarter of a shorter one), which handing back takes. A paid call that is cut off here ends as outcome_unknown, so rather too
    /// long than too short. A worker without such a call leaves as soon as before.
    /// </summary>
    public TimeSpan? DrainTimeout { get; set; }

    /// <summary>
    /// The address of our Api as providers reach it, such as <c>https://generation.example.com</c>; default none: then nobody is asked to
    /// call back, and every task is polled.
    /// </summary>
    public string? PublicBaseUrl { get; set; }

    internal void Check(SettingsCheck check)
    {
        check.Range("Concurrency (GEN_WORKER_CONCURRENCY)", Concurrency, 0, 1_000);
        check.Range("SettingsRefreshMs (GEN_WORKER_SETTINGS_REFRESH_MS)", SettingsRefreshMs, 0, 600_000);
        check.Positive(nameof(RenewInterval), RenewInterval);
        check.That(
            LeaseDuration >= RenewInterval * 3,
            $"{nameof(LeaseDuration)} must be at least three times {Section}:{nameof(RenewInterval)}, so that one lost renewal loses no job.");
        check.AtLeast(nameof(MaxAttempts), MaxAttempts, 1);
        check.Positive(nameof(RetryBackoff), RetryBackoff);
        check.That(MaxRetryBackoff >= RetryBackoff, $"{nameof(MaxRetryBackoff)} must be at least {Section}:{nameof(RetryBackoff)}.");
        check.Range(nameof(ResultTimeout), ResultTimeout, TimeSpan.Zero, TimeSpan.FromHours(1));
        check.Range(nameof(EndedTaskInterval), EndedTaskInterval, TimeSpan.FromMilliseconds(100), TimeSpan.FromHours(1));
        check.Range(nameof(EndedTaskTimeout), EndedTaskTimeout, TimeSpan.Zero, TimeSpan.FromDays(30));
        check.Range(nameof(BreakDuration), BreakDuration, TimeSpan.FromSeconds(1), TimeSpan.FromHours(1));
        check.Range(nameof(OutputWait), OutputWait, TimeSpan.Zero, TimeSpan.FromHours(1));
        check.That(
            PublicBaseUrl is null || (Uri.TryCreate(PublicBaseUrl, UriKind.Absolute, out var url) && url.Scheme is "http" or "https"),
            "PublicBaseUrl (PUBLIC_BASE_URL) must be an http(s) address, such as https://generation.example.com.");
        foreach (var lane in Lanes.Except(QueueOptions.Lanes, StringComparer.Ordinal))
        {
            check.That(false, $"{nameof(Lanes)} names '{lane}'; there are {string.Join(", ", QueueOptions.Lanes)}.");
        }
    }
}
