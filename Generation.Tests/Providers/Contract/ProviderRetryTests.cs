using Generation.Tests.Harness;
using Generation.Tests.Providers.Forge;

namespace Generation.Tests.Providers.Contract;

/// <summary>What passes delays a session and does not end it, and what one output meets takes no other with it.</summary>
[Trait("tier", "slow")]
public sealed class ProviderRetryTests(ProviderSystem providers) : IClassFixture<ProviderSystem>
{
    private readonly TestSystem system = providers.System;

    public static TheoryData<string, string> Passing =>
        ProviderRows.Each(row => row.Faults.Where(fault => fault.Value.Once is not null).Select(f => f.Key));

    public static TheoryData<string, string> Harmless => ProviderRows.Each(row => row.Harmless);

    public static TheoryData<string> OfSeveral => ProviderRows.Where(row => row.Passing is not null);

    public static TheoryData<string> Refusing => ProviderRows.Where(row => row.RefusesOne is not null);

    [Theory]
    [MemberData(nameof(Passing))]
    public async Task A_failure_that_passes_delays_a_session_and_does_not_end_it(string provider, string fault)
    {
        var row = ProviderRows.Of(provider);
        var expected = row.Faults[fault];
        var name = $"{provider} through {fault} once";
        var id = await row.SubmitAsync(system, name, $"[fault={fault.Split(' ')[0]}:times=1]{expected.Words}");
        var end = await system.EndOfAsync(id);

        Assert.Equal(("completed", expected.Once!.Attempt, row.Outputs),
            ((string?)end["status"], (int?)end["attempt"], end["media"]!.AsArray().Count));
        Assert.Null(end["error"]);
        Assert.Equal(row.Outputs * row.Cost, (int?)end["receipt"]!["captured"]);
        var calls = await system.CallsAsync(name);
        Assert.Equal(expected.Once.Calls, calls.Count);
        if (row.IsBilled)
        {
            Assert.Equal(expected.Once.Paid, calls.Count(call => call.Paid));
        }

        await AssertNothingIsAmissAsync(id);
    }

    [Theory]
    [MemberData(nameof(Harmless))]
    public async Task What_is_no_failure_of_the_call_costs_no_attempt(string provider, string words)
    {
        var row = ProviderRows.Of(provider);
        var name = $"{provider} all the same {words.Replace('[', ' ').Replace(']', ' ')}".TrimEnd();
        var id = await row.SubmitAsync(system, name, words);
        var end = await system.EndOfAsync(id);

        Assert.Equal(("completed", 0), ((string?)end["status"], (int?)end["attempt"]));

        // Where the provider's account of its usage cannot be believed, the listed price counts.
        Assert.Equal(words.Contains("absurd", StringComparison.Ordinal) ? row.UnitPrice : row.Cost, (int?)end["receipt"]!["captured"]);
        var call = Assert.Single(await system.CallsAsync(name));
        Assert.True(call.Paid || !row.IsBilled);
        await AssertNothingIsAmissAsync(id);
    }

    [Theory]
    [MemberData(nameof(OfSeveral))]
    public async Task What_has_come_is_not_made_again_when_another_output_is(string provider)
    {
        var row = ProviderRows.Of(provider);
        var name = $"{provider} has the other";
        var id = await row.SubmitAsync(system, name, $"[fault={row.Passing}:times=1]", outputs: 2);
        var end = await system.EndOfAsync(id);

        Assert.Equal(("completed", 2, 2 * row.Cost), ((string?)end["status"], end["media"]!.AsArray().Count, (int?)end["receipt"]!["captured"]));
        Assert.Equal(3, (await system.CallsAsync(name)).Count);
        await AssertNothingIsAmissAsync(id);
    }

    [Theory]
    [MemberData(nameof(Refusing))]
    public async Task An_output_that_is_refused_is_named_and_given_back_and_the_others_are_paid(string provider)
    {
        var row = ProviderRows.Of(provider);
        var name = $"{provider} refuses one";
        var id = await row.SubmitAsync(system, name, $"[fault={row.RefusesOne}:times=1]", outputs: 3);
        var end = await system.EndOfAsync(id);

        Assert.Equal(("completed", 2), ((string?)end["status"], end["media"]!.AsArray().Count));
        var failed = Assert.Single(end["failedOutputs"]!.AsArray())!;
        Assert.Equal("moderation_output", (string?)failed["code"]);
        Assert.DoesNotContain((int)failed["ordinal"]!, end["media"]!.AsArray().Select(media => (int)media!["ordinal"]!));
        Assert.Equal((3 * row.UnitPrice, 2 * row.Cost, (3 * row.UnitPrice) - (2 * row.Cost)),
            ((int?)end["receipt"]!["held"], (int?)end["receipt"]!["captured"], (int?)end["receipt"]!["adjusted"]));
        var calls = await system.CallsAsync(name);
        Assert.Equal((3, 2), (calls.Count, calls.Count(call => call.Paid)));
        await AssertNothingIsAmissAsync(id);
    }

    private async Task AssertNothingIsAmissAsync(Guid id)
    {
        await system.AssertSlotsAreFreeAsync();
        await system.AssertBooksAreCleanAsync();
        await system.AssertNothingIsLeftBehindAsync(id);
    }
}
