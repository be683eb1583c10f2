using System.Net;
using Generation.Core.Catalog;
using Generation.Tests.Harness;
using Microsoft.Extensions.DependencyInjection;

namespace Generation.Tests.Generations;

[Trait("tier", "slow")]
public sealed class LifecycleTests
{
    private const string Body = """{"model":"seedream-4","params":{"prompt":"x"}}""";

    [Fact]
    public async Task A_deprecated_model_is_sold_and_says_since_when_and_how_long()
    {
        var model = ModelRegistry.BuiltIn.First(m => m.Id == "seedream-4") with
        {
            Lifecycle = ModelLifecycle.Deprecated,
            DeprecatedSince = new DateOnly(2026, 10, 1),
            Sunset = new DateOnly(2027, 1, 31),
            Successor = "seedream-4.5",
        };
        await using var system = await TestSystem.StartAsync(o =>
        {
            o.Workers = 0;
            o.Api = services => services.AddSingleton(new ModelRegistry([model]));
        });
        var user = await system.NewUserAsync();
        foreach (var reply in new[] { await user.SubmitAsync(Body), await user.SendAsync(HttpMethod.Post, "/api/generations/estimate", Body) })
        {
            Assert.True((int)reply.Status is 202 or 200, reply.Body.ToString());
            Assert.Equal("@1790812800", reply.Headers.GetValues("Deprecation").Single());
            Assert.Equal("Mon, 01 Feb 2027 00:00:00 GMT", reply.Headers.GetValues("Sunset").Single());
            Assert.Equal("</api/models#seedream-4.5>; rel=\"successor-version\"", reply.Headers.GetValues("Link").Single());
        }

        var shown = (await user.GetAsync("/api/models")).Body["models"]![0]!;
        Assert.Equal(
            ("deprecated", true, "seedream-4.5", "2026-10-01", "2027-01-31"),
            ((string?)shown["lifecycle"], (bool)shown["available"]!, (string?)shown["successor"], (string?)shown["deprecatedSince"],
                (string?)shown["sunset"]));
    }

    [Fact]
    public async Task A_model_that_the_operator_switched_off_is_refused_until_it_is_on_again_and_replays_are_answered()
    {
        await using var system = await TestSystem.StartAsync(o =>
        {
            o.Workers = 0;
            o.Settings["Settings:CacheMs"] = "0";
        });
        var user = await system.NewUserAsync();
        var accepted = (await user.SubmitAsync(Body, ("Idempotency-Key", "before"))).AssertStatus(HttpStatusCode.Accepted);
        Assert.False(accepted.Headers.Contains("Deprecation"));

        await system.ExecuteAsync("""INSERT INTO app_settings (key, value) VALUES ('disabled_models', '["seedream-4", 5]')""");
        var turkish = (await user.SubmitAsync(Body, ("Accept-Language", "tr"))).AssertProblem(HttpStatusCode.ServiceUnavailable, "model_disabled");
        Assert.Contains("şu anda kapalı", (string?)turkish.Body["detail"], StringComparison.Ordinal);
        var refused = (await user.SubmitAsync(Body)).AssertProblem(HttpStatusCode.ServiceUnavailable, "model_disabled");
        Assert.Equal(TimeSpan.FromSeconds(60), refused.Headers.RetryAfter!.Delta);
        (await user.SendAsync(HttpMethod.Post, "/api/generations/estimate", Body)).AssertProblem(HttpStatusCode.ServiceUnavailable, "model_disabled");
        Assert.True((await user.SubmitAsync(Body, ("Idempotency-Key", "before"))).AssertStatus(HttpStatusCode.Accepted).IsReplay);
        (await user.SubmitAsync(Body.Replace("seedream-4", "seedream-4.5", StringComparison.Ordinal))).AssertStatus(HttpStatusCode.Accepted);
        var shown = (await user.GetAsync("/api/models")).Body["models"]!.AsArray().Single(m => (string?)m!["id"] == "seedream-4")!;
        Assert.Equal(("active", false), ((string?)shown["lifecycle"], (bool)shown["available"]!));

        await system.ExecuteAsync("DELETE FROM app_settings");
        (await user.SubmitAsync(Body)).AssertStatus(HttpStatusCode.Accepted);
    }
}
