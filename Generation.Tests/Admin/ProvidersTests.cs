using System.Net;
using System.Text.Json.Nodes;
using Generation.Core.Providers;
using Generation.Tests.Harness;
using StackExchange.Redis;

namespace Generation.Tests.Admin;

/// <summary>What an operator sees of the providers.</summary>
[Trait("tier", "slow")]
public sealed class ProvidersTests
{
    [Fact]
    public async Task Operators_see_a_breaker_open_and_how_the_calls_went_and_nobody_else_does()
    {
        await using var system = await TestSystem.StartAsync(o => o.Settings["Worker:BreakDuration"] = "00:05:00");
        var admin = await system.NewUserAsync(role: "admin");
        (await (await system.NewUserAsync()).GetAsync("/api/admin/providers")).AssertProblem(HttpStatusCode.Forbidden, "forbidden");
        var idle = (await admin.GetAsync("/api/admin/providers")).AssertStatus(HttpStatusCode.OK).Body;
        Assert.Equal("unused", (string?)Ark(idle)["state"]);
        Assert.Contains(Ark(idle)["models"]!.AsArray(), m => (string?)m!["id"] == "seedream-4" && (string?)m["lifecycle"] == "active");

        await system.EndOfAsync(await system.SubmitAsync("one that works"));
        await system.SubmitAsync("broken [fault=server-error:times=5]");
        await system.UntilAsync("SELECT count(*) = 5 FROM provider_tasks WHERE state = 'rejected'");

        var ark = await UntilAsync(admin, found => (string?)found["state"] == "open");
        Assert.Equal((6, 0.833), ((int)ark["calls"]!, (double)ark["errorRate"]!));
        Assert.True((double)ark["p95Ms"]! >= (double)ark["p50Ms"]!);
        var worker = Assert.Single(ark["workers"]!.AsArray())!;
        Assert.Equal("InternalServiceError", (string?)worker["lastError"]);
        Assert.InRange((double)worker["openForSeconds"]!, 200, 300);
    }

    [Fact]
    public async Task A_worker_that_has_stopped_is_not_shown_for_long()
    {
        using var redis = await ConnectionMultiplexer.ConnectAsync((await TestRedis.Shared).ConnectionString);
        var prefix = $"health-{Guid.NewGuid():N}";
        var health = new ProviderHealth(redis, new() { Prefix = prefix });
        await health.PublishAsync(new WorkerReport("one:1", DateTimeOffset.UnixEpoch, [new ProviderReport("ark", "closed", null, 1, 0, 2, 3, null)]));
        Assert.Equal("ark", Assert.Single(Assert.Single(await health.ReadAsync()).Providers).Provider);
        Assert.InRange((await redis.GetDatabase().KeyTimeToLiveAsync($"{prefix}:workers:one:1"))!.Value, TimeSpan.FromSeconds(5),
            TimeSpan.FromSeconds(15));
        await health.ForgetAsync("one:1");
        Assert.Empty(await health.ReadAsync());
    }

    private static JsonNode Ark(JsonObject body) => body["providers"]!.AsArray().Single(p => (string?)p!["provider"] == "ark")!;

    private static async Task<JsonNode> UntilAsync(ApiUser admin, Predicate<JsonNode> isTrue)
    {
        for (var tries = 0; ; tries++)
        {
            var ark = Ark((await admin.GetAsync("/api/admin/providers")).Body);
            if (isTrue(ark))
            {
                return ark;
            }

            Assert.True(tries < 200, ark.ToJsonString());
            await Task.Delay(TimeSpan.FromMilliseconds(100), TimeProvider.System, TestContext.Current.CancellationToken);
        }
    }
}
