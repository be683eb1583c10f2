using Generation.Core;
using Generation.Core.Maintenance;
using Generation.ServiceDefaults;
using Npgsql;

namespace Generation.Relay.Maintenance;

/// <summary>
/// Vacuums the outbox. Where the relay's login may not vacuum (before Postgres 17 only the owner may), this is left to autovacuum, and logged
/// once.
/// </summary>
public sealed class OutboxVacuumSweep(NpgsqlDataSource database, DatabaseConnections connections, RelayOptions options, TimeProvider time,
    ILogger<OutboxVacuumSweep> log)
    : Sweep("dead-rows", options.VacuumInterval, time, log)
{
    private bool isRefused;

    protected override async Task<SweepResult> SweepAsync(CancellationToken ct)
    {
        var vacuumed = await OutboxVacuum.RunAsync(database, connections.Login, ct);
        if (vacuumed is null && !isRefused)
        {
            log.LogInformation(OperationEvents.Sweep,
                "This login may not vacuum the outbox, which is left to autovacuum (from Postgres 17 on, migrate grants the right)");
        }

        isRefused = vacuumed is null;
        return new((int)Math.Min(vacuumed ?? 0, int.MaxValue), HasMore: false);
    }

    protected override void Report(int count) => log.LogDebug("Vacuumed the outbox of {Count} dead rows", count);
}
