using Generation.Tests.Harness;

namespace Generation.Tests.Resilience;

/// <summary>No provider takes more than its share of a lane's slots while others wait (faults.md A8).</summary>
[Trait("tier", "process")]
public sealed class BulkheadTests
{
    /// <summary>Sixteen calls without an answer made another provider's picture wait for 117 s.</summary>
    [Fact]
    public async Task A_provider_that_does_not_answer_leaves_slots_to_the_others()
    {
        await using var system = await TestSystem.StartAsync(o =>
        {
            (o.Settings["Worker:Concurrency"], o.Credits) = ("4", 10_000);
            o.Settings["Worker:LeaseDuration"] = "00:00:30";
        });
        var hanging = await Task.WhenAll(Enumerable.Range(0, 30).Select(i => system.SubmitAsync($"hangs {i} [gate=never]"))); // 4 run, 26 wait
        await system.UntilAsync("SELECT count(*) = 4 FROM generation_sessions WHERE status = 'processing'");

        var others = await Task.WhenAll(Enumerable.Range(0, 3).Select(i => system.SubmitAsync("gpt-image-2", new { prompt = $"goes past {i}" })));
        foreach (var id in others)
        {
            Assert.Equal("completed", (string?)(await system.EndOfAsync(id))["status"]);
        }

        Assert.Equal(4, await system.ScalarAsync<long>("SELECT count(*) FROM generation_sessions WHERE provider = 'ark' AND started_at IS NOT NULL"));
        await system.Sim.OpenGateAsync("never");
        Assert.All(await Task.WhenAll(hanging.Select(id => system.EndOfAsync(id))), end => Assert.Equal("completed", (string?)end["status"]));
        await system.AssertAllIsWellAsync();
    }

    [Fact]
    public async Task A_full_lane_takes_half_as_many_again_of_other_providers_and_no_more()
    {
        await using var system = await TestSystem.StartAsync(o =>
        {
            (o.Settings["Worker:Concurrency"], o.Credits) = ("2", 10_000);
            o.Settings["Worker:LeaseDuration"] = "00:00:30";
        });
        var first = await Task.WhenAll(Enumerable.Range(0, 2).Select(i => system.SubmitAsync($"first {i} [gate=a]")));
        await system.UntilAsync("SELECT count(*) = 2 FROM generation_sessions WHERE status = 'processing'");
        var others = await Task.WhenAll(
            Enumerable.Range(0, 3).Select(i => system.SubmitAsync("gpt-image-2", new { prompt = $"second {i} [gate=b]" })));
        await system.Sim.WaitAtGateAsync("b");
        await Task.Delay(TimeSpan.FromSeconds(2.5), TimeProvider.System, CancellationToken.None); // two more looks
        Assert.Equal(3, await system.ScalarAsync<long>("SELECT count(*) FROM generation_sessions WHERE status = 'processing'"));

        await system.Sim.OpenGateAsync("b");
        await system.Sim.OpenGateAsync("a");
        Assert.All(await Task.WhenAll(first.Concat(others).Select(id => system.EndOfAsync(id))), end =>
            Assert.Equal("completed", (string?)end["status"]));
        await system.AssertAllIsWellAsync();
    }
}
