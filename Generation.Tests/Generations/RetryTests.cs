using System.Net;
using System.Text.Json.Nodes;
using Generation.Tests.Harness;

namespace Generation.Tests.Generations;

/// <summary>What has failed, tried again as a new session; and what operators see of it.</summary>
[Trait("tier", "slow")]
public sealed class RetryTests
{
    [Fact]
    public async Task A_failed_session_retried_twice_becomes_one_new_session_with_a_new_hold()
    {
        await using var system = await TestSystem.StartAsync(o => o.Settings["Worker:MaxAttempts"] = "1");
        var user = await system.NewUserAsync(credits: 8);
        var failed = (await user.SubmitAsync(Body("[fault=server-error:times=2] twice"))).AssertStatus(HttpStatusCode.Accepted).SessionId;
        await system.EndOfAsync(failed, user.Http);

        var retry = (await user.SendAsync(HttpMethod.Post, $"/api/generations/{failed}/retry")).AssertStatus(HttpStatusCode.Accepted);
        var again = (await user.SendAsync(HttpMethod.Post, $"/api/generations/{failed}/retry")).AssertStatus(HttpStatusCode.Accepted);
        Assert.NotEqual(failed, retry.SessionId);
        Assert.Equal((retry.SessionId, true), (again.SessionId, again.IsReplay));
        var end = await system.EndOfAsync(retry.SessionId, user.Http);
        Assert.Equal(("completed", failed.ToString()), ((string?)end["status"], (string?)end["retryOf"]));
        Assert.Equal("failed", (string?)(await system.GetAsync(failed, user.Http))["status"]);
        await system.AssertBooksAreCleanAsync();

        // Another key is another wish; and what has completed, runs or is somebody else's is not retried.
        var third = (await user.SendAsync(HttpMethod.Post, $"/api/generations/{failed}/retry", null, ("Idempotency-Key", "once more")))
            .AssertStatus(HttpStatusCode.Accepted);
        Assert.NotEqual(retry.SessionId, third.SessionId);
        (await user.SendAsync(HttpMethod.Post, $"/api/generations/{retry.SessionId}/retry")).AssertProblem(HttpStatusCode.Conflict, "not_retryable");
        (await (await system.NewUserAsync()).SendAsync(HttpMethod.Post, $"/api/generations/{failed}/retry"))
            .AssertProblem(HttpStatusCode.NotFound, "not_found");
        (await user.SendAsync(HttpMethod.Post, $"/api/generations/{failed}/retry", null, ("Idempotency-Key", new string('x', 300))))
            .AssertProblem(HttpStatusCode.BadRequest, "validation_failed");
        await system.EndOfAsync(third.SessionId, user.Http);
    }

    [Fact]
    public async Task Operators_list_dead_letters_with_their_history_and_redrive_one_some_and_all_of_them_once()
    {
        await using var system = await TestSystem.StartAsync(o => o.Settings["Worker:MaxAttempts"] = "1");
        var admin = await system.NewUserAsync(role: "admin");
        var rich = await system.NewUserAsync(credits: 100);
        var poor = await system.NewUserAsync(credits: 4);
        var dead = new List<Guid>();
        foreach (var user in new[] { rich, rich, poor })
        {
            dead.Add((await user.SubmitAsync(Body($"{dead.Count} [fault=server-error:times=2]"))).AssertStatus(HttpStatusCode.Accepted).SessionId);
            await system.EndOfAsync(dead[^1], user.Http);
            await system.EndOfAsync((await rich.SubmitAsync(Body("a success, or the breaker would open"))).SessionId, rich.Http);
        }

        // the user's own doing: no dead letter
        var refused = (await rich.SubmitAsync(Body("[fault=input-text]"))).AssertStatus(HttpStatusCode.Accepted).SessionId;
        await system.EndOfAsync(refused, rich.Http);
        (await rich.GetAsync("/api/admin/dead-letters")).AssertProblem(HttpStatusCode.Forbidden, "forbidden");

        var first = (await admin.GetAsync("/api/admin/dead-letters?limit=2")).AssertStatus(HttpStatusCode.OK).Body;
        Assert.Equal([dead[2], dead[1]], Ids(first["deadLetters"]!));
        var second = (await admin.GetAsync($"/api/admin/dead-letters?limit=2&before={Uri.EscapeDataString((string)first["nextBefore"]!)}")).Body;
        Assert.Equal([dead[0]], Ids(second["deadLetters"]!));
        Assert.Null(second["nextBefore"]);
        var letter = second["deadLetters"]![0]!;
        Assert.Equal(("provider_unavailable", 4, "ark"), ((string?)letter["reason"], (int)letter["releasedCredits"]!, (string?)letter["provider"]));
        Assert.Equal(["InternalServiceError", "InternalServiceError"],
            letter["history"]!.AsArray().Where(h => (string?)h!["what"] == "call").Select(h => (string?)h!["providerCode"]));
        Assert.False(string.IsNullOrEmpty((string?)letter["lastError"]));

        // The poor user has spent what came back.
        await system.EndOfAsync((await poor.SubmitAsync(Body("all that is left"))).SessionId, poor.Http);
        var one = (await RedriveAsync(admin, new JsonObject { ["sessionIds"] = new JsonArray(dead[0], Guid.NewGuid()) }))
            .AssertStatus(HttpStatusCode.OK).Body;
        Assert.Equal((1, 1), ((int)one["redriven"]!, one["notFound"]!.AsArray().Count));
        var all = (await RedriveAsync(admin, new JsonObject { ["all"] = true })).Body;
        Assert.Equal((1, 2), ((int)all["redriven"]!, all["results"]!.AsArray().Count)); // the first is redriven already, the poor one's cannot be
        Assert.Equal("insufficient_credits", (string?)all["results"]!.AsArray().Single(r => (string?)r!["sessionId"] == dead[2].ToString())!["code"]);
        var again = (await RedriveAsync(admin, new JsonObject { ["sessionIds"] = new JsonArray(dead[0]) })).Body;
        Assert.Equal((0, true), ((int)again["redriven"]!, (bool)again["results"]![0]!["replayed"]!));
        var audited = await system.ScalarAsync<long>(
            "SELECT count(*) FROM admin_actions WHERE action = 'redrive' AND user_id = actor_id AND jsonb_array_length(result -> 'sessionIds') > 0");
        Assert.True(audited >= 3, $"{audited} redrives were recorded");
        Assert.Equal((string?)one["results"]![0]!["newSessionId"], (string?)again["results"]![0]!["newSessionId"]);

        var open = (await admin.GetAsync("/api/admin/dead-letters?open=true&code=provider_unavailable&provider=ark&model=seedream-4")).Body;
        Assert.Equal([dead[2]], Ids(open["deadLetters"]!));
        foreach (var result in one["results"]!.AsArray().Concat(all["results"]!.AsArray()).Where(r => r!["newSessionId"] is not null))
        {
            Assert.Equal("completed", (string?)(await system.EndOfAsync(Guid.Parse((string)result!["newSessionId"]!), rich.Http))["status"]);
        }

        await system.AssertBooksAreCleanAsync();
    }

    [Theory]
    [InlineData("{}", "sessionIds")]
    [InlineData("""{"all":true,"filter":{}}""", "sessionIds")]
    [InlineData("""{"all":false}""", "all")]
    [InlineData("""{"sessionIds":["x"]}""", "sessionIds")]
    [InlineData("""{"filter":{}}""", "filter")]
    [InlineData("""{"filter":{"colour":"red"}}""", "filter.colour")]
    [InlineData("""{"filter":{"before":"yesterday"}}""", "filter.before")]
    public async Task A_redrive_that_does_not_say_of_what_is_refused(string body, string field)
    {
        var admin = await (await ApiSystem.Queued).NewUserAsync(role: "admin");
        var refused = (await admin.SendAsync(HttpMethod.Post, "/api/admin/dead-letters/redrive", body))
            .AssertProblem(HttpStatusCode.BadRequest, "validation_failed");
        Assert.NotNull(refused.Body["errors"]![field]);
    }

    private static Task<Reply> RedriveAsync(ApiUser admin, JsonObject body) =>
        admin.SendAsync(HttpMethod.Post, "/api/admin/dead-letters/redrive", body.ToJsonString());

    private static IEnumerable<Guid> Ids(JsonNode list) => list.AsArray().Select(l => Guid.Parse((string)l!["sessionId"]!));

    private static string Body(string prompt) => $$$"""{"model":"seedream-4","params":{"prompt":"{{{prompt}}}","size":"1K"}}""";
}
