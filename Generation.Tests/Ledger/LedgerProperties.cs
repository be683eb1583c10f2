using System.Globalization;
using FsCheck;
using FsCheck.Fluent;

namespace Generation.Tests.Ledger;

/// <summary>
/// Random sequences against the model (<see cref="LedgerModel"/>). A failure prints the shortest sequence that fails and a seed, which
/// <c>LEDGER_SEED=seed,gamma</c> repeats.
/// </summary>
public sealed class LedgerProperties
{
    private const int Cases = 200;
    private const int LongestScript = 25;

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
        if (Environment.GetEnvironmentVariable("LEDGER_SEED")?.Split(',') is [var seed, var gamma])
        {
            config = config.WithReplay(ulong.Parse(seed, CultureInfo.InvariantCulture), ulong.Parse(gamma, CultureInfo.InvariantCulture));
        }

        property.Check(config);
        Assert.Empty(real.Complaints.Lines);
        TestContext.Current.TestOutputHelper!.WriteLine($"{run} sequences, {steps} steps.");
    }
}
