using Generation.Core;
using Generation.Core.Database;
using Generation.Core.Queue;
using Generation.Core.Sessions;
using Generation.Core.Settings;
using Generation.ServiceDefaults;
using Generation.Worker.Jobs;
using Microsoft.Extensions.Options;
using Npgsql;

namespace Generation.Worker.Hosting;

/// <summary>
/// One loop per lane: receives no more messages than there are free slots, claims their sessions in one statement, acknowledges, and starts the
/// jobs. A message is done once its session is claimed, or cannot be: from then on the lease brings a session back
/// (docs/decisions/0003), so no message has to live as long as a job.
/// <para>
/// Bulkhead: while a provider holds half of a full lane's slots or more, jobs of others run beside them, half as many again as there are slots, and
/// are taken past the queue. In the lane <c>gpu</c> a job is received when a GPU is reserved for it, so that what waits for one keeps its place.
/// </para>
/// <para>
/// Shutdown: receiving stops at the signal, not when the host comes to this service, which is a drain delay later; jobs without a paid call under
/// way are handed back at once, the others go on for the drain time, counted from the signal; the rest is handed back while the grace period
/// still has time for it.
/// </para>
/// </summary>
public sealed class LaneConsumer(
    IJobQueue queue, Leases leases, LeaseRenewer active, JobRunner runner, LaneActivity lanes, LaneBypass bypass, GpuSlots gpuSlots,
    IGpuEndpoints gpus, AppSettings settings, WorkerOptions options, DrainState drain, IOptions<ShutdownOptions> shutdown, TimeProvider time,
    ILogger<LaneConsumer> log) : BackgroundService
{
    private const int MaxReceive = 64;

    /// <summary>
    /// Jobs of a lane whose settlement is being written. They take no slot, so that settlements share a commit; a slow database limits the lane here.
    /// </summary>
    private const int MaxEnding = 256;

    /// <summary>A receive is not cancelled (its messages would be delivered to nobody), so it must not wait for long.</summary>
    private static readonly TimeSpan ReceiveWait = TimeSpan.FromSeconds(1);

    private static readonly TimeSpan MaxHandBackTime = TimeSpan.FromSeconds(5);

    /// <summary>Of a GPU by a worker that waits for a job; one that dies keeps it so long from others.</summary>
    private static readonly TimeSpan GpuReservation = TimeSpan.FromSeconds(10);

    /// <summary>Between two attempts to reserve a GPU, unless a job of our own ends.</summary>
    private static readonly TimeSpan GpuPause = TimeSpan.FromMilliseconds(250);

    private static readonly string GpuLane = Lane.Gpu.Name();

    private readonly string worker = lanes.Worker;
    private (string Endpoint, long At)? reserved; // of the lane gpu alone

    /// <summary>From the stop signal; the rest of the grace period is for handing back.</summary>
    private TimeSpan DrainTime
    {
        get
        {
            var grace = shutdown.Value.GracePeriod;
            var longest = grace - (grace / 4 < MaxHandBackTime ? grace / 4 : MaxHandBackTime);
            return options.DrainTimeout is { } wanted && wanted < longest ? wanted : longest;
        }
    }

    private string[] Lanes => options.Lanes is { Length: > 0 } some ? some : QueueOptions.Lanes;

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        log.LogInformation(LogEvents.WorkerInit, "Worker {Worker} starts on lanes {Lanes}", worker, string.Join(", ", Lanes));
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(stoppingToken, drain.Draining);
        var drained = DrainedAsync(stop.Token);
        var loops = Lanes.Select(lane => Task.Run(() => ConsumeAsync(lane, drained, stop.Token), CancellationToken.None)).ToList();
        log.LogInformation(LogEvents.WorkerReady, "Worker {Worker} is ready", worker);
        await Task.WhenAll(loops);
    }

    /// <summary>Over when the drain time is.</summary>
    private async Task DrainedAsync(CancellationToken ct)
    {
        await Task.Delay(Timeout.InfiniteTimeSpan, time, ct).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await Task.Delay(DrainTime, time, CancellationToken.None);
    }

    private async Task ConsumeAsync(string lane, Task drained, CancellationToken ct)
    {
        var running = new Dictionary<Task, ActiveJob>();
        var outage = new ThrottledLog(time);
        var lookedAt = time.GetTimestamp(); // past the queue: once a second at most, for a full lane comes here at the end of every job
        while (!ct.IsCancellationRequested)
        {
            try
            {
                foreach (var ended in running.Keys.Where(job => job.IsCompleted).ToList())
                {
                    running.Remove(ended);
                }

                var slots = await settings.WorkerConcurrencyAsync(ct) ?? options.Concurrency;
                lanes.Serve(lane, slots);
                var working = running.Where(r => !r.Value.Worked.IsCompleted && !r.Key.IsCompleted).ToList();
                var room = running.Count >= slots + MaxEnding ? 0 : Math.Min(slots - working.Count, MaxReceive);
                var (most, gpu) = room > 0 && lane == GpuLane ? await ReserveGpuAsync(room, ct) : (room, null);
                if (most <= 0)
                {
                    var past = working.Count >= slots && lane != GpuLane && time.GetElapsedTime(lookedAt) >= ReceiveWait
                        ? await TakePastQueueAsync(lane, slots, working.ConvertAll(r => r.Value), ct) : [];
                    lookedAt = past.Count > 0 || time.GetElapsedTime(lookedAt) < ReceiveWait ? lookedAt : time.GetTimestamp();
                    past.ForEach(taken => running.Add(taken.Task, taken.Job));
                    if (past.Count == 0)
                    {
                        var pause = Task.Delay(room > 0 ? GpuPause : ReceiveWait, time, ct);
                        await Task.WhenAny(working.Count >= slots || room > 0
                            ? [.. working.Select(r => r.Value.Worked), .. working.Select(r => r.Key), pause] : [.. running.Keys, pause]);
                    }

                    continue;
                }

                var deliveries = await queue.ReceiveAsync(lane, most, ReceiveWait, CancellationToken.None);
                foreach (var (job, task) in await TakeAsync(lane, deliveries, gpu))
                {
                    running.Add(task, job);
                }

                if (outage.Recovered())
                {
                    log.LogInformation(OperationEvents.ServiceRecovered, "Lane {Lane} receives jobs again", lane);
                }
            }
            catch (OperationCanceledException) when (ct.IsCancellationRequested)
            {
                break;
            }
            catch (Exception e) // any: the other lanes and the running jobs must not end with it
            {
                if (outage.Report())
                {
                    log.LogError(e, "Lane {Lane} receives no jobs: {Problem}", lane, e.Message);
                }

                await Task.Delay(TimeSpan.FromSeconds(1), time, ct).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }

        if (lane == GpuLane)
        {
            await FreeAsync(() => gpuSlots.CancelReservationAsync(worker, CancellationToken.None));
        }

        log.LogInformation(OperationEvents.WorkerDrain, "Lane {Lane} stopped receiving; {Count} jobs are still running", lane,
            running.Keys.Count(job => !job.IsCompleted));

        foreach (var (_, job) in running.Where(r => !r.Key.IsCompleted))
        {
            job.HandOver();
        }

        // Only its own jobs: an idle lane arrives here immediately, while the others still wait for theirs.
        var done = Task.WhenAll(running.Keys);
        await Task.WhenAny(done, drained);
        foreach (var (_, job) in running.Where(r => !r.Key.IsCompleted))
        {
            log.LogWarning("{SessionId} did not finish within {DrainTime} (Worker:DrainTimeout, Shutdown:GracePeriod) and is handed back",
                job.Session.SessionId, DrainTime);
            job.Stop(StopReason.Drained);
        }

        await done;
    }

    /// <summary>
    /// How many jobs of the lane <c>gpu</c> may be received, and the GPU that is reserved for one. Without a GPU that anybody could use there is
    /// nothing to wait for: jobs are received all the same, and end with a placeholder or a failure.
    /// </summary>
    private async Task<(int Most, string? Endpoint)> ReserveGpuAsync(int room, CancellationToken ct)
    {
        var usable = gpus.Usable;
        if (reserved is { } mine && usable.Contains(mine.Endpoint) && time.GetElapsedTime(mine.At) < GpuReservation / 2)
        {
            return (1, mine.Endpoint);
        }

        if (usable.Count > 0)
        {
            var askedAt = time.GetTimestamp();
            var endpoint = await gpuSlots.ReserveAsync(worker, usable, GpuReservation, ct);
            reserved = endpoint is null ? null : (endpoint, askedAt);
            return endpoint is null ? (0, null) : (1, endpoint);
        }

        return await gpuSlots.AreUsedByOthersAsync(worker, gpus.All, ct) ? (0, null) : (room, null);
    }

    /// <summary>
    /// Jobs for a full lane in which a provider holds half of the slots or more: of other providers, up to half as many again as there are slots.
    /// </summary>
    private async Task<List<(ActiveJob Job, Task Task)>> TakePastQueueAsync(string lane, int slots, List<ActiveJob> working, CancellationToken ct)
    {
        var share = Math.Max(1, (slots + 1) / 2);
        var full = working.CountBy(job => job.Session.Provider).Where(p => p.Value >= share).Select(p => p.Key).ToList();
        var room = Math.Min(slots + share - working.Count, MaxReceive);
        return full.Count == 0 || room <= 0 ? [] : await TakeAsync(lane, await bypass.FindAsync(lane, full, room, ct), gpu: null, isPastQueue: true);
    }

    /// <summary>Best effort: what is not freed is free when the lease or the reservation ends.</summary>
    private async Task FreeAsync(Func<Task> free)
    {
        try
        {
            await free();
        }
        catch (Exception e) when (e is NpgsqlException or TimeoutException or ObjectDisposedException)
        {
            log.LogDebug(e, "Could not free a GPU; it is free when its lease ends");
        }
    }

    private async Task<List<(ActiveJob Job, Task Task)>> TakeAsync(
        string lane, IReadOnlyList<Delivery> deliveries, string? gpu, bool isPastQueue = false)
    {
        foreach (var broken in deliveries.Where(d => d.Message.SessionId == Guid.Empty))
        {
            log.LogError("A message of lane {Lane} names no session and was dead-lettered", lane);
            await queue.DeadLetterAsync(lane, broken, "names no session", CancellationToken.None);
        }

        var messages = deliveries.Where(d => d.Message.SessionId != Guid.Empty).ToList();
        if (messages.Count == 0)
        {
            return [];
        }

        var claimedAt = time.GetTimestamp();
        var claimed = await TransientErrors.RepeatOnDisconnectAsync(() => leases.ClaimAsync(
            [.. messages.Select(d => d.Message.SessionId).Distinct()], [.. messages.Select(d => d.Message.OutboxId)],
            worker, options.LeaseDuration, CancellationToken.None));
        foreach (var unreadable in claimed.Unreadable)
        {
            _ = runner.FailUnreadableAsync(unreadable);
        }

        var jobs = claimed.Sessions.Select(session => active.Add(session, claimedAt)).ToList();
        jobs.ForEach(job => lanes.Claimed(job.Session));
        if (gpu is not null && jobs is [var first, ..])
        {
            reserved = null;
            await FreeAsync(() => gpuSlots.AssignAsync(worker, gpu, first.Session, CancellationToken.None)); // or the handler waits for one
        }

        var started = jobs.ConvertAll(job =>
        {
            var delivery = messages.First(m => m.Message.SessionId == job.Session.SessionId);
            return (job, Task.Run(() => RunAsync(job, lane, delivery)));
        });
        try
        {
            if (!isPastQueue)
            {
                await queue.CompleteAsync(lane, [.. messages.Select(d => d.Receipt)], CancellationToken.None);
            }
        }
        catch (QueueException e)
        {
            log.LogDebug(e, "Could not acknowledge messages; they are redelivered and ignored");
        }

        return started;
    }

    private async Task RunAsync(ActiveJob job, string lane, Delivery delivery)
    {
        var session = job.Session;
        using var activity = Telemetry.Continue($"process {lane}", session.TraceParent ?? delivery.Message.TraceParent);
        if (activity is { IsAllDataRequested: true })
        {
            activity.SetSession(session.SessionId)?.SetMessaging(queue.MessagingSystem, lane, "process", delivery.MessageId)?
                .SetTag("generation.job.type", session.JobType)
                .SetTag("generation.model", session.Model)
                .SetTag("generation.attempt", session.Attempt) // failures before this one
                .SetTag("generation.lost_leases", session.LostLeases)
                .SetTag("generation.lease_token", session.LeaseToken)
                .SetTag("generation.mock", session.Mock);
        }

        try
        {
            await runner.RunAsync(job);
        }
        catch (Exception e)
        {
            // Nothing is lost: the lease runs out and the session is queued again.
            activity.SetFailed(e.GetType().FullName!);
            log.LogError(e, "Could not finish {SessionId}; it is requeued when its lease expires", job.Session.SessionId);
        }
        finally
        {
            active.Remove(job);
            job.Dispose();
            if (lane == GpuLane)
            {
                await FreeAsync(() => gpuSlots.ReleaseAsync(session, CancellationToken.None));
            }
        }
    }
}
