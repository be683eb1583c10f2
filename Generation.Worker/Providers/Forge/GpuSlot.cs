using Generation.Core.Sessions;
using Generation.Worker.Jobs;
using Npgsql;

namespace Generation.Worker.Providers.Forge;

/// <summary>A GPU that one job uses alone, over all workers, until the slot is disposed or the session's lease ends.</summary>
internal sealed class GpuSlot : IAsyncDisposable
{
    /// <summary>Between two attempts to take a slot.</summary>
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(500);

    private readonly GpuSlots slots;
    private readonly ClaimedSession session;
    private readonly ILogger log;

    private GpuSlot(GpuSlots slots, ClaimedSession session, string endpoint, ILogger log) =>
        (this.slots, this.session, Endpoint, this.log) = (slots, session, endpoint, log);

    /// <summary>The endpoint of the GPU.</summary>
    public string Endpoint { get; }

    /// <summary>The GPU that was reserved for the job, or the next that is free; null when none was within <paramref name="maxWait"/>.</summary>
    /// <param name="slots">The slots of all workers.</param>
    /// <param name="job">Takes the GPU; it waits only where its own failed or its reservation ran out.</param>
    /// <param name="endpoints">The GPUs, in order of preference.</param>
    /// <param name="maxWait">The longest wait.</param>
    /// <param name="time">The clock.</param>
    /// <param name="log">The log.</param>
    /// <param name="ct">Stops waiting.</param>
    public static async Task<GpuSlot?> TakeAsync(
        GpuSlots slots, JobContext job, IReadOnlyList<string> endpoints, TimeSpan maxWait, TimeProvider time, ILogger log, CancellationToken ct)
    {
        var since = time.GetTimestamp();
        while (true)
        {
            if (await slots.TakeAsync(job.Session, endpoints, ct) is { } endpoint)
            {
                return new GpuSlot(slots, job.Session, endpoint, log);
            }

            if (time.GetElapsedTime(since) >= maxWait)
            {
                return null;
            }

            job.ReportProgress(0, "waiting_for_gpu");
            await Task.Delay(Interval, time, ct);
        }
    }

    public async ValueTask DisposeAsync()
    {
        try
        {
            await slots.ReleaseAsync(session, CancellationToken.None);
        }
        catch (Exception e) when (e is NpgsqlException or TimeoutException)
        {
            log.LogDebug(e, "Could not release the slot of {Endpoint}; it is free when the lease ends", Endpoint);
        }
    }
}
