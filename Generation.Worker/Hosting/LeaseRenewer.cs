using System.Collections.Concurrent;
using Generation.Core.Database;
using Generation.Core.Queue;
using Generation.Core.Sessions;
using Generation.Worker.Jobs;
using Npgsql;

namespace Generation.Worker.Hosting;

/// <summary>
/// The sessions that this worker holds, and the loop that renews their leases, all in one statement. A job whose lease is not in the result has
/// lost it. A job whose lease could not be renewed for most of its duration (the database is unavailable) is stopped before the lease expires,
/// by the worker's monotonic clock. A job with a paid call in flight continues: its outcome is written with the lease token, and counts if no other
/// worker has claimed the session by then.
/// </summary>
public sealed class LeaseRenewer(Leases leases, WorkerOptions options, TimeProvider time, ILogger<LeaseRenewer> log) : BackgroundService
{
    private readonly ConcurrentDictionary<Guid, ActiveJob> jobs = new();

    public int Count => jobs.Count;

    private TimeSpan Trust => options.LeaseTrust;

    /// <param name="session">Just claimed.</param>
    /// <param name="claimedAt">Timestamp from before the claim was sent.</param>
    public ActiveJob Add(ClaimedSession session, long claimedAt)
    {
        var job = new ActiveJob(session, claimedAt);
        jobs[session.SessionId] = job;
        return job;
    }

    /// <summary>Jobs that hold a slot.</summary>
    public IEnumerable<ActiveJob> Working() => jobs.Values.Where(job => !job.Worked.IsCompleted);

    public void Remove(ActiveJob job) => jobs.TryRemove(KeyValuePair.Create(job.Session.SessionId, job));

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        // Not stopped with the host but after the last job: a draining job needs its lease.
        using var timer = new PeriodicTimer(options.RenewInterval, time);
        try
        {
            while (await timer.WaitForNextTickAsync(jobs.IsEmpty ? stoppingToken : CancellationToken.None))
            {
                await RenewAsync([.. jobs.Values]);
                if (stoppingToken.IsCancellationRequested && jobs.IsEmpty)
                {
                    return;
                }
            }
        }
        catch (OperationCanceledException)
        {
            log.LogDebug("No leases left to renew");
        }
    }

    private async Task RenewAsync(IReadOnlyList<ActiveJob> held)
    {
        if (held.Count == 0)
        {
            return;
        }

        var askedAt = time.GetTimestamp();
        var now = time.GetUtcNow();
        Dictionary<Guid, RenewalResult> renewed;
        try
        {
            renewed = await leases.RenewAsync(
                [.. held.Select(j => new Renewal(j.Session.SessionId, j.Session.LeaseToken, j.Percent, j.Phase, j.TakeProgress(now)))],
                    options.LeaseDuration, CancellationToken.None);
        }
        catch (PostgresException e) when (held.Count > 1 && !TransientErrors.IsTransient(e))
        {
            // One of them is refused (a constraint, a trigger): the others are renewed without it.
            log.LogError(e, "The renewal of {Count} leases was refused; renewing them in halves", held.Count);
            await RenewAsync([.. held.Take(held.Count / 2)]);
            await RenewAsync([.. held.Skip(held.Count / 2)]);
            return;
        }
        catch (Exception e) // any: a renewal that fails must not be the last one
        {
            log.LogWarning("Could not renew {Count} leases: {Problem}", held.Count, e.Message);
            StopUntrusted(held);
            return;
        }

        foreach (var job in held)
        {
            if (!renewed.TryGetValue(job.Session.SessionId, out var result))
            {
                if (jobs.ContainsKey(job.Session.SessionId) && !job.Worked.IsCompleted) // unless it has just ended, or is ending
                {
                    log.LogWarning("Lease of {SessionId} was lost; stopping the job", job.Session.SessionId);
                    job.Stop(StopReason.LeaseLost);
                }

                continue;
            }

            if (result == RenewalResult.Locked)
            {
                StopUntrusted([job]);
                continue;
            }

            job.RenewedAt = askedAt;
            if (result == RenewalResult.CancelRequested)
            {
                job.Stop(StopReason.Canceled);
            }
        }
    }

    /// <summary>Those that were not renewed for most of a lease; not while a paid call is open, unless a GPU slot ends with the lease.</summary>
    private void StopUntrusted(IReadOnlyList<ActiveJob> held)
    {
        foreach (var job in held.Where(j => time.GetElapsedTime(j.RenewedAt) > Trust && (!j.HasOpenCall || j.Session.Lane == Lane.Gpu)))
        {
            log.LogWarning("Lease of {SessionId} could not be renewed for {Time}; stopping the job", job.Session.SessionId, Trust);
            job.Stop(StopReason.LeaseLost);
        }
    }
}
