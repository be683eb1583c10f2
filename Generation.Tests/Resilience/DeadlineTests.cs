using Generation.Tests.Harness;

namespace Generation.Tests.Resilience;

/// <summary>A session has an end of its own, whoever holds it.</summary>
[Trait("tier", "process")]
public sealed class DeadlineTests
{
    [Fact]
    public async Task A_session_that_nobody_takes_fails_as_expired_at_its_deadline_and_costs_nothing()
    {
        await using var system = await TestSystem.StartAsync(o => (o.Workers, o.Settings["Api:SessionLifetime"]) = (0, "00:00:01"));
        var end = await system.EndOfAsync(await system.SubmitAsync("never taken", n: 2));

        Assert.Equal(("failed", "expired"), ((string?)end["status"], (string?)end["error"]!["code"]));
        Assert.Equal((0, 8), ((long?)end["receipt"]!["captured"], (long?)end["receipt"]!["released"]));
        Assert.Equal(1_000, await system.ScalarAsync<long>("SELECT available FROM credit_accounts"));
        await system.AssertAllIsWellAsync();

        await system.AddWorkerAsync(); // whose queue still has the message
        using var stream = await ImageStream.OpenAsync(system);
        while (await stream.LengthAsync() > 0)
        {
            await Task.Delay(TimeSpan.FromMilliseconds(20), TimeProvider.System, CancellationToken.None);
        }

        Assert.Equal(0, await system.Sim.PaidAsync("never taken"));
        Assert.Equal("failed", await system.ScalarAsync<string>("SELECT status FROM generation_sessions"));
    }

    [Fact]
    public async Task What_was_stored_before_the_deadline_is_kept_and_paid_and_the_call_under_way_is_reconciled()
    {
        await using var system = await TestSystem.StartAsync(o => o.Settings["Providers:Ark:ImageBatch"] = "1");
        var id = await system.SubmitAsync("half in time [gate=call]", n: 2);
        await system.Sim.WaitAtGateAsync("call");
        await system.Sim.LetOnePassAsync("call");
        await system.UntilAsync("SELECT count(*) = 1 FROM media");
        await system.Sim.WaitAtGateAsync("call");
        await system.ExecuteAsync("UPDATE generation_sessions SET deadline = now()");

        var end = await system.EndOfAsync(id);
        Assert.Equal("completed", (string?)end["status"]);
        Assert.Equal((4, 4), ((long?)end["receipt"]!["captured"], (long?)end["receipt"]!["adjusted"]));
        Assert.Single(end["media"]!.AsArray());
        await system.Workers[0].UntilLoggedAsync("was lost; stopping the job"); // the worker stops; its call is cut off
        Assert.Equal("outcome_unknown 1", await system.ScalarAsync<string>(
            "SELECT string_agg(code || ' ' || (detail ->> 'ordinal'), ', ') FROM error_events WHERE detail ? 'providerTaskId'"));
        await system.AssertAllIsWellAsync();
    }
}
