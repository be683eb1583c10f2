using System.Collections.Concurrent;
using Generation.Core;
using Generation.Core.Providers;
using Generation.Core.Queue;
using Generation.Core.Sessions;
using Generation.Worker.Jobs;

namespace Generation.Worker.Hosting;

/// <summary>What this worker does in its lanes, for the relays: they send no more than workers take, and say when a job will start.</summary>
public sealed class LaneActivity(LeaseRenewer active, IGpuEndpoints gpus)
{
    private static int count;

    private readonly ConcurrentDictionary<string, int> slots = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<(string Lane, string Provider), (long Claimed, double Work)> claims = new();

    /// <summary>This worker, as leases, reservations and reports name it: two of one process have two names.</summary>
    public string Worker { get; } = Interlocked.Increment(ref count) is > 1 and var nth
        ? $"{Environment.MachineName}:{Environment.ProcessId}:{nth}" : $"{Environment.MachineName}:{Environment.ProcessId}";

    /// <summary>A lane is served with so many slots.</summary>
    public void Serve(string lane, int slotCount) => slots[lane] = slotCount;

    public void Claimed(ClaimedSession session)
    {
        ArgumentNullException.ThrowIfNull(session);
        claims.AddOrUpdate((session.Lane.Name(), session.Provider), (1, session.Work), (_, sum) => (sum.Claimed + 1, sum.Work + session.Work));
    }

    public IReadOnlyList<LaneReport> Report()
    {
        var running = active.Working().CountBy(job => (Lane: job.Session.Lane.Name(), job.Session.Provider)).ToDictionary();
        return [.. slots.Select(lane =>
        {
            var providers = claims.Where(claim => claim.Key.Lane == lane.Key)
                .Select(claim => new LaneProviderReport(
                    claim.Key.Provider, running.GetValueOrDefault(claim.Key), claim.Value.Claimed, claim.Value.Work))
                .ToList();
            var isGpu = lane.Key == Lane.Gpu.Name();
            return new LaneReport(lane.Key, isGpu ? Math.Min(lane.Value, gpus.Usable.Count) : lane.Value, providers.Sum(p => p.Running), providers)
            {
                Gpus = isGpu ? gpus.Usable : null,
            };
        })];
    }
}
