using System.Net;
using Generation.Tests.Harness;

namespace Generation.Tests.Generations;

/// <summary>Answers that wait for the result, without anything running inside the request.</summary>
[Trait("tier", "slow")]
public sealed class WaitTests
{
    private const string Body = """{"model":"seedream-4","params":{"prompt":"x","size":"1K","n":2}}""";

    [Fact]
    public async Task Prefer_wait_answers_with_the_pictures_when_they_are_there()
    {
        var system = await ApiSystem.Mocked;
        var user = await system.NewUserAsync();
        var reply = (await user.SubmitAsync(Body, ("Prefer", "wait=30"), ("Idempotency-Key", "k"))).AssertStatus(HttpStatusCode.OK);
        Assert.Equal(("completed", "k"), ((string?)reply.Body["status"], (string?)reply.Body["clientKey"]));
        Assert.Equal((8L, 992L), ((long)reply.Body["creditsUsed"]!, (long)reply.Body["creditsLeft"]!));
        Assert.Equal(2, reply.Body["images"]!.AsArray().Count);
        foreach (var image in reply.Body["images"]!.AsArray())
        {
            using var http = new HttpClient();
            Assert.Equal(HttpStatusCode.OK, (await http.GetAsync((string?)image)).StatusCode);
        }

        var again = (await user.SubmitAsync(Body, ("Prefer", "respond-async, wait=30"), ("Idempotency-Key", "k"))).AssertStatus(HttpStatusCode.OK);
        Assert.Equal((reply.SessionId, true), (again.SessionId, again.IsReplay));
        Assert.Equal(1, await user.SessionsAsync());
    }

    [Theory]
    [InlineData("wait=0")]
    [InlineData("wait=1")]
    [InlineData("wait=-5")]
    [InlineData("wait=soon")]
    [InlineData("wait=99999999999999999999")]
    [InlineData("wait")]
    [InlineData("return=minimal")]
    public async Task Who_has_waited_long_enough_or_did_not_ask_sensibly_gets_202(string prefer)
    {
        var user = await (await ApiSystem.Queued).NewUserAsync();
        var reply = (await user.SubmitAsync(Body, ("Prefer", prefer))).AssertStatus(HttpStatusCode.Accepted);
        Assert.Equal("queued", (string?)reply.Body["status"]);
    }

    [Fact]
    public async Task Prefer_wait_ends_with_a_cancel()
    {
        var system = await ApiSystem.Queued;
        var user = await system.NewUserAsync();
        var waiting = user.SubmitAsync(Body, ("Prefer", "wait=30"));
        await system.UntilAsync($"EXISTS (SELECT FROM generation_sessions WHERE user_id = '{user.UserId}')");
        var id = await system.ScalarAsync<Guid>($"SELECT session_id FROM generation_sessions WHERE user_id = '{user.UserId}'");
        (await user.SendAsync(HttpMethod.Post, $"/api/generations/{id}/cancel")).AssertStatus(HttpStatusCode.OK);
        var reply = (await waiting).AssertStatus(HttpStatusCode.OK);
        Assert.Equal("canceled", (string?)reply.Body["status"]);
        Assert.Equal((0L, 1_000L), ((long)reply.Body["creditsUsed"]!, (long)reply.Body["creditsLeft"]!));
        Assert.Empty(reply.Body["images"]!.AsArray());
    }

    [Fact]
    public async Task Without_enqueue_first_the_aliases_wait_and_the_route_does_not()
    {
        await using var system = await TestSystem.StartAsync(o =>
        {
            o.Workers = 0;
            o.Settings["Mock:Enabled"] = "true";
            o.Settings["Api:EnqueueFirst"] = "false";
            o.Settings["Api:AliasWait"] = "00:00:03";
        });
        var user = await system.NewUserAsync();
        (await user.SubmitAsync(Body)).AssertStatus(HttpStatusCode.Accepted);
        var unserved = user.SendAsync(HttpMethod.Post, "/api/image/generate", """{"prompt":"x","size":"1K"}""");
        Assert.Equal("queued", (string?)(await unserved).AssertStatus(HttpStatusCode.Accepted).Body["status"]);

        await system.AddWorkerAsync();
        foreach (var path in new[] { "/api/images/seedream4/generate", "/api/image/generate" })
        {
            var reply = (await user.SendAsync(HttpMethod.Post, path, """{"prompt":"x","size":"1K"}""")).AssertStatus(HttpStatusCode.OK);
            Assert.Single(reply.Body["images"]!.AsArray());
            Assert.Equal(4, (long?)reply.Body["creditsUsed"]);
            Assert.NotNull(reply.Body["creditsLeft"]);
        }
    }
}
