using Generation.Core.Outbox;
using Generation.Core.Sessions;

namespace Generation.Api.Events;

/// <summary>Where a generation that waits stands now.</summary>
/// <param name="View">Its place.</param>
/// <param name="EtaSeconds">Until its first output; null when that is not known.</param>
public sealed record QueueNews(QueueView View, int? EtaSeconds);

/// <summary>
/// Tells watchers once a second where their sessions stand, from the lanes' position indexes: no query, whatever their number. Sessions that had no
/// place when they were read, because they wait for their time, are looked up together.
/// </summary>
public sealed class QueueFeed(SessionFeed feed, SessionReader sessions, LanePositions positions, TimeProvider time, ILogger<QueueFeed> log)
    : BackgroundService
{
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(1);

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(Interval, time);
        try
        {
            while (await timer.WaitForNextTickAsync(stoppingToken))
            {
                try
                {
                    await TellAsync(stoppingToken);
                }
                catch (Exception e) when (!stoppingToken.IsCancellationRequested) // any: the next second is another try
                {
                    log.LogDebug(e, "Positions of watched sessions could not be told");
                }
            }
        }
        catch (OperationCanceledException)
        {
            // The Api stops.
        }
    }

    private async Task TellAsync(CancellationToken ct)
    {
        var now = time.GetUtcNow();
        var waiting = feed.Waiting();
        var unplaced = waiting.Where(one => one.Job.Place is not { } place || (!place.IsInLine && place.AvailableAt <= now)).ToList();
        if (unplaced.Count > 0)
        {
            var places = await sessions.ReadPlacesAsync(unplaced.ConvertAll(one => one.Session.SessionId), ct);
            foreach (var (session, job) in unplaced)
            {
                session.Replace(job, job with { Place = places.TryGetValue(session.SessionId, out var place) ? place : null });
            }

            waiting = feed.Waiting();
        }

        foreach (var lane in waiting.GroupBy(one => one.Job.Lane, StringComparer.Ordinal))
        {
            if (await positions.GetAsync(lane.Key) is not { } index)
            {
                continue;
            }

            foreach (var (session, job) in lane)
            {
                Ahead? ahead = job.Place is { IsInLine: true } place ? positions.Find(index, place.Rank ?? -1, place.OutboxId) : null;
                if (QueueEstimate.Of(job, index.State, ahead, now) is ({ } view, var eta))
                {
                    session.ShowQueue(view with { AsOf = index.State.AsOf }, eta);
                }
            }
        }
    }
}
