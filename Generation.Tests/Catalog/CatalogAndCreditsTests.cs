using System.Net;
using System.Text.Json.Nodes;
using Generation.Tests.Harness;

namespace Generation.Tests.Catalog;

[Trait("tier", "slow")]
public sealed class CatalogAndCreditsTests
{
    [Fact]
    public async Task The_models_come_with_their_schemas_and_prices()
    {
        var user = await (await ApiSystem.Queued).NewUserAsync();
        var models = (await user.GetAsync("/api/models")).AssertStatus(HttpStatusCode.OK).Body["models"]!.AsArray()
            .ToDictionary(m => (string)m!["id"]!, m => m!);

        var model = models["seedream-4"];
        Assert.Equal(
            ("seedream4", "ark", "image", "image", "active"),
            ((string?)model["tool"], (string?)model["provider"], (string?)model["kind"], (string?)model["lane"], (string?)model["lifecycle"]));
        Assert.Equal(("retired", "seedream-4"), ((string?)models["seedream-3"]["lifecycle"], (string?)models["seedream-3"]["successor"]));
        Assert.NotNull(models["seedream-3"]["sunset"]);

        var schema = model["parameters"]!;
        Assert.Equal("https://json-schema.org/draft/2020-12/schema", (string?)schema["$schema"]);
        Assert.Equal("object", (string?)schema["type"]);
        Assert.False((bool)schema["additionalProperties"]!);
        Assert.Equal(["prompt"], schema["required"]!.AsArray().Select(r => (string?)r));
        var properties = schema["properties"]!;
        Assert.Equal(("string", 1, 4_000), ((string?)properties["prompt"]!["type"], (int)properties["prompt"]!["minLength"]!,
            (int)properties["prompt"]!["maxLength"]!));
        Assert.Equal(("integer", 1, 15, 1), ((string?)properties["n"]!["type"], (int)properties["n"]!["minimum"]!, (int)properties["n"]!["maximum"]!,
            (int)properties["n"]!["default"]!));
        Assert.Equal(("boolean", false), ((string?)properties["watermark"]!["type"], (bool)properties["watermark"]!["default"]!));
        Assert.Equal(["standard", "fast"], properties["optimize_prompt"]!["enum"]!.AsArray().Select(v => (string?)v));
        var size = (string)properties["size"]!["pattern"]!;
        Assert.Matches(size, "2K");
        Assert.Matches(size, "2048x1024");
        Assert.DoesNotMatch(size, "8K");
        Assert.All(properties.AsObject(), p => Assert.False(string.IsNullOrEmpty((string?)p.Value!["description"])));

        var prices = model["prices"]!.AsArray().ToDictionary(p => (string?)p!["variant"] ?? "", p => (long)p!["creditsPerOutput"]!);
        Assert.Equal((4L, 8L), (prices[""], prices["4K"]));
    }

    [Fact]
    public async Task Every_model_that_is_shown_as_active_can_be_bought_with_a_prompt_alone()
    {
        var user = await (await ApiSystem.Queued).NewUserAsync(credits: 100_000);
        foreach (var model in (await user.GetAsync("/api/models")).Body["models"]!.AsArray().Where(m => (string?)m!["lifecycle"] == "active"))
        {
            var prices = model!["prices"]!.AsArray();
            Assert.NotEmpty(prices);
            var parameters = new JsonObject { ["prompt"] = "a boat" };
            foreach (var required in model["parameters"]!["required"]!.AsArray().Select(r => (string)r!).Where(r => r != "prompt"))
            {
                Assert.Fail($"{model["id"]} also wants {required}");
            }

            (await user.SubmitAsync(new JsonObject { ["model"] = (string?)model["id"], ["params"] = parameters }.ToJsonString()))
                .AssertStatus(HttpStatusCode.Accepted);
        }
    }

    [Fact]
    public async Task Credits_follow_the_hold_and_the_capture()
    {
        var system = await ApiSystem.Queued;
        var user = await system.NewUserAsync();
        var before = (await user.GetAsync("/api/credits")).AssertStatus(HttpStatusCode.OK).Body;
        Assert.Equal((1_000L, 0L), ((long)before["available"]!, (long)before["reserved"]!));
        var lot = Assert.Single(before["lots"]!.AsArray())!;
        Assert.Equal(("purchase", 1_000L, 0L), ((string?)lot["kind"], (long)lot["available"]!, (long)lot["held"]!));
        Assert.NotNull(lot["lotId"]);
        Assert.Null(lot["expiresAt"]);

        var id = await user.AcceptedAsync(n: 5);
        var held = (await user.GetAsync("/api/credits")).Body;
        Assert.Equal((980L, 20L), ((long)held["available"]!, (long)held["reserved"]!));
        Assert.Equal((980L, 20L), ((long)held["lots"]![0]!["available"]!, (long)held["lots"]![0]!["held"]!));

        await user.SendAsync(HttpMethod.Post, $"/api/generations/{id}/cancel");
        var released = (await user.GetAsync("/api/credits")).Body;
        Assert.Equal((1_000L, 0L), ((long)released["available"]!, (long)released["reserved"]!));

        var mocked = await ApiSystem.Mocked;
        var buyer = await mocked.NewUserAsync();
        await mocked.EndOfAsync(await buyer.AcceptedAsync(n: 5), buyer.Http);
        var captured = (await buyer.GetAsync("/api/credits")).Body;
        Assert.Equal((980L, 0L), ((long)captured["available"]!, (long)captured["reserved"]!));
        Assert.Equal((980L, 0L), ((long)captured["lots"]![0]!["available"]!, (long)captured["lots"]![0]!["held"]!));
    }

    [Fact]
    public async Task A_user_without_credits_has_an_empty_balance()
    {
        var user = await (await ApiSystem.Queued).NewUserAsync(credits: 0);
        var balance = (await user.GetAsync("/api/credits")).AssertStatus(HttpStatusCode.OK).Body;
        Assert.Equal((0L, 0L), ((long)balance["available"]!, (long)balance["reserved"]!));
        Assert.Empty(balance["lots"]!.AsArray());
    }

    [Fact]
    public async Task Health_and_readiness_need_no_key()
    {
        var system = await ApiSystem.Queued;
        using var anybody = new HttpClient { BaseAddress = system.Apis[0].Address };
        Assert.Equal(HttpStatusCode.OK, (await anybody.GetAsync("/healthz")).StatusCode);
        var ready = (await Reply.ReadAsync(await anybody.GetAsync("/readyz"))).AssertStatus(HttpStatusCode.OK);
        Assert.Equal("ready", (string?)ready.Body["status"]);
    }

    [Fact]
    public async Task Without_Redis_the_Api_is_degraded_and_takes_submits_all_the_same()
    {
        await using var system = await TestSystem.StartAsync(o =>
        {
            o.OwnRedis = true;
            o.Settings["Mock:Enabled"] = "true";
        });
        await system.Redis.KillAsync();
        var user = await system.NewUserAsync();
        var id = await user.AcceptedAsync();
        Assert.Equal("queued", (string?)(await user.GetAsync($"/api/generations/{id}")).Body["status"]);
        using (var watching = new CancellationTokenSource(TimeSpan.FromSeconds(20)))
        {
            await using var events = system.EventsAsync(id, user.Http, ct: watching.Token).GetAsyncEnumerator();
            Assert.True(await events.MoveNextAsync());
            Assert.Equal("snapshot", events.Current.Name);
        }

        Reply ready;
        do
        {
            ready = (await user.GetAsync("/readyz")).AssertStatus(HttpStatusCode.OK);
        }
        while ((string?)ready.Body["status"] == "ready" && await PauseAsync());

        Assert.Equal(("degraded", "unreachable"), ((string?)ready.Body["status"], (string?)ready.Body["checks"]!["redis"]));
        await system.Redis.RestartAsync();
        Assert.Equal("completed", (string?)(await system.EndOfAsync(id, user.Http))["status"]);
        await system.AssertBooksAreCleanAsync();

        // The answer of /readyz is kept for a second, so the one before the crash may still be given.
        static async Task<bool> PauseAsync()
        {
            await Task.Delay(TimeSpan.FromMilliseconds(100), TimeProvider.System, CancellationToken.None);
            return true;
        }
    }
}
