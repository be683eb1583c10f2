using System.Collections.Concurrent;
using Generation.Core.Database;
using Generation.Core.Realtime;
using Generation.Core.Sessions;

namespace Generation.Worker.Jobs;

public enum StopReason
{
    None,

    /// <summary>The user does not want it any more.</summary>
    Canceled,

    /// <summary>Somebody else may have it now: nothing may be written.</summary>
    LeaseLost,

    /// <summary>This worker shuts down and has waited long enough.</summary>
    Drained,
}

/// <summary>A session that this worker holds.</summary>
public sealed class ActiveJob(ClaimedSession session, long claimedAt) : IDisposable
{
    private readonly CancellationTokenSource stop = new();
    private readonly TaskCompletionSource worked = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Lock gate = new();
    private readonly HashSet<Guid> unheard = [];
    private int percent = session.Progress;
    private bool hasMoved;
    private DateTimeOffset busyUntil;

    public ClaimedSession Session { get; } = session;

    /// <summary>Timestamp of the claim, taken before it was sent.</summary>
    public long ClaimedAt { get; } = claimedAt;

    /// <summary>Fires when the job must stop; <see cref="Reason"/> says why.</summary>
    public CancellationToken Stopped => stop.Token;

    public StopReason Reason { get; private set; }

    /// <summary>Completes when the work is done and only its end remains to be written: from then on it takes no slot.</summary>
    public Task Worked => worked.Task;

    /// <summary>The version as this worker knows it.</summary>
    public long Version { get; set; } = session.Version;

    public string Phase { get; private set; } = "preparing";

    public int Percent => Volatile.Read(ref percent);

    /// <summary>Timestamp of when the lease was last known to be ours, taken before the statement was sent.</summary>
    public long RenewedAt { get; set; } = claimedAt;

    /// <summary>Moves progress on; it never falls. 100 is kept for the end.</summary>
    public Progress Report(int newPercent, string phase)
    {
        lock (gate)
        {
            percent = Math.Max(percent, Math.Clamp(newPercent, 0, 99));
            Phase = phase;
            hasMoved = true;
            return new Progress(Session.SessionId, Version, Session.LeaseToken, percent, phase);
        }
    }

    /// <summary>Bytes came, or something else that is no percent.</summary>
    public void Move() => Volatile.Write(ref hasMoved, true);

    /// <summary>Whether a paid call is under way, or its answer is here and not recorded: whoever takes the session can never learn it.</summary>
    public bool HasUnheardCall
    {
        get
        {
            lock (gate)
            {
                return unheard.Count > 0;
            }
        }
    }

    /// <summary>A paid call is under way that may take until then: nothing to see is nothing wrong.</summary>
    public void ExpectCall(Guid providerTaskId, DateTimeOffset until)
    {
        lock (gate)
        {
            busyUntil = until > busyUntil ? until : busyUntil;
            unheard.Add(providerTaskId);
        }
    }

    /// <summary>What came of a call is recorded.</summary>
    public void Heard(Guid providerTaskId)
    {
        lock (gate)
        {
            unheard.Remove(providerTaskId);
        }
    }

    /// <summary>Whether it got on since this was last asked.</summary>
    public bool TakeMoved(DateTimeOffset now)
    {
        lock (gate)
        {
            var moved = hasMoved || now < busyUntil;
            hasMoved = false;
            return moved;
        }
    }

    /// <summary>Gives its slot to the next.</summary>
    public void FinishWork() => worked.TrySetResult();

    /// <summary>Stops the job; the first reason counts, except that a lost lease outweighs every other.</summary>
    public void Stop(StopReason reason)
    {
        lock (gate)
        {
            if (Reason == StopReason.None || reason == StopReason.LeaseLost)
            {
                Reason = reason;
            }
        }

        try
        {
            stop.Cancel();
        }
        catch (ObjectDisposedException)
        {
            // It ended by itself in this moment.
        }
    }

    public void Dispose() => stop.Dispose();
}

/// <summary>
/// The sessions that this worker holds, and the one loop that keeps them: all leases are renewed in one statement. A job whose renewal
/// came back empty has been taken away. A job that could not be renewed for most of its lease (the database is away) stops trusting
/// it before the database does, by its own monotonic clock, and stops; but one with a paid call under way goes on: it writes what it hears with
/// its token, and if nobody took the session meanwhile, that counts.
/// </summary>
public sealed class ActiveJobs(Leases leases, WorkerOptions options, TimeProvider time, ILogger<ActiveJobs> log) : BackgroundService
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

    public void Remove(ActiveJob job) => jobs.TryRemove(KeyValuePair.Create(job.Session.SessionId, job));

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        // Not stopped with the host but after the last job: a draining job needs its lease.
        using var timer = new PeriodicTimer(options.RenewInterval, time);
        try
        {
            while (await timer.WaitForNextTickAsync(jobs.IsEmpty ? stoppingToken : CancellationToken.None))
            {
                await RenewAsync();
                if (stoppingToken.IsCancellationRequested && jobs.IsEmpty)
                {
                    return;
                }
            }
        }
        catch (OperationCanceledException)
        {
            log.LogDebug("No lease is left to renew");
        }
    }

    private async Task RenewAsync()
    {
        var held = jobs.Values.ToList();
        if (held.Count == 0)
        {
            return;
        }

        var askedAt = time.GetTimestamp();
        var now = time.GetUtcNow();
        try
        {
            var renewed = await leases.RenewAsync(
                [.. held.Select(j => new Renewal(j.Session.SessionId, j.Session.LeaseToken, j.Percent, j.Phase, j.TakeMoved(now)))], options.LeaseDuration, CancellationToken.None);
            foreach (var job in held)
            {
                if (!renewed.TryGetValue(job.Session.SessionId, out var cancelRequested))
                {
                    if (jobs.ContainsKey(job.Session.SessionId)) // it has not just ended
                    {
                        log.LogWarning("Lost the lease of {SessionId}; stopping work on it", job.Session.SessionId);
                        job.Stop(StopReason.LeaseLost);
                    }

                    continue;
                }

                job.RenewedAt = askedAt;
                if (cancelRequested)
                {
                    job.Stop(StopReason.Canceled);
                }
            }
        }
        catch (Exception e) when (Transient.IsPassing(e))
        {
            log.LogWarning("Could not renew {Count} leases: {Problem}", held.Count, e.Message);
            foreach (var job in held.Where(j => time.GetElapsedTime(j.RenewedAt) > Trust && (!j.HasUnheardCall || j.Session.Lane == "gpu"))) // a GPU goes with the lease
            {
                log.LogWarning("The lease of {SessionId} could not be renewed for {Time}; stopping work on it", job.Session.SessionId, Trust);
                job.Stop(StopReason.LeaseLost);
            }
        }
    }
}
