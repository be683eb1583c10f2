using Generation.Core;
using Generation.Core.Credits;
using Npgsql;

namespace Generation.Relay.Maintenance;

/// <summary>
/// The audit of the ledger on a timer, and what it found as the gauge <c>generation.ledger.differences</c>, by rule. One relay at a time; who
/// finds another at it waits for its own next turn. So does one whose audit failed: what is too slow now is not to be started again at once.
/// </summary>
public sealed class LedgerAuditService : PeriodicService
{
    private const int NamedIds = 5;

    private static readonly TimeSpan FirstDelay = TimeSpan.FromMinutes(1);

    private readonly LedgerAudit audit;
    private readonly TimeSpan firstDelay;
    private readonly TimeProvider time;
    private readonly ILogger<LedgerAuditService> log;
    private readonly IDisposable gauge;
    private IReadOnlyDictionary<string, long> totals = new Dictionary<string, long>();

    public LedgerAuditService(LedgerAudit audit, RelayOptions options, Random random, TimeProvider time, ILogger<LedgerAuditService> log)
        : base(options.AuditInterval, time, log)
    {
        (this.audit, this.time, this.log) = (audit, time, log);
        // Not all relays of a deployment at the same moment, and not while they start.
        firstDelay = (options.AuditInterval < FirstDelay ? options.AuditInterval : FirstDelay) * (0.5 + random.NextDouble());
        gauge = Telemetry.ObserveLedgerDifferences(() => totals.Select(rule => (rule.Key, rule.Value)));
    }

    public override async Task<bool> RunOnceAsync(CancellationToken ct)
    {
        AuditReport? report;
        try
        {
            report = await audit.TryRunAloneAsync(ct);
        }
        catch (Exception e) when (e is TimeoutException or PostgresException)
        {
            log.LogError(LogEvents.LedgerAudit, e, "The ledger could not be audited: {Problem}", e.Message);
            return false;
        }

        if (report is null)
        {
            return false;
        }

        totals = report.Totals;
        if (report.Clean)
        {
            log.LogInformation(
                LogEvents.LedgerAudit, "The ledger is clean: {Sessions} sessions and {Transactions} transactions of {Users} users in {Seconds} s",
                report.Checked.Sessions, report.Checked.Transactions, report.Checked.Users, report.Seconds);
        }

        foreach (var broken in report.Differences.GroupBy(difference => difference.Rule))
        {
            var first = broken.First();
            log.LogCritical(
                LogEvents.LedgerAudit, "The ledger breaks {Rule} in {Rows} rows: \"{Says}\" First of them: {IdKind} {Ids}; expected {Expected}, "
                    + "found {Actual}",
                broken.Key, report.Totals[broken.Key], first.Says, first.IdKind,
                    string.Join(", ", broken.Take(NamedIds).Select(difference => difference.Id)),
                first.Expected, first.Actual);
        }

        return false;
    }

    public override void Dispose()
    {
        gauge.Dispose();
        base.Dispose();
        GC.SuppressFinalize(this);
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        await Task.Delay(firstDelay, time, stoppingToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await base.ExecuteAsync(stoppingToken);
    }
}
