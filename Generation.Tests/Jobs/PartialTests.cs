using System.Text.Json.Nodes;
using Generation.Tests.Harness;
using Generation.Tests.Providers.Ark;
using Microsoft.AspNetCore.Http;

namespace Generation.Tests.Jobs;

/// <summary>Some of the outputs came: they are paid, the rest is given back, and the session says which are missing and why.</summary>
[Trait("tier", "slow")]
public sealed class PartialTests
{
    [Fact]
    public async Task A_picture_that_fails_among_four_is_named_and_given_back_and_the_receipt_adds_up()
    {
        await using var system = await TestSystem.StartAsync();
        var end = await system.EndOfAsync(await system.SubmitAsync("four of them [fault=image-error:times=1]", n: 4));

        Assert.Equal("completed", (string?)end["status"]);
        Assert.Null(end["error"]);
        var failed = Assert.Single(end["failedOutputs"]!.AsArray())!;
        Assert.Equal("moderation_output", (string?)failed["code"]);
        Assert.NotEmpty((string)failed["message"]!);
        Assert.Equal(
            Enumerable.Range(0, 4).Where(ordinal => ordinal != (int)failed["ordinal"]!),
            end["media"]!.AsArray().Select(media => (int)media!["ordinal"]!));

        Assert.Equal("partial_failure: moderation_output", await system.ScalarAsync<string>(
            "SELECT string_agg(code || ': ' || (detail -> 'failedOutputs' -> 0 ->> 'code'), ', ') FROM error_events"));

        AssertReceipt(end, held: 16, captured: 12, adjusted: 4);
        Assert.Equal("You paid 12 credits for 3 of 4 outputs; 4 were given back.", (string?)end["receipt"]!["summary"]);
        var usage = end["receipt"]!["providerUsage"]!;
        var tokens = end["media"]!.AsArray().Sum(media => (long)media!["width"]! * (long)media["height"]! / 256);
        Assert.Equal((3, tokens, tokens), ((int?)usage["generated_images"], (long?)usage["output_tokens"], (long?)usage["total_tokens"]));
        Assert.Equal(3, await system.Sim.PaidAsync("four of them"));
        Assert.Equal("1000-12=988", await system.ScalarAsync<string>("SELECT '1000-12=' || available FROM credit_accounts WHERE reserved = 0"));
        await system.AssertBooksAreCleanAsync();
        await system.AssertNothingIsLeftBehindAsync();
    }

    [Fact]
    public async Task What_was_stored_before_the_last_attempt_failed_is_paid_with_its_usage()
    {
        // Two tries in one attempt, two calls each, three of the four refused.
        await using var system = await TestSystem.StartAsync(o => o.Settings["Worker:MaxAttempts"] = "1");
        var end = await system.EndOfAsync(await system.SubmitAsync("half of two [fault=server-error:times=3]", n: 2));

        Assert.Equal("completed", (string?)end["status"]);
        Assert.Single(end["media"]!.AsArray());
        Assert.Equal("provider_unavailable", (string?)Assert.Single(end["failedOutputs"]!.AsArray())!["code"]);
        AssertReceipt(end, held: 8, captured: 4, adjusted: 4);
        Assert.Equal(1, (int?)end["receipt"]!["providerUsage"]?["generated_images"]);
        await system.AssertBooksAreCleanAsync();
        await system.AssertNothingIsLeftBehindAsync();
    }

    [Fact]
    public async Task An_account_that_runs_dry_in_the_middle_alerts_the_operator_and_every_missing_output_is_named()
    {
        await using var ark = await LocalArk.StartAsync(context =>
            context.Request.Headers["X-Client-Request-Id"].ToString().Contains("-0-", StringComparison.Ordinal) ? DeliverAsync(context)
                : RefuseAsync(context));
        await using var system = await TestSystem.StartAsync(o =>
        {
            o.Settings["Providers:Ark:BaseUrl"] = $"{ark.Address}/api/v3";
            o.Settings["Providers:Ark:ImageBatch"] = "1";
        });
        var end = await system.EndOfAsync(await system.SubmitAsync("one of four", n: 4));

        Assert.Equal("completed", (string?)end["status"]);
        Assert.Equal(2, ark.Calls.Count);
        AssertReceipt(end, held: 16, captured: 4, adjusted: 12);
        Assert.Equal(
            [(1, "provider_quota_exhausted"), (2, "provider_quota_exhausted"), (3, "provider_quota_exhausted")],
            end["failedOutputs"]!.AsArray().Select(failed => ((int)failed!["ordinal"]!, (string)failed["code"]!)));
        Assert.Contains(system.Workers[0].Log, line => line.StartsWith("Critical", StringComparison.Ordinal) && line.Contains("AccountOverdueError",
            StringComparison.Ordinal));
        await system.AssertBooksAreCleanAsync();
    }

    private static void AssertReceipt(JsonObject end, long held, long captured, long adjusted)
    {
        var receipt = end["receipt"]!;
        Assert.Equal(
            (held, captured, 0L, adjusted),
            ((long)receipt["held"]!, (long)receipt["captured"]!, (long)receipt["released"]!, (long)receipt["adjusted"]!));
    }

    private static Task DeliverAsync(HttpContext context)
    {
        var reply = new JsonObject
        {
            ["data"] = new JsonArray(new JsonObject { ["url"] = $"http://{context.Request.Host}{LocalArk.Picture}", ["size"] = "512x512" }),
            ["usage"] = new JsonObject { ["generated_images"] = 1 },
        };
        return context.Response.WriteAsync(reply.ToJsonString());
    }

    private static Task RefuseAsync(HttpContext context)
    {
        context.Response.StatusCode = StatusCodes.Status403Forbidden;
        return context.Response.WriteAsync(
            new JsonObject { ["error"] = new JsonObject { ["code"] = "AccountOverdueError", ["message"] = "No money." } }.ToJsonString());
    }
}
