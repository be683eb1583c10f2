using Generation.Bench.Harness;

namespace Generation.Bench.Chaos;

/// <summary>
/// A rolling upgrade under load, with everything that may come of it: the schema is migrated under the previous release, both releases
/// share the work, the deployment is rolled back, and forward again. Processes are killed and paused meanwhile.
/// </summary>
internal sealed class Upgrade(ChaosSystem system, History history, ChaosReport report, RunFolder folder)
{
    /// <summary>The faults of such a run: those after which one release takes over what the other has begun.</summary>
    public static readonly IReadOnlyList<FaultKind> Faults =
        [FaultKind.KillApi, FaultKind.KillRelay, FaultKind.KillWorker, FaultKind.PauseWorker, FaultKind.WipeRedis, FaultKind.DuplicateCallbacks];

    private static readonly TimeSpan SampleInterval = TimeSpan.FromMilliseconds(50);
    private static readonly TimeSpan MaxSampling = TimeSpan.FromSeconds(60);

    private readonly long started = TimeProvider.System.GetTimestamp();

    /// <summary>Ends when every instance is of this release.</summary>
    /// <param name="duration">Of the load: the steps are spread over it.</param>
    /// <param name="ct">Stops.</param>
    public async Task RunAsync(TimeSpan duration, CancellationToken ct)
    {
        await AtAsync(0.1);
        await WaitForOpenWorkAsync(ct);
        await ServiceChild.RunAsync("Generation.Relay", ["migrate"], system.Deployments[1].Settings, folder, ct);
        Tell("the schema is migrated, both instances of each service are of the previous release");

        await AtAsync(0.25);
        await DeployAsync(1, system.Deployments);
        Tell("the second instance of each service is of the new release");

        await AtAsync(0.5);
        await DeployAsync(1, system.PreviousDeployments);
        Tell("rolled back: all are of the previous release, on the new schema");

        await AtAsync(0.6);
        await DeployAsync(0, system.Deployments);
        Tell("the first instance of each service is of the new release");

        await AtAsync(0.8);
        await DeployAsync(1, system.Deployments);
        Tell("rolled forward: all are of the new release");

        async Task AtAsync(double share)
        {
            var wait = (duration * share) - TimeProvider.System.GetElapsedTime(started);
            if (wait > TimeSpan.Zero)
            {
                await Task.Delay(wait, TimeProvider.System, ct);
            }
        }

        void Tell(string step) => Report.Say($"{TimeProvider.System.GetElapsedTime(started).TotalSeconds,4:0} s: {step}");
    }

    /// <summary>One instance of each service; docs/deployment.md promises that the order does not matter.</summary>
    private async Task DeployAsync(int instance, IReadOnlyList<Deployment> releases)
    {
        foreach (var (fleet, release) in system.Fleets.Zip(releases))
        {
            await fleet.DeployAsync(instance, release);
        }
    }

    /// <summary>
    /// What the audit of promises does not ask: that sessions changed hands between the releases in both directions, which is what such a
    /// run is for.
    /// </summary>
    public async Task CheckAsync(CancellationToken ct)
    {
        var releases = system.Workers.Releases;
        var handed = await history.ReadAsync(
            """
            SELECT DISTINCT session_id, before, after
            FROM (SELECT session_id, lag(lease_owner) OVER (PARTITION BY session_id ORDER BY id) AS before, lease_owner AS after
                  FROM chaos.history WHERE lease_owner IS NOT NULL) AS leases
            WHERE before <> after
            """, r => (From: Release(r.GetString(1)), To: Release(r.GetString(2))), ct);
        var (forth, back) = (handed.Count(one => one is ("previous", "new")), handed.Count(one => one is ("new", "previous")));
        string[] missing = [.. forth == 0 ? ["no session went from the previous release to the new one"] : Array.Empty<string>(),
            .. back == 0 ? ["no session went from the new release to the previous one"] : Array.Empty<string>()];
        report.Add("both releases shared the work", $"{forth} sessions begun by the previous release went on with the new one, {back} the other way",
            missing);

        string Release(string leaseOwner) => releases.GetValueOrDefault(
            int.Parse(leaseOwner[(leaseOwner.LastIndexOf(':') + 1)..], System.Globalization.CultureInfo.InvariantCulture), "?");
    }

    /// <summary>Migrates in a moment in which there is open work of every kind.</summary>
    private async Task WaitForOpenWorkAsync(CancellationToken ct)
    {
        var since = TimeProvider.System.GetTimestamp();
        IReadOnlyList<(string Kind, long Count)> open = [];
        while (TimeProvider.System.GetElapsedTime(since) < MaxSampling)
        {
            open = await history.ReadAsync(
                """
                SELECT kind, count FROM (VALUES
                    ('waiting in the outbox', (SELECT count(*) FROM outbox WHERE dispatched_at IS NULL)),
                    ('sent, and not claimed', (SELECT count(*) FROM outbox WHERE dispatched_at IS NOT NULL)),
                    ('leased', (SELECT count(*) FROM generation_sessions WHERE lease_until IS NOT NULL)),
                    ('waiting for a provider', (SELECT count(*) FROM generation_sessions WHERE phase = 'awaiting_provider')),
                    ('paid calls without an answer', (SELECT count(*) FROM provider_tasks AS t JOIN generation_sessions AS s USING (session_id)
                        WHERE t.state = 'intent' AND s.completed_at IS NULL)),
                    ('after a failed attempt', (SELECT count(*) FROM generation_sessions WHERE completed_at IS NULL AND attempt > 0)),
                    ('open holds', (SELECT count(*) FROM credit_reservations WHERE status = 'held')),
                    ('ended', (SELECT count(*) FROM generation_sessions WHERE completed_at IS NOT NULL))) AS kinds (kind, count)
                """, r => (r.GetString(0), r.GetInt64(1)), ct);
            if (open.All(kind => kind.Count > 0))
            {
                break;
            }

            await Task.Delay(SampleInterval, TimeProvider.System, ct);
        }

        report.Add("the migration met open work of every kind", string.Join(", ", open.Select(kind => $"{kind.Count} {kind.Kind}")),
            [.. open.Where(kind => kind.Count == 0).Select(kind => $"none {kind.Kind}")]);
    }
}
