using Generation.Tests.Harness;

namespace Generation.Tests.Resilience;

/// <summary>Postgres is unavailable for longer than a lease: every lease has run out, and nobody is dead.</summary>
[Trait("tier", "process")]
public sealed class LongOutageTests
{
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task What_was_paid_for_when_Postgres_became_unavailable_for_longer_than_a_lease_is_delivered_and_bought_once(bool answersMeanwhile)
    {
        await using var system = await TestSystem.StartAsync(o => o.OwnPostgres = true);
        await system.SubmitAsync("paid for [gate=call]", n: 2); // waits for the answer to its calls
        await system.SubmitAsync("seedance-2", new { prompt = "paid for [queued=6000]" }); // waits at the provider, with nobody's lease
        await system.Sim.WaitAtGateAsync("call");
        await system.UntilAsync("SELECT count(*) = 2 FROM provider_tasks WHERE state = 'intent'");
        await system.UntilAsync("SELECT count(*) = 1 FROM generation_sessions WHERE phase = 'awaiting_provider' OR completed_at IS NOT NULL");

        await system.Postgres!.KillAsync();
        await UntilRenewalsHaveFailedAsync(system.Workers[0], times: 15); // one every 200 ms, of a lease of 2 s
        if (answersMeanwhile)
        {
            await system.Sim.OpenGateAsync("call");
            await system.Workers[0].UntilLoggedAsync("A database statement failed");
        }

        await system.Postgres.StartAgainAsync();
        await system.UntilAsync("SELECT lease_until > now() OR completed_at IS NOT NULL FROM generation_sessions WHERE params ->> 'prompt' LIKE "
            + "'%gate%'");
        await system.Sim.OpenGateAsync("call");

        await system.UntilAsync("SELECT count(*) = 2 FROM generation_sessions WHERE completed_at IS NOT NULL");
        Assert.Equal(2L, await system.ScalarAsync<long>(
            "SELECT count(*) FROM generation_sessions WHERE status = 'completed' AND captured_credits = held_credits"));
        Assert.Equal(0L, await system.ScalarAsync<long>("SELECT sum(lost_leases)::bigint FROM generation_sessions"));
        Assert.Equal(3, await system.Sim.PaidAsync("paid for"));
        await system.AssertAllIsWellAsync();
    }

    private static async Task UntilRenewalsHaveFailedAsync(ITestService worker, int times)
    {
        var started = TimeProvider.System.GetTimestamp();
        while (worker.Log.Count(line => line.Contains("Could not renew", StringComparison.Ordinal)) < times)
        {
            Assert.True(TimeProvider.System.GetElapsedTime(started) < Killing.MaxWait, string.Join('\n', worker.Log.TakeLast(20)));
            await Task.Delay(TimeSpan.FromMilliseconds(50), TimeProvider.System, CancellationToken.None);
        }
    }
}
