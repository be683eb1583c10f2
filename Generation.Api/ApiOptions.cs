using Generation.Core.Settings;

namespace Generation.Api;

/// <summary>Section <c>Api</c>.</summary>
public sealed class ApiOptions
{
    public const string Section = "Api";

    /// <summary>
    /// Whether the generate aliases answer 202 at once (default true, also as ENABLE_ENQUEUE_FIRST). False makes them wait for the result
    /// up to <see cref="AliasWait"/>; nothing ever runs inside the request.
    /// </summary>
    public bool EnqueueFirst { get; set; } = true;

    /// <summary>Accepted for old deployments (FORCE_OUTBOX_ONLY): work always goes through the outbox, so it is always true.</summary>
    public bool OutboxOnly { get; set; } = true;

    /// <summary>How long an alias waits when <see cref="EnqueueFirst"/> is off; default 60 s.</summary>
    public TimeSpan AliasWait { get; set; } = TimeSpan.FromSeconds(60);

    /// <summary>The longest <c>Prefer: wait=n</c>; default 60 s. More is cut to this.</summary>
    public TimeSpan MaxPreferWait { get; set; } = TimeSpan.FromSeconds(60);

    /// <summary>From submit to the session's own end, waiting included; default 24 h. Past it the session fails as <c>expired</c>.</summary>
    public TimeSpan SessionLifetime { get; set; } = TimeSpan.FromHours(24);

    /// <summary>Comment lines on quiet event streams, so that proxies keep them open; default every 15 s.</summary>
    public TimeSpan Heartbeat { get; set; } = TimeSpan.FromSeconds(15);

    /// <summary>How often watched sessions are read again in case a notification was missed; default 5 s.</summary>
    public TimeSpan Reread { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>The longest request body in bytes; default 256 KiB. More is a 413.</summary>
    public int MaxBodyBytes { get; set; } = 256 << 10;

    internal void Check(SettingsCheck check)
    {
        check.Positive(nameof(SessionLifetime), SessionLifetime);
        check.Positive(nameof(Heartbeat), Heartbeat);
        check.Positive(nameof(Reread), Reread);
        check.AtLeast(nameof(AliasWait), AliasWait, TimeSpan.Zero);
        check.AtLeast(nameof(MaxPreferWait), MaxPreferWait, TimeSpan.Zero);
        check.AtLeast(nameof(MaxBodyBytes), MaxBodyBytes, 1024);
    }
}
