using Generation.Core.Outbox;

namespace Generation.Api.Events;

/// <summary>
/// What of a session's place is told: what a viewer could see, no more than once a second. Near the front every change; further behind when it moved
/// by a twentieth, or after some seconds.
/// </summary>
public static class QueueNewsRules
{
    private const long Near = 10;
    private const long Middle = 100;
    private const double Move = 0.05;
    private const double Rise = 1.2;

    private static readonly TimeSpan MiddlePause = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan FarPause = TimeSpan.FromSeconds(30);

    /// <summary>The news to tell; null when there is nothing to see.</summary>
    /// <param name="shown">What was told last; null when nothing was.</param>
    /// <param name="since">How long ago that was.</param>
    /// <param name="view">How it is now.</param>
    /// <param name="etaSeconds">The estimate now.</param>
    public static QueueNews? Next(QueueNews? shown, TimeSpan since, QueueView view, int? etaSeconds)
    {
        ArgumentNullException.ThrowIfNull(view);
        if (shown is null)
        {
            return new QueueNews(view, etaSeconds);
        }

        if (view.AsOf <= shown.View.AsOf)
        {
            return null; // it was counted later than this index
        }

        var expected = shown.EtaSeconds is { } told ? Math.Max(0, told - (int)since.TotalSeconds) : (int?)null;
        if (etaSeconds > expected && etaSeconds < Math.Max(expected.Value, 1) * Rise)
        {
            etaSeconds = expected; // a rise by less than a fifth is noise
        }

        return IsVisible(shown.View, since, view, expected, etaSeconds) ? new QueueNews(view, etaSeconds) : null;
    }

    private static bool IsVisible(QueueView shown, TimeSpan since, QueueView view, int? expected, int? etaSeconds)
    {
        if (view.Reason != shown.Reason || view.Ahead is null != shown.Ahead is null || etaSeconds is null != expected is null)
        {
            return true;
        }

        var hasMoved = etaSeconds is { } eta && expected is { } before && Math.Abs(eta - before) > Math.Max(2, before * (Rise - 1));
        var (ahead, was) = (view.Ahead ?? 0, shown.Ahead ?? 0);
        if (ahead == was && !hasMoved)
        {
            return false;
        }

        var pause = ahead <= Near ? TimeSpan.Zero : ahead <= Middle ? MiddlePause : FarPause;
        return since >= pause || Math.Abs(ahead - was) >= Math.Max(1, was * Move);
    }
}
