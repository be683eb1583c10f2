using System.Globalization;
using FsCheck;
using FsCheck.Fluent;
using Generation.Tests.Harness;

namespace Generation.Tests.Credits;

/// <summary>
/// Random sequences against the model (<see cref="LedgerModel"/>). A failure prints the shortest sequence that fails and a seed, which
/// <c>LEDGER_SEED=seed,gamma</c> repeats. Without it every run has the same sequences, so that what fails is what has changed;
/// <c>LEDGER_SEED=random LEDGER_CASES=3000</c> looks for new ones.
/// </summary>
[Trait("tier", "slow")]
public sealed class LedgerProperties
{
    private static readonly int Cases = int.Parse(Environment.GetEnvironmentVariable("LEDGER_CASES") ?? (FullTier.IsOn ? "200" : "60"),
        CultureInfo.InvariantCulture);
    private const int LongestScript = 25;

    private const string Reached =
        """
        SELECT k.type || ' from ' || k.from_bucket, count(t.transaction_id)
        FROM (VALUES ('purchase', 'external'), ('bonus', 'external'), ('adjustment', 'external'), ('adjustment', 'available'),
            ('reservation', 'available'), ('usage', 'reserved'),
                     ('usage', 'available'), ('adjustment', 'reserved'), ('refund', 'reserved'), ('expiry', 'available')) AS k (type, from_bucket)
        LEFT JOIN credit_transactions AS t USING (type, from_bucket)
        GROUP BY 1
        UNION ALL
        SELECT 'sessions ' || k.status, count(s.session_id)
        FROM (VALUES ('completed'), ('failed'), ('canceled')) AS k (status) LEFT JOIN generation_sessions AS s USING (status)
        GROUP BY 1
        UNION ALL
        SELECT 'abandoned holds', count(*) FROM credit_reservations WHERE status = 'expired'
        UNION ALL
        SELECT 'shortfalls', count(*) FROM error_events WHERE code = 'cost_shortfall'
        UNION ALL
        SELECT 'holds over several lots', count(*) FROM (SELECT FROM credit_reservation_draws WHERE NOT extra
            GROUP BY reservation_id HAVING count(*) > 1) AS h
        UNION ALL
        SELECT 'credits that expired when they were released', count(*) FROM credit_transactions WHERE type = 'expiry' AND reservation_id IS NOT NULL
        """;

    [Fact]
    public async Task Balances_lots_draws_and_ledger_agree_with_the_model_after_every_step_of_any_sequence()
    {
        await using var real = await LedgerDatabase.StartAsync();
        var prices = await LedgerCase.AddPricesAsync(real);
        var run = 0;
        var steps = 0;
        var property = Prop.ForAll(Script.Any(LongestScript), script =>
        {
            steps += script.Commands.Length;
            LedgerCase.RunAsync(real, prices, $"c{++run}", script).GetAwaiter().GetResult();
        });
        var config = Config.QuickThrowOnFailure.WithMaxTest(Cases);
        if ((Environment.GetEnvironmentVariable("LEDGER_SEED") ?? "20261122,11").Split(',') is [var seed, var gamma])
        {
            config = config.WithReplay(ulong.Parse(seed, CultureInfo.InvariantCulture), ulong.Parse(gamma, CultureInfo.InvariantCulture));
        }

        property.Check(config);
        Assert.Empty(real.Errors.Lines);
        await real.AssertBooksAreCleanAsync();

        // A sequence that never gets anywhere agrees with any model.
        var seen = await real.LinesAsync(Reached);
        Assert.All(seen, line => Assert.False(line.EndsWith(" 0", StringComparison.Ordinal), line));
        TestContext.Current.TestOutputHelper!.WriteLine($"{run} sequences, {steps} steps: {string.Join("; ", seen)}.");
    }
}
