using Generation.Tests.Faults;
using Generation.Tests.Harness;

namespace Generation.Tests.Providers.Forge;

/// <summary>One system for all rows: it gives up after two attempts of two tries each.</summary>
public sealed class ForgeFaultSystem : IAsyncLifetime
{
    public TestSystem System { get; private set; } = null!;

    public async ValueTask InitializeAsync() => System = await TestSystem.StartAsync(options =>
    {
        options.Settings["Worker:MaxAttempts"] = "2";
        options.Settings["Media:MaxImageDownloadBytes"] = "200000";
        options.Settings["Providers:Forge:ConnectTimeout"] = "00:00:01";
        options.Settings["Providers:Forge:CallTimeout"] = "00:00:04";
    });

    public ValueTask DisposeAsync() => System.DisposeAsync();
}

/// <summary>Every way in which a WebUI fails, from the wire to the user's receipt. Nobody is charged for what is not stored.</summary>
public sealed class ForgeFaultTests(ForgeFaultSystem faults) : IClassFixture<ForgeFaultSystem>
{
    private readonly TestSystem system = faults.System;

    [Theory]
    [InlineData("unauthorized", "provider_unauthorized", "forge.unauthorized", 1)]
    [InlineData("not-found", "provider_unauthorized", "forge.no_route", 1)]
    [InlineData("overload", "provider_rate_limited", "forge.out_of_memory", 2)]
    [InlineData("server-error", "provider_unavailable", "forge.exception", 4)]
    [InlineData("server-error-paid", "provider_unavailable", "forge.exception", 4)]
    [InlineData("bad-gateway", "provider_unavailable", "forge.gateway", 4)]
    [InlineData("empty-data", "provider_unavailable", "forge.empty_reply", 4)]
    [InlineData("malformed", "provider_unavailable", null, 4)]
    [InlineData("cut-reply", "provider_unavailable", "forge.no_answer", 4)]
    [InlineData("cut-reply-half", "provider_unavailable", null, 4)]
    [InlineData("timeout", "provider_unavailable", "forge.timeout", 4)]
    [InlineData("html-as-png", "output_unusable", "media.WrongType", 1)]
    [InlineData("zip-as-png", "output_unusable", "media.WrongType", 1)]
    [InlineData("oversized", "output_unusable", "media.TooLarge", 1)]
    public async Task Every_failure_ends_in_its_code_after_its_tries_and_costs_nothing(string word, string code, string? recorded, int calls)
    {
        var name = $"all of {word} ends here";
        var id = await system.SubmitForgeAsync($"{name} [fault={word}]");
        var end = await system.EndOfAsync(id);

        var codes = await system.ScalarAsync<string>($"SELECT string_agg(DISTINCT failure_code, ' ') FROM provider_tasks WHERE session_id = '{id}'");
        Assert.True(recorded is null || codes == recorded, $"{word} was recorded as {codes}.");
        Assert.Equal(("failed", code, calls > 1 ? 1 : 0), ((string?)end["status"], (string?)end["error"]!["code"], (int?)end["attempt"]));
        Assert.Equal((0, WebUiSystem.UnitPrice), ((long?)end["receipt"]!["captured"], (long?)end["receipt"]!["released"]));
        Assert.Null(end["placeholder"]);
        Assert.Equal(calls, (await system.CallsAsync(name)).Count);
        // none to reconcile: nothing is of unknown outcome
        Assert.Equal(1, await system.ScalarAsync<long>($"SELECT count(*) FROM error_events WHERE session_id = '{id}'"));
        await system.AssertSlotsAreFreeAsync();
        await system.AssertBooksAreCleanAsync();
        await system.AssertNothingIsLeftBehindAsync();
        await AssertTheNextOneCompletesAsync(word);
    }

    [Theory]
    [InlineData("overload", 1)]
    [InlineData("server-error", 0)]
    [InlineData("bad-gateway", 0)]
    [InlineData("empty-data", 0)]
    [InlineData("malformed", 0)]
    [InlineData("cut-reply", 0)]
    [InlineData("cut-reply-half", 0)]
    [InlineData("timeout", 0)]
    public async Task A_failure_that_passes_delays_a_session_and_does_not_end_it(string word, int attempt)
    {
        var name = $"first of {word} goes on";
        var end = await system.EndOfAsync(await system.SubmitForgeAsync($"{name} [fault={word}:times=1]", n: 2));

        Assert.Equal(("completed", attempt, 2), ((string?)end["status"], (int?)end["attempt"], end["media"]!.AsArray().Count));
        Assert.Equal(2 * WebUiSystem.UnitPrice, (long?)end["receipt"]!["captured"]);
        Assert.Equal(3, (await system.CallsAsync(name)).Count); // the one that came was not made again
        await system.AssertBooksAreCleanAsync();
        await system.AssertNothingIsLeftBehindAsync();
    }

    /// <summary>Also sets the circuit breaker back to nought, so that the rows do not add up to an open one.</summary>
    private async Task AssertTheNextOneCompletesAsync(string word) =>
        Assert.Equal("completed", (string?)(await system.EndOfAsync(await system.SubmitForgeAsync($"after {word}")))["status"]);
}
