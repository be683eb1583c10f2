using System.Collections.Concurrent;
using Generation.Core.Database;
using Generation.Core.Realtime;
using Generation.Core.Sessions;

namespace Generation.Worker.Jobs;

public enum StopReason
{
    None,

    /// <summary>The user canceled it.</summary>
    Canceled,

    /// <summary>Another worker may hold it now: nothing may be written.</summary>
    LeaseLost,

    /// <summary>This worker shuts down and its drain time is over.</summary>
    Drained,
}

/// <summary>A session that this worker holds.</summary>
public sealed class ActiveJob(ClaimedSession session, long claimedAt) : IDisposable
{
    private readonly CancellationTokenSource stop = new();
    private readonly TaskCompletionSource worked = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Lock gate = new();
    private readonly HashSet<Guid> openCalls = [];
    private int percent = session.Progress;
    private bool hasProgress;
    private DateTimeOffset busyUntil;

    public ClaimedSession Session { get; } = session;

    /// <summary>Timestamp of the claim, taken before it was sent.</summary>
    public long ClaimedAt { get; } = claimedAt;

    /// <summary>Fires when the job must stop; <see cref="Reason"/> says why.</summary>
    public CancellationToken Stopped => stop.Token;

    public StopReason Reason { get; private set; }

    /// <summary>Completes when the work is done and only the settlement remains to be written: from then on it takes no slot.</summary>
    public Task Worked => worked.Task;

    /// <summary>The version as this worker knows it.</summary>
    public long Version { get; set; } = session.Version;

    public string Phase { get; private set; } = "preparing";

    public int Percent => Volatile.Read(ref percent);

    /// <summary>Timestamp of when the lease was last known to be ours, taken before the statement was sent.</summary>
    public long RenewedAt { get; set; } = claimedAt;

    /// <summary>Records progress, which never falls. 100 is reserved for the end.</summary>
    public Progress Report(int newPercent, string phase)
    {
        lock (gate)
        {
            percent = Math.Max(percent, Math.Clamp(newPercent, 0, 99));
            Phase = phase;
            hasProgress = true;
            return new Progress(Session.SessionId, Version, Session.LeaseToken, percent, phase);
        }
    }

    /// <summary>Marks progress that is not a percentage, such as received bytes.</summary>
    public void MarkProgress() => Volatile.Write(ref hasProgress, true);

    /// <summary>Whether a paid call is in flight, or its response is not recorded yet: another holder of the session could not learn its outcome.</summary>
    public bool HasOpenCall
    {
        get
        {
            lock (gate)
            {
                return openCalls.Count > 0;
            }
        }
    }

    /// <summary>A paid call has started that may take until then; the job counts as making progress meanwhile.</summary>
    public void CallStarted(Guid providerTaskId, DateTimeOffset until)
    {
        lock (gate)
        {
            busyUntil = until > busyUntil ? until : busyUntil;
            openCalls.Add(providerTaskId);
        }
    }

    /// <summary>The outcome of a call is recorded.</summary>
    public void CallCompleted(Guid providerTaskId)
    {
        lock (gate)
        {
            openCalls.Remove(providerTaskId);
        }
    }

    /// <summary>Whether there was progress since the last call of this method.</summary>
    public bool TakeProgress(DateTimeOffset now)
    {
        lock (gate)
        {
            var progressed = hasProgress || now < busyUntil;
            hasProgress = false;
            return progressed;
        }
    }

    /// <summary>Releases its slot.</summary>
    public void FinishWork() => worked.TrySetResult();

    /// <summary>Stops the job; the first reason counts, except that a lost lease overrides every other.</summary>
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
            // It has just ended.
        }
    }

    public void Dispose() => stop.Dispose();
}

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
            log.LogDebug("No leases left to renew");
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
                [.. held.Select(j => new Renewal(j.Session.SessionId, j.Session.LeaseToken, j.Percent, j.Phase, j.TakeProgress(now)))], options.LeaseDuration, CancellationToken.None);
            foreach (var job in held)
            {
                if (!renewed.TryGetValue(job.Session.SessionId, out var cancelRequested))
                {
                    if (jobs.ContainsKey(job.Session.SessionId)) // unless it has just ended
                    {
                        log.LogWarning("Lease of {SessionId} was lost; stopping the job", job.Session.SessionId);
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
        catch (Exception e) when (TransientErrors.IsTransient(e))
        {
            log.LogWarning("Could not renew {Count} leases: {Problem}", held.Count, e.Message);
            foreach (var job in held.Where(j => time.GetElapsedTime(j.RenewedAt) > Trust && (!j.HasOpenCall || j.Session.Lane == "gpu"))) // the GPU slot ends with the lease
            {
                log.LogWarning("Lease of {SessionId} could not be renewed for {Time}; stopping the job", job.Session.SessionId, Trust);
                job.Stop(StopReason.LeaseLost);
            }
        }
    }
}
