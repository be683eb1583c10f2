using System.Net;
using System.Text.Json.Nodes;
using Generation.Tests.Harness;

namespace Generation.Tests.Credits;

public sealed class CreditAdminTests
{
    private const string Grants = "/api/admin/credits/grants";
    private const string Adjustments = "/api/admin/credits/adjustments";

    [Fact]
    public async Task A_grant_is_a_lot_a_ledger_row_and_an_audit_row()
    {
        var (system, admin, user) = await StartAsync();
        var granted = await DoAsync(admin, Grants,
            $$"""{"user":"{{user.UserId}}","amount":50,"kind":"bonus","priority":7,"expiresAt":"2040-01-31T00:00:00Z","reason":"sorry for the outage"}""");

        Assert.Equal(
            ("grant", user.UserId, 50L, "bonus", 7, 1_050L, false),
            ((string?)granted["action"], granted["userId"]!.GetValue<Guid>(), (long)granted["amount"]!, (string?)granted["kind"],
                (int)granted["priority"]!, (long)granted["available"]!, (bool)granted["frozen"]!));
        var lot = (await user.GetAsync("/api/credits")).Body["lots"]!.AsArray().Single(l => (string?)l!["lotId"] == (string?)granted["lotId"])!;
        Assert.Equal(("bonus", 50L, 0L), ((string?)lot["kind"], (long)lot["available"]!, (long)lot["held"]!));
        Assert.Equal(new DateTimeOffset(2040, 1, 31, 0, 0, 0, TimeSpan.Zero), lot["expiresAt"]!.GetValue<DateTimeOffset>());
        var row = (await user.GetAsync("/api/credits/transactions?limit=1")).Body["transactions"]![0]!;
        Assert.Equal(
            ("bonus", "credit", 50L, "external", "available", 1_050L, 0L, (string?)granted["lotId"]),
            ((string?)row["type"], (string?)row["direction"], (long)row["amount"]!, (string?)row["fromBucket"], (string?)row["toBucket"],
                (long)row["availableAfter"]!, (long)row["reservedAfter"]!, (string?)row["lotId"]));

        var action = (await admin.GetAsync($"/api/admin/actions?user={user.UserId}")).AssertStatus(HttpStatusCode.OK).Body["actions"]!.AsArray()
            .Single()!;
        Assert.Equal(
            ("grant", admin.UserId, user.UserId, "sorry for the outage", (string?)granted["actionId"]),
            ((string?)action["action"], action["actorId"]!.GetValue<Guid>(), action["userId"]!.GetValue<Guid>(), (string?)action["reason"],
                (string?)action["actionId"]));
        await system.AssertBooksAreCleanAsync();
    }

    [Theory]
    [InlineData("purchase", "purchase")]
    [InlineData("bonus", "bonus")]
    [InlineData("grant", "bonus")]
    [InlineData("plan", "bonus")]
    public async Task Every_kind_of_lot_has_its_row_in_the_ledger(string kind, string type)
    {
        var (_, admin, user) = await StartAsync();
        await DoAsync(admin, Grants, $$"""{"user":"{{user.UserId}}","amount":3,"kind":"{{kind}}","reason":"r"}""");
        Assert.Equal(type, (string?)(await user.GetAsync("/api/credits/transactions?limit=1")).Body["transactions"]![0]!["type"]);
    }

    [Fact]
    public async Task A_double_click_pays_once()
    {
        var (system, admin, user) = await StartAsync();
        var body = $$"""{"user":"{{user.UserId}}","amount":50,"reason":"twice"}""";
        var key = Guid.NewGuid().ToString();
        var replies = await Task.WhenAll(Enumerable.Range(0, 12).Select(
            _ => admin.SendAsync(HttpMethod.Post, Grants, body, ("Idempotency-Key", key))));

        Assert.All(replies, r => r.AssertStatus(HttpStatusCode.OK));
        Assert.Single(replies, r => !r.IsReplay);
        Assert.Single(replies.Select(r => r.Body.ToJsonString()).Distinct());
        Assert.Equal(1_050, (long)(await user.GetAsync("/api/credits")).Body["available"]!);
        await system.AssertBooksAreCleanAsync();
    }

    [Fact]
    public async Task A_key_belongs_to_one_request_whoever_sends_it_and_for_whomever()
    {
        var (system, admin, user) = await StartAsync();
        var other = await system.NewUserAsync();
        var colleague = await system.NewUserAsync(role: "admin");
        var key = Guid.NewGuid().ToString();
        await DoAsync(admin, Grants, $$"""{"user":"{{user.UserId}}","amount":5,"reason":"r"}""", key);

        foreach (var (path, body) in new[]
        {
            (Grants, $$"""{"user":"{{user.UserId}}","amount":6,"reason":"r"}"""),
            (Grants, $$"""{"user":"{{other.UserId}}","amount":5,"reason":"r"}"""),
            (Grants, $$"""{"user":"{{user.UserId}}","amount":5,"reason":"another"}"""),
            (Adjustments, $$"""{"user":"{{user.UserId}}","amount":5,"reason":"r"}"""),
            ($"/api/admin/users/{user.UserId}/freeze", """{"reason":"r"}"""),
        })
        {
            (await admin.SendAsync(HttpMethod.Post, path, body, ("Idempotency-Key", key)))
                .AssertProblem(HttpStatusCode.UnprocessableEntity, "idempotency_key_reused");
        }

        Assert.True((await colleague.SendAsync(HttpMethod.Post, Grants, $$"""{"user":"{{user.UserId}}","amount":5,"reason":"r"}""", (
            "Idempotency-Key", key))).IsReplay);
        Assert.Equal((1_005L, 1_000L), ((long)(await user.GetAsync("/api/credits")).Body["available"]!,
            (long)(await other.GetAsync("/api/credits")).Body["available"]!));
        await user.AcceptedAsync(); // not frozen
    }

    [Fact]
    public async Task One_key_for_many_users_at_once_pays_one_of_them()
    {
        var (system, admin, _) = await StartAsync();
        var users = await Task.WhenAll(Enumerable.Range(0, 8).Select(_ => system.NewUserAsync()));
        var key = Guid.NewGuid().ToString();
        var replies = await Task.WhenAll(users.Select(
            u => admin.SendAsync(HttpMethod.Post, Grants, $$"""{"user":"{{u.UserId}}","amount":5,"reason":"r"}""", ("Idempotency-Key", key))));
        Assert.Single(replies, r => r.Status == HttpStatusCode.OK);
        Assert.Equal(7, replies.Count(r => r.Code == "idempotency_key_reused"));
        await system.AssertBooksAreCleanAsync();
    }

    [Fact]
    public async Task An_adjustment_takes_from_the_lots_in_the_order_of_drawing_all_or_nothing()
    {
        var (system, admin, user) = await StartAsync(credits: 10);
        await DoAsync(admin, Grants, $$"""{"user":"{{user.UserId}}","amount":5,"priority":1,"reason":"first"}""");
        await user.AcceptedAsync(n: 2); // holds 5 + 3

        var refused = (await admin.SendAsync(HttpMethod.Post, Adjustments, $$"""{"user":"{{user.UserId}}","amount":-8,"reason":"too much"}""", (
            "Idempotency-Key", Guid.NewGuid().ToString())))
            .AssertProblem(HttpStatusCode.Conflict, "insufficient_credits");
        Assert.Equal((7L, 8L), ((long)refused.Body["available"]!, (long)refused.Body["held"]!));
        Assert.Contains("8 more are held", (string?)refused.Body["detail"], StringComparison.Ordinal);
        Assert.Equal(0, await system.ScalarAsync<long>(
            $"SELECT count(*) FROM admin_actions WHERE user_id = '{user.UserId}' AND action = 'adjustment'"));

        var taken = await DoAsync(admin, Adjustments, $$"""{"user":"{{user.UserId}}","amount":-7,"reason":"charged back"}""");
        Assert.Equal((-7L, 0L, 8L), ((long)taken["amount"]!, (long)taken["available"]!, (long)taken["reserved"]!));
        var row = (await user.GetAsync("/api/credits/transactions?limit=1")).Body["transactions"]![0]!;
        Assert.Equal(("adjustment", "debit", 7L, "available", "external"),
            ((string?)row["type"], (string?)row["direction"], (long)row["amount"]!, (string?)row["fromBucket"], (string?)row["toBucket"]));
        Assert.Equal(7, await system.ScalarAsync<long>(
            $"SELECT withdrawn FROM credit_lots WHERE user_id = '{user.UserId}' AND reference = 'opening'"));

        var given = await DoAsync(admin, Adjustments, $$"""{"user":"{{user.UserId}}","amount":2,"reason":"and back"}""");
        Assert.Equal((2L, 2L), ((long)given["amount"]!, (long)given["available"]!));
        Assert.Equal("adjustment", (string?)(await user.GetAsync("/api/credits/transactions?limit=1")).Body["transactions"]![0]!["type"]);
        await system.AssertBooksAreCleanAsync();
    }

    [Fact]
    public async Task A_frozen_user_submits_nothing_and_what_runs_goes_on()
    {
        var system = await ApiSystem.Mocked;
        var (admin, user) = (await system.NewUserAsync(role: "admin"), await system.NewUserAsync());
        var running = await user.AcceptedAsync();
        Assert.True((bool)(await DoAsync(admin, $"/api/admin/users/{user.UserId}/freeze", """{"reason":"stolen card"}"""))["frozen"]!);
        (await user.SubmitAsync("""{"model":"seedream-4","params":{"prompt":"x"}}""")).AssertProblem(HttpStatusCode.Forbidden, "account_frozen");
        Assert.Equal("completed", (string?)(await system.EndOfAsync(running, user.Http))["status"]);

        Assert.False((bool)(await DoAsync(admin, $"/api/admin/users/{user.UserId}/unfreeze", """{"reason":"it was his brother"}"""))["frozen"]!);
        await user.AcceptedAsync();
        var actions = (await admin.GetAsync($"/api/admin/actions?user={user.UserId}")).Body["actions"]!.AsArray();
        Assert.Equal(["unfreeze", "freeze"], actions.Select(a => (string?)a!["action"]));
    }

    [Theory]
    [InlineData("{}", "user,amount,reason")]
    [InlineData("""{"user":"","amount":0,"reason":" "}""", "user,amount,reason")]
    [InlineData("""{"user":5,"amount":"5","reason":7,"kind":"gift","priority":-1,"expiresAt":"tomorrow"}""",
        "user,amount,reason,kind,priority,expiresAt")]
    [InlineData("""{"user":"u","amount":1.5,"reason":"r"}""", "amount")]
    [InlineData("""{"user":"u","amount":1000000001,"reason":"r"}""", "amount")]
    [InlineData("""{"user":"u","amount":-1,"reason":"r"}""", "amount")]
    [InlineData("""{"user":"u","amount":1,"reason":"r","expiresAt":"2001-01-01T00:00:00Z"}""", "expiresAt")]
    [InlineData("""{"user":"u","amount":1,"reason":"r","comment":"x"}""", "comment")]
    public async Task A_wrong_grant_names_every_wrong_field(string body, string fields)
    {
        var (_, admin, _) = await StartAsync();
        var refused = (await admin.SendAsync(HttpMethod.Post, Grants, body, ("Idempotency-Key", "k")))
            .AssertProblem(HttpStatusCode.BadRequest, "validation_failed");
        Assert.Equal(fields.Split(',').Order(StringComparer.Ordinal),
            refused.Body["errors"]!.AsObject().Select(e => e.Key).Order(StringComparer.Ordinal));
    }

    [Theory]
    [InlineData(Grants, """{"user":"u","amount":1,"reason":"r"}""")]
    [InlineData(Adjustments, """{"user":"u","amount":1,"reason":"r"}""")]
    [InlineData("/api/admin/users/u/freeze", """{"reason":"r"}""")]
    [InlineData("/api/admin/users/u/unfreeze", """{"reason":"r"}""")]
    public async Task Without_an_idempotency_key_nothing_is_done(string path, string body)
    {
        var (_, admin, user) = await StartAsync();
        var refused = (await admin.SendAsync(HttpMethod.Post, path, body)).AssertProblem(HttpStatusCode.BadRequest, "validation_failed");
        Assert.NotNull(refused.Body["errors"]!["Idempotency-Key"]);
        (await user.SendAsync(HttpMethod.Post, path, body, ("Idempotency-Key", "k"))).AssertProblem(HttpStatusCode.Forbidden, "forbidden");
    }

    [Fact]
    public async Task A_user_is_named_by_id_or_handle_and_must_exist()
    {
        var (system, admin, user) = await StartAsync();
        var handle = await system.ScalarAsync<string>($"SELECT handle FROM users WHERE user_id = '{user.UserId}'");
        await DoAsync(admin, Grants, $$"""{"user":"{{handle}}","amount":1,"reason":"r"}""");
        Assert.Equal(1_001, (long)(await admin.GetAsync($"/api/admin/users/{handle}/credits")).Body["available"]!);
        Assert.Equal(2, (await admin.GetAsync($"/api/admin/users/{handle}/transactions")).Body["transactions"]!.AsArray().Count);
        (await admin.SendAsync(HttpMethod.Post, Grants, """{"user":"nobody","amount":1,"reason":"r"}""", ("Idempotency-Key", "k")))
            .AssertProblem(HttpStatusCode.NotFound, "user_not_found");
        (await admin.GetAsync("/api/admin/users/nobody/credits")).AssertProblem(HttpStatusCode.NotFound, "not_found");
        (await user.GetAsync($"/api/admin/users/{handle}/credits")).AssertProblem(HttpStatusCode.Forbidden, "forbidden");
    }

    [Fact]
    public async Task The_actions_come_in_pages_newest_first()
    {
        var (_, admin, user) = await StartAsync();
        for (var i = 1; i <= 5; i++)
        {
            await DoAsync(admin, Grants, $$"""{"user":"{{user.UserId}}","amount":{{i}},"reason":"number {{i}}"}""");
        }

        var reasons = new List<string>();
        string? cursor = null;
        do
        {
            var page = (await admin.GetAsync($"/api/admin/actions?user={user.UserId}&limit=2&cursor={cursor}")).AssertStatus(HttpStatusCode.OK).Body;
            reasons.AddRange(page["actions"]!.AsArray().Select(a => (string)a!["reason"]!));
            cursor = (string?)page["nextCursor"];
        }
        while (cursor is not null);

        Assert.Equal(["number 5", "number 4", "number 3", "number 2", "number 1"], reasons);
    }

    private static async Task<(TestSystem System, ApiUser Admin, ApiUser User)> StartAsync(long credits = 1_000)
    {
        var system = await ApiSystem.Queued;
        return (system, await system.NewUserAsync(role: "admin"), await system.NewUserAsync(credits));
    }

    private static async Task<JsonObject> DoAsync(ApiUser admin, string path, string body, string? key = null) =>
        (await admin.SendAsync(HttpMethod.Post, path, body, ("Idempotency-Key", key ?? Guid.NewGuid().ToString())))
            .AssertStatus(HttpStatusCode.OK).Body;
}
