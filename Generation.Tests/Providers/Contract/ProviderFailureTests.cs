using Generation.ProviderSim.Faults;
using Generation.Tests.Harness;
using Generation.Tests.Providers.Forge;

namespace Generation.Tests.Providers.Contract;

/// <summary>
/// Every provider and every fault that it can have, from the wire to the user's receipt: how the session ends, how many calls were made for
/// it and how many of them are billed. Whatever the fault, the books are clean, the user pays for nothing, and no file is left behind.
/// </summary>
[Trait("tier", "slow")]
public sealed class ProviderFailureTests(ProviderSystem providers) : IClassFixture<ProviderSystem>
{
    private readonly TestSystem system = providers.System;

    public static TheoryData<string, string> Faults => ProviderRows.Each(row => row.Faults.Keys);

    [Fact]
    public void Every_fault_of_the_simulator_meets_a_provider()
    {
        var words = ProviderRows.All.SelectMany(row => row.Faults.Keys.Select(WordOf))
            .Concat(ProviderRows.All.SelectMany(row => row.Harmless).SelectMany(words => PromptWords.Parse(words).Faults.Select(f => f.Fault.Word)));
        var elsewhere = new[] { "poll-cancelled", "poll-expired" }; // TaskStatesTests and what each provider's wire tests say of them
        Assert.Equal(
            Fault.All.Where(fault => fault.Stage != FaultStage.Callback).Select(fault => fault.Word).Order(StringComparer.Ordinal),
            words.Concat(elsewhere).Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal));
    }

    /// <summary>Ark's pictures are made in a call and fetched from an address: what can go wrong anywhere but in a task can go wrong there.</summary>
    [Fact]
    public void Every_fault_that_a_call_or_a_download_can_have_meets_Ark()
    {
        var row = ProviderRows.Of("Ark");
        Assert.Empty(
            from fault in Fault.All
            where fault.Stage is not (FaultStage.Poll or FaultStage.Callback) && fault.Word != "redirect-host"
                && !fault.Says.StartsWith("Kie:", StringComparison.Ordinal) // those are of other providers
            where !row.Faults.ContainsKey(fault.Word)
                && !row.Harmless.Any(words => words.Contains($"[fault={fault.Word}]", StringComparison.Ordinal))
            select fault.Word);
    }

    [Theory]
    [MemberData(nameof(Faults))]
    public async Task Every_failure_has_its_outcome_and_costs_the_user_nothing(string provider, string fault)
    {
        var row = ProviderRows.Of(provider);
        var expected = row.Faults[fault];
        var name = $"{provider} of {fault} ends here";
        // For good: it strikes once, and a second call or download would succeed, and show. Of a group one output would come.
        var times = expected.Once is null && row.Style != CallStyle.Group ? ":times=1" : "";
        var id = await row.SubmitAsync(system, name, $"[fault={WordOf(fault)}{times}]{expected.Words}");
        var events = await system.AllEventsAsync(id);
        var end = events[^1].Data;

        Assert.Equal(("failed", expected.Code, expected.Attempts),
            ((string?)end["status"], (string?)end["error"]?["code"], (int?)end["attempt"]));
        Assert.Empty(end["media"]!.AsArray());
        Assert.Null(end["placeholder"]);
        var receipt = end["receipt"]!;
        Assert.Equal((0, row.Outputs * row.UnitPrice, "You were not charged."),
            ((int?)receipt["captured"], (int?)receipt["released"], (string?)receipt["summary"]));
        await AssertProviderSawAsync(row, name, expected.Calls, expected.Paid);
        await AssertRecordsAsync(row, expected, id, name, events);
        await system.AssertSlotsAreFreeAsync();
        await system.AssertBooksAreCleanAsync();
        await system.AssertNothingIsLeftBehindAsync(id);

        if (expected.Code is "provider_unavailable" or "outcome_unknown")
        {
            // and the breaker is at nought again
            var next = await system.EndOfAsync(await row.SubmitAsync(system, $"after {name}"));
            Assert.Equal(("completed", 0), ((string?)next["status"], (int?)next["attempt"]));
        }
    }

    /// <summary>What is kept for the provider's support and shown to nobody, and what an operator is told.</summary>
    private async Task AssertRecordsAsync(ProviderRow row, FaultOutcome expected, Guid id, string name, List<SseEvent> events)
    {
        var calls = await system.CallsAsync(name);
        if (row.KeepsRequestIds)
        {
            var kept = await system.ScalarAsync<string>(
                $"SELECT coalesce(string_agg(request_id, ' ' ORDER BY created_at), '') FROM provider_tasks WHERE session_id = '{id}'");
            var asked = string.Join(' ', calls.Select(call => call.RequestId));
            // no header came, or the reset has overtaken it
            Assert.True(kept == asked || (expected.IsUnknown && kept!.Length == 0), $"Kept '{kept}' of '{asked}'.");
        }

        var shown = string.Join('\n', events.Select(e => e.Data.ToJsonString()))
            + $"\n{await system.Http.GetStringAsync(new Uri("/api/generations", UriKind.Relative))}\n{await system.GetAsync(id)}";
        Assert.All(calls, call => Assert.DoesNotContain(call.RequestId, shown, StringComparison.Ordinal));
        if (expected.Recorded is not null)
        {
            Assert.Equal(expected.Recorded, await system.ScalarAsync<string>(
                $"SELECT string_agg(DISTINCT failure_code, ' ') FROM provider_tasks WHERE session_id = '{id}'"));
        }

        // one record of the failed session, and one of a call to reconcile or an output that was made and is of no use
        var records = expected.IsUnknown ? 1L : expected.Code == "output_unusable" ? row.Outputs : 0L;
        Assert.Equal((1L, records, records + 1L), (
            await CountEventsAsync(id, $"code = '{expected.Code}' AND detail ? 'released'"),
            await CountEventsAsync(id, "detail ? 'providerTaskId'"),
            await CountEventsAsync(id, "true")));
        if (records == 1)
        {
            await AssertRecordSaysWhyAsync(id);
        }
    }

    /// <summary>An operator reads what was answered and why it was refused, and is sent to the provider only when no answer came.</summary>
    private async Task AssertRecordSaysWhyAsync(Guid id)
    {
        var (code, message) = (
            await system.ScalarAsync<string>($"SELECT failure_code FROM provider_tasks WHERE session_id = '{id}' AND state <> 'rejected'"),
            await system.ScalarAsync<string>($"SELECT message FROM error_events WHERE session_id = '{id}' AND detail ? 'providerTaskId'"));
        Assert.Equal(1L, await CountEventsAsync(id, $"detail ->> 'providerCode' = '{code}' AND length(detail ->> 'problem') > 5"));
        var mayHaveNoAnswer = code!.EndsWith(".timeout", StringComparison.Ordinal) || code.EndsWith(".no_answer", StringComparison.Ordinal);
        var wasAnswered = code.StartsWith("media.", StringComparison.Ordinal) || await CountEventsAsync(id, "detail ? 'answer'") == 1;
        Assert.True(wasAnswered || mayHaveNoAnswer, $"{code} was answered, and the record does not say with what.");
        Assert.Equal(wasAnswered, message!.Contains($"({code}): ", StringComparison.Ordinal));
        Assert.Equal(!wasAnswered, message.Contains("Look it up at the provider", StringComparison.Ordinal));
    }

    private Task<long> CountEventsAsync(Guid id, string condition) =>
        system.ScalarAsync<long>($"SELECT count(*) FROM error_events WHERE session_id = '{id}' AND {condition}");

    private async Task AssertProviderSawAsync(ProviderRow row, string name, int calls, int paid)
    {
        var made = await system.CallsAsync($"{name}");
        Assert.Equal(calls, made.Count);
        if (row.IsBilled)
        {
            Assert.Equal(paid, made.Count(call => call.Paid));
        }
    }

    private static string WordOf(string fault) => fault.Split(' ')[0];
}
