using Generation.Core.Settings;
using Microsoft.Extensions.Configuration;

namespace Generation.Core.Submit;

/// <summary>Section <c>Submit</c>: how many requests may wait for the group commit, and for how long.</summary>
public sealed class SubmitOptions
{
    public const string Section = "Submit";

    /// <summary>
    /// Requests that may wait in one Api; default 10,000, a second or two of work. Beyond it requests get 503 immediately instead of a long
    /// wait; too small a value rejects a burst that would have been written in time.
    /// </summary>
    public int QueueLength { get; set; } = 10_000;

    /// <summary>
    /// The longest wait while the queue stands; default 100 ms. Once requests have been queueing for half a second without a break, those that
    /// would wait longer than this get 503 immediately, so that the others keep their latency. A burst may wait longer.
    /// </summary>
    public TimeSpan StandingWait { get; set; } = TimeSpan.FromMilliseconds(100);

    /// <summary>The longest that a request waits for its answer, in the queue and in the database; default 5 s. Then it gets 503.</summary>
    [ConfigurationKeyName("Patience")] // the key of older deployments
    public TimeSpan MaxWait { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>
    /// Whole seconds that one batch may take in the database; default 3. Then it is rolled back and all who wait get 503; must be less
    /// than <see cref="MaxWait"/>.
    /// </summary>
    public int StatementTimeoutSeconds { get; set; } = 3;

    /// <summary>How long submits are rejected after the database was found unavailable; default 1 s. Then the next request tries it.</summary>
    public TimeSpan Pause { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>Sessions that one user may have open; default 2,000. One more is refused with 429 until some have ended.</summary>
    public long OutstandingPerUser { get; set; } = 2_000;

    public void Check(SettingsCheck check)
    {
        ArgumentNullException.ThrowIfNull(check);
        check.AtLeast(nameof(OutstandingPerUser), OutstandingPerUser, 1);
        check.Range(nameof(QueueLength), QueueLength, 1, 1_000_000);
        check.AtLeast(nameof(StatementTimeoutSeconds), StatementTimeoutSeconds, 1);
        check.That(MaxWait.TotalSeconds > StatementTimeoutSeconds, $"Patience must be longer than {Section}:{nameof(StatementTimeoutSeconds)}.");
        check.Positive(nameof(StandingWait), StandingWait);
        check.AtLeast(nameof(Pause), Pause, TimeSpan.Zero);
    }
}
