using System.Net;
using Generation.Tests.Harness;

namespace Generation.Tests.Providers.Forge;

/// <summary>GPUs that stay away: three retries, then a breaker each, then an honest end.</summary>
[Trait("tier", "slow")]
public sealed class ForgeBreakerTests
{
    [Fact]
    public async Task With_the_breaker_open_a_session_ends_at_once_with_a_placeholder_where_one_is_allowed()
    {
        await using var system = await TestSystem.StartAsync(o =>
        {
            o.Settings["Worker:BreakDuration"] = "00:01:00";
            (o.Settings["Worker:SlotRetries:1"], o.Settings["Worker:SlotRetries:2"]) = ("00:00:00.050", "00:00:00.050");
        });
        var broken = await system.EndOfAsync(await system.SubmitForgeAsync("breaks it [fault=server-error]"));
        Assert.Equal(("failed", "provider_unavailable"), ((string?)broken["status"], (string?)broken["error"]!["code"]));
        Assert.Equal(5, (await system.CallsAsync("breaks it")).Count); // a call and three retries, and one more through the outbox

        var id = await system.SubmitForgeAsync("with a placeholder", n: 2, placeholder: true);
        foreach (var end in new[] { await system.EndOfAsync(id), await system.GetAsync(id) })
        {
            Assert.Equal(("failed", "provider_unavailable", 0), ((string?)end["status"], (string?)end["error"]!["code"], (int?)end["attempt"]));
            Assert.Equal((0, 2 * WebUiSystem.UnitPrice, "You were not charged."),
                ((long?)end["receipt"]!["captured"], (long?)end["receipt"]!["released"], (string?)end["receipt"]!["summary"]));
            Assert.Empty(end["media"]!.AsArray());
            Assert.Equal(("image/png", 512, 512), ((string?)end["placeholder"]!["contentType"], (int?)end["placeholder"]!["width"],
                (int?)end["placeholder"]!["height"]));
            using var picture = await system.Http.GetAsync((string?)end["placeholder"]!["url"]);
            Assert.Equal((HttpStatusCode.OK, "image/png"), (picture.StatusCode, picture.Content.Headers.ContentType?.MediaType));
        }

        var without = await system.EndOfAsync(await system.SubmitForgeAsync("without one"));
        Assert.Equal(("failed", "provider_unavailable", null),
            ((string?)without["status"], (string?)without["error"]!["code"], without["placeholder"]));
        Assert.Empty(await system.CallsAsync("with"));
        await system.AssertSlotsAreFreeAsync();
        await system.AssertBooksAreCleanAsync();
    }

    [Fact]
    public async Task After_its_time_the_breaker_lets_one_call_through_and_closes()
    {
        await using var system = await TestSystem.StartAsync(o => o.Settings["Worker:BreakDuration"] = "00:00:02");
        await system.EndOfAsync(await system.SubmitForgeAsync("breaks it [fault=server-error:times=5]"));
        await system.UntilAsync("SELECT max(updated_at) < now() - interval '2.5 s' FROM provider_tasks");
        var end = await system.EndOfAsync(await system.SubmitForgeAsync("goes again"));
        Assert.Equal("completed", (string?)end["status"]);
        await system.AssertBooksAreCleanAsync();
    }

    [Fact]
    public async Task One_dead_machine_of_two_delays_nobody_for_long_and_opens_no_breaker_but_its_own()
    {
        var gone = await TestSim.StartAsync();
        var address = gone.Address;
        await gone.DisposeAsync();
        await using var alive = await TestSim.StartAsync();
        await using var system = await TestSystem.StartAsync(o => o.Settings["Providers:Forge:Endpoints"] = $"{address},{alive.Address}");
        var ends = await Task.WhenAll(Enumerable.Range(0, 6).Select(
            async i => await system.EndOfAsync(await system.SubmitForgeAsync($"one of {i} [latency=100]"))));

        Assert.All(ends, end => Assert.Equal("completed", (string?)end["status"]));
        Assert.Equal((6, 1), await alive.GpuAsync() is var gpu ? (gpu.Jobs, gpu.MostInside) : default);
        Assert.Equal("forge.not_reached", await system.ScalarAsync<string>(
            "SELECT string_agg(DISTINCT failure_code, ' ') FROM provider_tasks WHERE state = 'rejected'"));
        Assert.InRange(await system.ScalarAsync<long>("SELECT count(*) FROM provider_tasks WHERE state = 'rejected'"), 1, 5);
        await system.AssertBooksAreCleanAsync();
    }
}
