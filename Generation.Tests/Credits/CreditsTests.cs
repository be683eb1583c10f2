using System.Net;
using System.Text.Json.Nodes;
using Generation.Tests.Harness;

namespace Generation.Tests.Credits;

[Trait("tier", "slow")]
public sealed class CreditsTests
{
    [Theory]
    [InlineData("""{"prompt":"x"}""", null, 4, 1, 4)]
    [InlineData("""{"prompt":"x","n":3}""", null, 4, 3, 12)]
    [InlineData("""{"prompt":"x","size":"4K","n":2}""", "4K", 8, 2, 16)]
    public async Task An_estimate_itemises_the_price_and_reserves_nothing(
        string parameters, string? variant, long unitPrice, int quantity, long total)
    {
        var user = await (await ApiSystem.Queued).NewUserAsync(credits: 12);
        var estimate = (await EstimateAsync(user, $$"""{"model":"seedream-4","params":{{parameters}}}""")).AssertStatus(HttpStatusCode.OK).Body;
        var item = Assert.Single(estimate["items"]!.AsArray())!;
        Assert.Equal(
            ("image", variant, unitPrice, "output", 1, quantity, total),
            ((string?)item["output"], (string?)item["variant"], (long)item["unitPrice"]!, (string?)item["per"], (int)item["multiplier"]!,
                (int)item["quantity"]!, (long)item["credits"]!));
        Assert.Equal((total, 12L, total <= 12), ((long)estimate["total"]!, (long)estimate["available"]!, (bool)estimate["affordable"]!));
        await user.AssertNothingHappenedAsync();

        if (total <= 12)
        {
            var accepted = (await user.SubmitAsync($$"""{"model":"seedream-4","params":{{parameters}}}""")).AssertStatus(HttpStatusCode.Accepted);
            Assert.Equal(total, (long)accepted.Body["creditsHeld"]!);
        }
    }

    [Fact]
    public async Task An_estimate_refuses_what_a_submit_would_refuse()
    {
        var user = await (await ApiSystem.Queued).NewUserAsync();
        var wrong = (await EstimateAsync(user, """{"model":"seedream-4","params":{"size":"8K","n":99}}"""))
            .AssertProblem(HttpStatusCode.BadRequest, "validation_failed");
        Assert.Equal(["params.n", "params.prompt", "params.size"], wrong.Body["errors"]!.AsObject().Select(e => e.Key).Order(StringComparer.Ordinal));
        (await EstimateAsync(user, """{"model":"nothing","params":{"prompt":"x"}}""")).AssertProblem(HttpStatusCode.NotFound, "model_not_found");
        (await EstimateAsync(user, """{"model":"seedream-3","params":{"prompt":"x"}}""")).AssertProblem(HttpStatusCode.Gone, "model_retired");
        (await EstimateAsync(user, "{")).AssertProblem(HttpStatusCode.BadRequest, "malformed_json");
        using var anybody = new HttpClient { BaseAddress = user.Http.BaseAddress };
        Assert.Equal(HttpStatusCode.Unauthorized, (await anybody.PostAsync("/api/generations/estimate", null)).StatusCode);
    }

    [Fact]
    public async Task A_402_says_buy_more_when_waiting_would_not_help()
    {
        var user = await (await ApiSystem.Queued).NewUserAsync(credits: 10);
        await user.AcceptedAsync();
        var refused = (await user.SubmitAsync("""{"model":"seedream-4","params":{"prompt":"x","n":3}}"""))
            .AssertProblem(HttpStatusCode.PaymentRequired, "insufficient_credits").Body;
        Assert.Equal(("not_enough", 6L, 12L, 4L), ((string?)refused["reason"], (long)refused["available"]!, (long)refused["needed"]!,
            (long)refused["held"]!));
        Assert.Null(refused["runningJobs"]);
        Assert.Contains("Buy more", (string?)refused["detail"], StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_402_says_how_many_running_jobs_hold_the_credits_and_when_the_first_will_end()
    {
        var system = await ApiSystem.Queued;
        var user = await system.NewUserAsync(credits: 12);
        var (first, second) = (await user.AcceptedAsync(), await user.AcceptedAsync());
        const string Dear = """{"model":"seedream-4","params":{"prompt":"x","n":2}}""";

        var waiting = (await user.SubmitAsync(Dear)).AssertProblem(HttpStatusCode.PaymentRequired, "insufficient_credits").Body;
        Assert.Equal(("held", 4L, 8L, 8L, 2), ((string?)waiting["reason"], (long)waiting["available"]!, (long)waiting["needed"]!,
            (long)waiting["held"]!, (int)waiting["runningJobs"]!));
        Assert.Contains("8 more are held by 2 running jobs", (string?)waiting["detail"], StringComparison.Ordinal);
        Assert.Null(waiting["earliestRelease"]); // neither runs, and nothing is known of how long they take: the deadline is no estimate

        // Half done after a minute: a minute to go.
        await system.ExecuteAsync(
            $"""
            UPDATE generation_sessions SET status = 'processing', phase = 'generating', started_at = now() - interval '1 minute', progress = 50,
                lease_owner = 'w', lease_until = now() + interval '1 day' WHERE session_id = '{second}'
            """);
        var running = (await user.SubmitAsync(Dear)).AssertProblem(HttpStatusCode.PaymentRequired, "insufficient_credits").Body;
        var left = running["earliestRelease"]!.GetValue<DateTimeOffset>() - TimeProvider.System.GetUtcNow();
        Assert.InRange(left, TimeSpan.FromSeconds(40), TimeSpan.FromSeconds(120));

        await user.SendAsync(HttpMethod.Post, $"/api/generations/{first}/cancel");
        (await user.SubmitAsync(Dear)).AssertStatus(HttpStatusCode.Accepted);
    }

    [Fact]
    public async Task The_ledger_tells_a_generation_from_hold_to_capture_with_the_balances_after_each_row()
    {
        var system = await ApiSystem.Mocked;
        var user = await system.NewUserAsync(credits: 100);
        var id = await user.AcceptedAsync(n: 2);
        await system.EndOfAsync(id, user.Http);
        var queued = await ApiSystem.Queued;
        var canceling = await queued.NewUserAsync(credits: 100);
        await canceling.SendAsync(HttpMethod.Post, $"/api/generations/{await canceling.AcceptedAsync(n: 2)}/cancel");

        Assert.Equal(
            ["usage debit 8 reserved→spent 92/0", "reservation debit 8 available→reserved 92/8", "purchase credit 100 external→available 100/0"],
                await LinesAsync(user, ""));
        Assert.Equal(
            ["refund credit 8 reserved→available 100/0", "reservation debit 8 available→reserved 92/8",
                "purchase credit 100 external→available 100/0"], await LinesAsync(canceling, ""));

        Assert.Equal(["usage", "reservation"], (await LinesAsync(user, $"?sessionId={id}")).Select(l => l.Split(' ')[0]));
        Assert.Equal(["purchase"], (await LinesAsync(user, "?direction=credit")).Select(l => l.Split(' ')[0]));
        Assert.Equal(["usage", "reservation"], (await LinesAsync(user, "?direction=debit")).Select(l => l.Split(' ')[0]));
        Assert.Equal(["usage"], (await LinesAsync(user, "?type=usage")).Select(l => l.Split(' ')[0]));
        Assert.Empty(await LinesAsync(user, "?since=2100-01-01T00:00:00Z"));
        Assert.Empty(await LinesAsync(user, "?until=2001-01-01T00:00:00Z"));
        Assert.Equal(3, (await LinesAsync(user, "?since=2001-01-01T00:00:00Z&until=2100-01-01T00:00:00%2B02:00")).Count);
        Assert.Empty(await LinesAsync(canceling, $"?sessionId={id}")); // somebody else's

        var rows = (await user.GetAsync("/api/credits/transactions")).Body["transactions"]!.AsArray();
        Assert.Equal(id, rows[0]!["sessionId"]!.GetValue<Guid>());
        Assert.Equal((string?)rows[1]!["reservationId"], (string?)rows[0]!["reservationId"]);
        Assert.NotNull(rows[2]!["lotId"]);
    }

    [Fact]
    public async Task The_ledger_comes_in_pages_that_neither_repeat_nor_skip_a_row()
    {
        var user = await (await ApiSystem.Queued).NewUserAsync();
        for (var i = 0; i < 6; i++)
        {
            await user.AcceptedAsync();
        }

        var ids = new List<long>();
        string? cursor = null;
        do
        {
            var page = (await user.GetAsync($"/api/credits/transactions?limit=3{(cursor is null ? "" : $"&cursor={cursor}")}"))
                .AssertStatus(HttpStatusCode.OK).Body;
            ids.AddRange(page["transactions"]!.AsArray().Select(t => (long)t!["transactionId"]!));
            cursor = (string?)page["nextCursor"];
            await user.AcceptedAsync(); // a row that comes meanwhile moves no page
        }
        while (cursor is not null);

        Assert.Equal(7, ids.Count);
        Assert.Equal(ids.OrderDescending(), ids);
        Assert.Equal(7, ids.Distinct().Count());
    }

    [Theory]
    [InlineData("limit=0", "limit")]
    [InlineData("limit=201", "limit")]
    [InlineData("limit=x&cursor=y", "cursor,limit")]
    [InlineData("cursor=-1", "cursor")]
    [InlineData("type=gift&direction=up&sessionId=1&since=then&until=now", "direction,sessionId,since,type,until")]
    public async Task A_wrong_filter_is_named(string query, string fields)
    {
        var user = await (await ApiSystem.Queued).NewUserAsync();
        var refused = (await user.GetAsync($"/api/credits/transactions?{query}")).AssertProblem(HttpStatusCode.BadRequest, "validation_failed");
        Assert.Equal(fields.Split(','), refused.Body["errors"]!.AsObject().Select(e => e.Key).Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task A_receipt_says_what_was_held_paid_and_given_back_and_by_which_price()
    {
        var system = await ApiSystem.Mocked;
        var user = await system.NewUserAsync();
        var paid = (await system.EndOfAsync(await user.AcceptedAsync(n: 2), user.Http))["receipt"]!;
        Assert.Equal((8L, 8L, 0L, 0L, 0L), Amounts(paid));
        Assert.Equal("You paid 8 credits.", (string?)paid["summary"]);
        Assert.Equal(await system.ScalarAsync<long>("SELECT price_version FROM model_pricing WHERE model = 'seedream-4' AND retired_at IS NULL"),
            (long)paid["priceVersion"]!);

        var queued = await ApiSystem.Queued;
        var canceling = await queued.NewUserAsync();
        var free = (await canceling.SendAsync(HttpMethod.Post, $"/api/generations/{await canceling.AcceptedAsync(n: 2)}/cancel")).Body["receipt"]!;
        Assert.Equal((8L, 0L, 0L, 8L, 0L), Amounts(free));
        Assert.Equal("You were not charged.", (string?)free["summary"]);
    }

    private static (long Held, long Captured, long Extra, long Released, long Adjusted) Amounts(JsonNode receipt) =>
        ((long)receipt["held"]!, (long)receipt["captured"]!, (long)receipt["extra"]!, (long)receipt["released"]!, (long)receipt["adjusted"]!);

    private static Task<Reply> EstimateAsync(ApiUser user, string json) => user.SendAsync(HttpMethod.Post, "/api/generations/estimate", json);

    private static async Task<List<string>> LinesAsync(ApiUser user, string query) =>
    [
        .. (await user.GetAsync($"/api/credits/transactions{query}")).AssertStatus(HttpStatusCode.OK).Body["transactions"]!.AsArray().Select(t =>
            $"{t!["type"]} {t["direction"]} {t["amount"]} {t["fromBucket"]}→{t["toBucket"]} {t["availableAfter"]}/{t["reservedAfter"]}"),
    ];
}
