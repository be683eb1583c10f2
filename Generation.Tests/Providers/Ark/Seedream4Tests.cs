using System.Text.Json.Nodes;
using Generation.Tests.Harness;
using Microsoft.AspNetCore.Http;

namespace Generation.Tests.Providers.Ark;

/// <summary>The tool in the whole system: what a customer gets and pays when Ark answers this or that.</summary>
[Trait("tier", "slow")]
public sealed class Seedream4Tests
{
    [Fact]
    public async Task Every_picture_is_a_call_of_its_own_and_only_as_many_are_made_at_once_as_configured()
    {
        var (running, most) = (0, 0);
        var pairs = new Barrier(2);
        await using var ark = await LocalArk.StartAsync(async context =>
        {
            var now = Interlocked.Increment(ref running);
            most = Math.Max(most, now);
            // answered two by two: were they made one by one, this would not end
            Assert.True(await Task.Run(() => pairs.SignalAndWait(LocalArk.MaxWait)));
            Interlocked.Decrement(ref running);
            await DeliverAsync(context);
        });
        await using var system = await StartAsync(ark, ("Providers:Ark:ImageBatch", "2"), ("Providers:Ark:Models:seedream-4-0-250828", "ep-1"));

        var id = await system.SubmitAsync("a lighthouse at dusk", n: 4, size: "2K");
        var end = await system.EndOfAsync(id);

        Assert.Equal("completed", (string?)end["status"]);
        Assert.Equal(2, most);
        Assert.Equal(4, ark.Calls.Count);
        Assert.All(ark.Calls, call => Assert.Equal(("ep-1", "a lighthouse at dusk", "2K"),
            ((string?)call.Body["model"], (string?)call.Body["prompt"], (string?)call.Body["size"])));
        Assert.Equal(
            Enumerable.Range(0, 4).Select(ordinal => $"{id:N}-{ordinal}-1"),
            ark.Calls.Select(call => call.Headers["X-Client-Request-Id"]).Order(StringComparer.Ordinal));
        Assert.Equal(4, (int?)end["receipt"]!["providerUsage"]!["generated_images"]);
        await system.AssertBooksAreCleanAsync();
        await system.AssertMediaAreStoredAsync();
    }

    [Fact]
    public async Task A_refusal_that_would_meet_every_picture_stops_the_calls_that_have_not_begun()
    {
        await using var ark = await LocalArk.StartAsync(context => RefuseAsync(context, 400, "InputTextSensitiveContentDetected"));
        await using var system = await StartAsync(ark, ("Providers:Ark:ImageBatch", "1"));

        var end = await system.EndOfAsync(await system.SubmitAsync("waves", n: 5));

        Assert.Equal(("failed", "moderation_input"), ((string?)end["status"], (string?)end["error"]!["code"]));
        Assert.DoesNotContain("0217", end.ToJsonString(), StringComparison.Ordinal);
        Assert.Single(ark.Calls);
        await system.AssertBooksAreCleanAsync();
    }

    private static Task<TestSystem> StartAsync(LocalArk ark, params (string Key, string Value)[] settings) => TestSystem.StartAsync(options =>
    {
        options.Settings["Providers:Ark:BaseUrl"] = $"{ark.Address}/api/v3";
        foreach (var (key, value) in settings)
        {
            options.Settings[key] = value;
        }
    });

    private static Task DeliverAsync(HttpContext context)
    {
        var reply = new JsonObject
        {
            ["data"] = new JsonArray(new JsonObject { ["url"] = $"http://{context.Request.Host}{LocalArk.Picture}", ["size"] = "512x512" }),
            ["usage"] = new JsonObject { ["generated_images"] = 1, ["output_tokens"] = 1024, ["total_tokens"] = 1024 },
        };
        return context.Response.WriteAsync(reply.ToJsonString());
    }

    private static Task RefuseAsync(HttpContext context, int status, string code)
    {
        context.Response.StatusCode = status;
        return context.Response.WriteAsync(
            new JsonObject { ["error"] = new JsonObject { ["code"] = code, ["message"] = "No. request id: 0217abc" } }.ToJsonString());
    }
}
