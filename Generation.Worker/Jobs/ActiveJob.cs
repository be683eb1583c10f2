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
    private readonly CancellationTokenSource givenUp = new();
    private readonly TaskCompletionSource worked = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Lock gate = new();
    private readonly HashSet<Guid> openCalls = [];
    private int percent = session.Progress;
    private bool hasProgress;
    private bool isLeaving;
    private DateTimeOffset busyUntil;

    public ClaimedSession Session { get; } = session;

    /// <summary>Timestamp of the claim, taken before it was sent.</summary>
    public long ClaimedAt { get; } = claimedAt;

    /// <summary>Fires when the job must stop; <see cref="Reason"/> says why.</summary>
    public CancellationToken Stopped => stop.Token;

    /// <summary>
    /// Fires when nothing that this worker writes about the session counts any more, or there is no time left for it. A canceled job still has
    /// something to write: the outcome of its paid calls, and its end.
    /// </summary>
    public CancellationToken GivenUp => givenUp.Token;

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

    /// <summary>
    /// Whether a paid call is in flight, or its response is not recorded yet: another holder of the session could not learn its outcome.
    /// </summary>
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

    /// <summary>This worker shuts down: a paid call that is under way is waited for, and no other begins.</summary>
    public bool IsLeaving
    {
        get
        {
            lock (gate)
            {
                return isLeaving;
            }
        }
    }

    /// <summary>
    /// A paid call starts that may take until then; the job counts as making progress meanwhile. False when it must not, because this worker
    /// shuts down.
    /// </summary>
    public bool TryStartCall(Guid providerTaskId, DateTimeOffset until)
    {
        lock (gate)
        {
            if (isLeaving)
            {
                return false;
            }

            busyUntil = until > busyUntil ? until : busyUntil;
            return openCalls.Add(providerTaskId);
        }
    }

    /// <summary>
    /// The worker shuts down. What can be asked for later (a task, a file, a GPU that is waited for) is handed over at once; a paid call that is
    /// under way is waited for, because nobody could learn its outcome.
    /// </summary>
    public void HandOver()
    {
        lock (gate)
        {
            isLeaving = true;
            if (openCalls.Count > 0 || Reason != StopReason.None || worked.Task.IsCompleted)
            {
                return;
            }
        }

        Stop(StopReason.Drained);
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
            if (reason != StopReason.Canceled)
            {
                givenUp.Cancel();
            }
        }
        catch (ObjectDisposedException)
        {
            // It has just ended.
        }
    }

    public void Dispose()
    {
        stop.Dispose();
        givenUp.Dispose();
    }
}
