using Generation.Core;
using Generation.Core.Database;
using Generation.Core.Queue;
using Generation.Core.Sessions;
using Generation.Core.Settings;
using Generation.ServiceDefaults;
using Generation.Worker.Jobs;
using Microsoft.Extensions.Options;

namespace Generation.Worker.Hosting;

/// <summary>
/// One loop per lane: receives no more messages than there are free slots, claims their sessions in one statement, acknowledges, and starts the
/// jobs. A message is done once its session is claimed, or cannot be: from then on the lease brings a session back
/// (docs/decisions/0003), so no message has to live as long as a job.
/// <para>
/// Shutdown: receiving stops at the signal, not when the host comes to this service, which is a drain delay later; jobs without a paid call under
/// way are handed back at once, the others go on for the drain time, counted from the signal; the rest is handed back while the grace period
/// still has time for it.
/// </para>
/// </summary>
public sealed class LaneConsumer(
    IJobQueue queue, Leases leases, LeaseRenewer active, JobRunner runner, AppSettings settings, WorkerOptions options, DrainState drain,
    IOptions<ShutdownOptions> shutdown, TimeProvider time, ILogger<LaneConsumer> log) : BackgroundService
{
    private const int MaxReceive = 64;

    /// <summary>
    /// Jobs of a lane whose settlement is being written. They take no slot, so that settlements share a commit; a slow database limits the lane here.
    /// </summary>
    private const int MaxEnding = 256;

    /// <summary>A receive is not cancelled (its messages would be delivered to nobody), so it must not wait for long.</summary>
    private static readonly TimeSpan ReceiveWait = TimeSpan.FromSeconds(1);

    private static readonly TimeSpan MaxHandBackTime = TimeSpan.FromSeconds(5);

    /// <summary>This process, as leases and reports name it.</summary>
    public static readonly string WorkerName = $"{Environment.MachineName}:{Environment.ProcessId}";

    private readonly string worker = WorkerName;

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
        var lanes = Lanes.Select(lane => Task.Run(() => ConsumeAsync(lane, drained, stop.Token), CancellationToken.None)).ToList();
        log.LogInformation(LogEvents.WorkerReady, "Worker {Worker} is ready", worker);
        await Task.WhenAll(lanes);
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
        while (!ct.IsCancellationRequested)
        {
            try
            {
                foreach (var ended in running.Keys.Where(job => job.IsCompleted).ToList())
                {
                    running.Remove(ended);
                }

                var slots = await settings.WorkerConcurrencyAsync(ct) ?? options.Concurrency;
                var working = running.Where(r => !r.Value.Worked.IsCompleted && !r.Key.IsCompleted).ToList();
                if (working.Count >= slots || running.Count >= slots + MaxEnding)
                {
                    var pause = Task.Delay(ReceiveWait, time, ct);
                    await Task.WhenAny(working.Count >= slots ? [.. working.Select(r => r.Value.Worked), .. working.Select(r => r.Key), pause]
                        : [.. running.Keys, pause]);
                    continue;
                }

                var deliveries = await queue.ReceiveAsync(lane, Math.Min(slots - working.Count, MaxReceive), ReceiveWait, CancellationToken.None);
                if (deliveries.Count > 0)
                {
                    foreach (var (job, task) in await TakeAsync(lane, deliveries))
                    {
                        running.Add(task, job);
                    }
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

    private async Task<List<(ActiveJob Job, Task Task)>> TakeAsync(string lane, IReadOnlyList<Delivery> deliveries)
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

        var started = claimed.Sessions.Select(session =>
        {
            var job = active.Add(session, claimedAt);
            var delivery = messages.First(m => m.Message.SessionId == session.SessionId);
            return (job, Task.Run(() => RunAsync(job, lane, delivery)));
        }).ToList();
        try
        {
            await queue.CompleteAsync(lane, [.. messages.Select(d => d.Receipt)], CancellationToken.None);
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
        }
    }
}
