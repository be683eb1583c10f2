using Generation.Tests.Harness;

namespace Generation.Tests.Resilience;

/// <summary>
/// Whatever happens to Redis: submits go on, because they need only Postgres; progress pauses, and everything finishes. A wiped Redis is
/// in <see cref="LostQueueTests"/>.
/// </summary>
[Trait("tier", "process")]
public sealed class RedisOutageTests(ResilienceSystem troubled) : IClassFixture<ResilienceSystem>
{
    private readonly TestSystem system = troubled.System;

    /// <summary>A minute in the full tier.</summary>
    private static TimeSpan Outage => FullTier.IsOn ? TimeSpan.FromMinutes(1) : TimeSpan.FromSeconds(5);

    [Fact]
    public async Task A_Redis_that_is_killed_and_started_again_costs_nothing_but_time()
    {
        await using var load = await SteadyLoad.StartAsync(troubled, "redis-killed");
        await system.Redis.KillAsync();
        await load.UntilAcceptedAsync(8);
        await system.Redis.RestartAsync();

        await load.EndAndAssertNothingIsLostAsync();
        Assert.Equal(0, load.Refused);
    }

    [Fact]
    public async Task A_Redis_that_is_slow_holds_up_no_submit()
    {
        await using var load = await SteadyLoad.StartAsync(troubled, "redis-slow");
        system.RedisWay!.Delay = TimeSpan.FromMilliseconds(400);
        await load.UntilAcceptedAsync(16);
        system.RedisWay.Delay = TimeSpan.Zero;

        await load.EndAndAssertNothingIsLostAsync();
        Assert.Equal(0, load.Refused);
    }

    [Fact]
    public async Task A_Redis_without_memory_takes_no_messages_and_gets_them_when_it_has_some()
    {
        await using var load = await SteadyLoad.StartAsync(troubled, "redis-full");
        await system.Redis.LimitMemoryAsync(1);
        await load.UntilAcceptedAsync(8);
        await system.UntilAsync("SELECT count(*) > 0 FROM outbox WHERE dispatched_at IS NULL AND available_at < now() - interval '1 second'");
        await system.Redis.LimitMemoryAsync(0);

        await load.EndAndAssertNothingIsLostAsync();
        Assert.Equal(0, load.Refused);
        Assert.Contains(system.Relays[0].Log, line => line.Contains("outbox.queue_missing", StringComparison.Ordinal) && line.Contains("OOM",
            StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_Redis_that_cannot_be_reached_holds_up_no_submit_and_everything_goes_on_when_it_can()
    {
        await using var load = await SteadyLoad.StartAsync(troubled, "redis-gone");
        system.RedisWay!.Hold();
        var since = TimeProvider.System.GetTimestamp();
        while (TimeProvider.System.GetElapsedTime(since) < Outage) await load.UntilAcceptedAsync(4);
        system.RedisWay.Release();

        await load.EndAndAssertNothingIsLostAsync();
        Assert.Equal(0, load.Refused);
    }
}
