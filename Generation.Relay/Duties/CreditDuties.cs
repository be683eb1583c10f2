using Generation.Core.Credits;

namespace Generation.Relay.Duties;

/// <summary>Holds of living sessions are extended, those of dead ones released, overdue lots expired.</summary>
public sealed class HoldsAndLots(Holds holds, RelayOptions options, TimeProvider time, ILogger<HoldsAndLots> log)
    : Duty(options.HoldInterval, time, log)
{
    public override async Task<bool> RunOnceAsync(CancellationToken ct)
    {
        var extended = await holds.ExtendAsync(ct);
        var abandoned = await holds.ReleaseAbandonedAsync(ct);
        foreach (var session in abandoned)
        {
            log.LogError("The hold of {SessionId} outlived its session and was released; this should not happen", session);
        }

        var accounts = await holds.ExpireLotsAsync(ct);
        if (accounts > 0)
        {
            log.LogInformation("Expired the overdue lots of {Count} accounts", accounts);
        }

        return extended >= Holds.Batch || abandoned.Count >= Holds.Batch || accounts >= Holds.Batch;
    }
}
