using Generation.Core.Settings;

namespace Generation.Core.Credits;

/// <summary>Who pays when the work cost more than was held for it.</summary>
public enum CostPolicy
{
    /// <summary>We do: the hold is captured, the rest is recorded in <c>error_events</c> as <c>cost_shortfall</c>.</summary>
    Absorb,

    /// <summary>The user does, as far as credits are available; what is missing then is recorded.</summary>
    ChargeAvailable,
}

/// <summary>Section <c>Credits</c>.</summary>
public sealed class CreditOptions
{
    public const string Section = "Credits";

    /// <summary>What happens to a cost beyond the hold; default <c>Absorb</c>: nobody pays more than the price that was shown.</summary>
    public CostPolicy CostPolicy { get; set; } = CostPolicy.Absorb;

    /// <summary>
    /// With <see cref="CostPolicy.ChargeAvailable"/>, the most that a generation costs its user, in terms of its hold; default 2. What is beyond
    /// is absorbed and recorded: a provider that counts absurdly empties no account.
    /// </summary>
    public int MaxChargeFactor { get; set; } = 2;

    internal void Check(SettingsCheck check)
    {
        check.Defined(nameof(CostPolicy), CostPolicy);
        check.Range(nameof(MaxChargeFactor), MaxChargeFactor, 1, 1000);
    }
}
