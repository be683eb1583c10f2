using Generation.ProviderSim.Faults;
using Generation.Tests.Harness;

namespace Generation.Tests.Faults;

/// <summary>
/// Every fault that the simulator knows, and what becomes of a session that meets it: how it ends, how many calls were made for it and
/// how many of them the provider bills. Whatever the fault, the books are clean, the user pays for a stored picture or nothing, and no
/// file is left behind.
/// </summary>
public sealed class FaultTests(FaultSystem faults) : IClassFixture<FaultSystem>
{
    private const int UnitPrice = 4;

    private static readonly Dictionary<string, Expected> Table = new(StringComparer.Ordinal)
    {
        // For good. The fault strikes once: a second call would succeed, and show.
        ["moderation-input"] = Expected.AtOnce("moderation_input"),
        ["unauthorized"] = Expected.AtOnce("provider_unauthorized"),
        ["forbidden"] = Expected.AtOnce("provider_unauthorized"),
        ["not-found"] = Expected.AtOnce("provider_unauthorized"),
        ["overdue"] = Expected.AtOnce("provider_quota_exhausted"),
        ["quota"] = Expected.AtOnce("provider_quota_exhausted"),
        ["moderation-output"] = Expected.AtOnce("moderation_output"),
        ["image-error"] = Expected.AtOnce("moderation_output"),

        // Whether it was made is not known: never again, also where it was not.
        ["bad-gateway"] = Expected.AtOnce("outcome_unknown"),
        ["malformed"] = Expected.AtOnce("outcome_unknown", paid: 1),
        ["timeout"] = Expected.AtOnce("outcome_unknown", paid: 1),
        ["cut-reply"] = Expected.AtOnce("outcome_unknown", paid: 1),
        ["cut-reply-half"] = Expected.AtOnce("outcome_unknown", paid: 1),

        // Not executed: again after a pause, through the outbox.
        ["rate-limit"] = Expected.GivenUp("provider_rate_limited", calls: 2),
        ["rate-limit-bare"] = Expected.GivenUp("provider_rate_limited", calls: 2),
        ["overload"] = Expected.GivenUp("provider_rate_limited", calls: 2),

        // Not executed, or failed without a bill: again in the slot, then through the outbox.
        ["server-error"] = Expected.GivenUp("provider_unavailable", calls: 4),
        ["error-200"] = Expected.GivenUp("provider_unavailable", calls: 4),
        ["image-500"] = Expected.GivenUp("provider_unavailable", calls: 4),
        ["empty-data"] = Expected.GivenUp("provider_unavailable", calls: 4),
        // Ark says that it bills no error of its own; here it does
        ["server-error-paid"] = Expected.GivenUp("provider_unavailable", calls: 4, paid: 4),

        // Made and paid, and not to be had. A second download is tried where it may help, a second call never.
        ["cut-body"] = Expected.GivenUp("provider_unavailable", calls: 1, paid: 1),
        ["oversized"] = Expected.AtOnce("output_unusable", paid: 1),
        ["wrong-type"] = Expected.AtOnce("output_unusable", paid: 1),
        ["html-as-png"] = Expected.AtOnce("output_unusable", paid: 1),
        ["zip-as-png"] = Expected.AtOnce("output_unusable", paid: 1),
        ["dead-url"] = Expected.AtOnce("output_unusable", paid: 1),
        ["expired-url"] = Expected.AtOnce("output_unusable", paid: 1),
        ["redirect-private"] = Expected.AtOnce("output_unusable", paid: 1),

        // Nothing to complain of.
        ["slow-body"] = Expected.Completed with { Words = "[bytes=2000]" },
        ["redirect"] = Expected.Completed,
    };

    /// <summary>Faults that pass: struck once, the session completes. The number says how many calls that takes.</summary>
    private static readonly Dictionary<string, (int Calls, int Paid, int Attempt)> Passing = new(StringComparer.Ordinal)
    {
        ["rate-limit-bare"] = (2, 1, 1),
        ["overload"] = (2, 1, 1),
        ["server-error"] = (2, 1, 0),
        ["error-200"] = (2, 1, 0),
        ["image-500"] = (2, 1, 0),
        ["empty-data"] = (2, 1, 0),
        ["server-error-paid"] = (2, 2, 0),
        ["cut-body"] = (1, 1, 0),
    };

    private readonly TestSystem system = faults.System;

    public static TheoryData<string> Words => [.. Table.Keys];

    public static TheoryData<string> PassingWords => [.. Passing.Keys];

    [Fact]
    public void Every_fault_of_the_simulator_that_a_picture_can_meet_has_a_row() =>
        Assert.Equal(Fault.All
            // those are of other providers
            .Where(fault => fault.Stage is not (FaultStage.Poll or FaultStage.Callback) && fault.Word != "redirect-host"
                && !fault.Says.StartsWith("Kie:", StringComparison.Ordinal))
            .Select(fault => fault.Word).Order(StringComparer.Ordinal), Table.Keys.Order(StringComparer.Ordinal));

    [Theory]
    [MemberData(nameof(Words))]
    public async Task Every_fault_has_its_outcome_and_costs_the_user_nothing_that_is_not_stored(string word)
    {
        var expected = Table[word];
        var name = $"all of {word} ends here";
        var id = await system.SubmitAsync($"{name} [fault={word}{(expected.IsStruckOnce ? ":times=1" : "")}]{expected.Words}");
        var events = await system.AllEventsAsync(id);
        var end = events[^1].Data;
        var completed = expected.Code is null;

        Assert.Equal((completed ? "completed" : "failed", expected.Code), ((string?)end["status"], (string?)end["error"]?["code"]));
        Assert.Equal(expected.Attempt, (int?)end["attempt"]);
        Assert.Equal(completed ? 1 : 0, end["media"]!.AsArray().Count);
        var receipt = end["receipt"]!;
        Assert.Equal((completed ? UnitPrice : 0, completed ? 0 : UnitPrice), ((int?)receipt["captured"], (int?)receipt["released"]));
        Assert.Equal(completed ? $"You paid {UnitPrice} credits." : "You were not charged.", (string?)receipt["summary"]);

        // What the provider saw, and what is kept of it for its support.
        var calls = await system.CallsAsync(name);
        Assert.Equal((expected.Calls, expected.Paid), (calls.Count, calls.Count(call => call.Paid)));
        var kept = await system.ScalarAsync<string>(
            $"SELECT coalesce(string_agg(request_id, ' ' ORDER BY created_at), '') FROM provider_tasks WHERE session_id = '{id}'");
        var asked = string.Join(' ', calls.Select(call => call.RequestId));
        Assert.True(
            word switch
            {
                "timeout" or "cut-reply" => kept!.Length == 0, // no header came
                "cut-reply-half" => kept!.Length == 0 || kept == asked, // the reset may overtake the headers on their way
                _ => kept == asked,
            },
            $"Kept '{kept}' of '{asked}'.");
        var shown = string.Join('\n', events.Select(e => e.Data.ToJsonString()))
            + $"\n{await system.Http.GetStringAsync("/api/generations")}\n{await system.GetAsync(id)}";
        Assert.All(calls, call => Assert.DoesNotContain(call.RequestId, shown, StringComparison.Ordinal));

        // What the operator is told: one record of a failed session, and one of each call to reconcile.
        Assert.Equal(completed ? 0 : 1, await system.ScalarAsync<long>(
            $"SELECT count(*) FROM error_events WHERE session_id = '{id}' AND code = '{expected.Code}' AND detail ? 'released'"));
        Assert.Equal(expected.Code == "outcome_unknown" ? 1 : 0, await system.ScalarAsync<long>(
            $"SELECT count(*) FROM error_events WHERE session_id = '{id}' AND detail ? 'providerTaskId'"));

        await system.AssertBooksAreCleanAsync();
        await system.AssertNothingIsLeftBehindAsync();
        await AssertTheNextOneCompletesAsync(word);
    }

    [Theory]
    [MemberData(nameof(PassingWords))]
    public async Task A_fault_that_passes_delays_a_session_and_does_not_end_it(string word)
    {
        var (calls, paid, attempt) = Passing[word];
        var name = $"first of {word} goes on";
        var end = await system.EndOfAsync(await system.SubmitAsync($"{name} [fault={word}:times=1]"));

        Assert.Equal(("completed", attempt), ((string?)end["status"], (int?)end["attempt"]));
        Assert.Null(end["error"]);
        Assert.Equal(UnitPrice, (int?)end["receipt"]!["captured"]);
        Assert.Equal(1, (int?)end["receipt"]!["providerUsage"]!["generated_images"]);
        var made = await system.CallsAsync(name);
        Assert.Equal((calls, paid), (made.Count, made.Count(call => call.Paid)));
        await system.AssertBooksAreCleanAsync();
        await system.AssertNothingIsLeftBehindAsync();
    }

    /// <summary>Also sets the circuit breaker back to nought, so that the rows do not add up to an open one.</summary>
    private async Task AssertTheNextOneCompletesAsync(string word)
    {
        var next = await system.EndOfAsync(await system.SubmitAsync($"after {word}"));
        Assert.Equal(("completed", 0), ((string?)next["status"], (int?)next["attempt"]));
    }

    /// <param name="Code">The session's error; null: it completes.</param>
    /// <param name="IsStruckOnce">The fault would let a second call pass; else it strikes every one.</param>
    /// <param name="Calls">Made for the session.</param>
    /// <param name="Paid">Of them, those that the provider bills.</param>
    /// <param name="Attempt">How often the session came again through the outbox.</param>
    private sealed record Expected(string? Code, bool IsStruckOnce, int Calls, int Paid, int Attempt)
    {
        public static readonly Expected Completed = new(null, IsStruckOnce: false, Calls: 1, Paid: 1, Attempt: 0);

        /// <summary>More for the prompt.</summary>
        public string Words { get; init; } = "";

        public static Expected AtOnce(string code, int paid = 0) => new(code, IsStruckOnce: true, Calls: 1, paid, Attempt: 0);

        public static Expected GivenUp(string code, int calls, int paid = 0) => new(code, IsStruckOnce: false, calls, paid, Attempt: 1);
    }
}
