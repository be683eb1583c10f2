using System.Net;
using Generation.Tests.Harness;

namespace Generation.Tests.Api;

/// <summary>Who submits too much is told so, and when to come again; what was accepted before is still answered.</summary>
public sealed class RateLimitTests
{
    [Fact]
    public async Task A_key_over_its_limit_is_refused_until_the_next_minute_and_others_are_not()
    {
        await using var system = await StartAsync(("RateLimits:KeyPerMinute", "3"));
        var (busy, other) = (await system.NewUserAsync(), await system.NewUserAsync());
        await WithinAMinuteAsync();
        var first = ("Idempotency-Key", Guid.NewGuid().ToString());
        var accepted = (await busy.SubmitAsync(Body, first)).AssertStatus(HttpStatusCode.Accepted);
        Assert.Equal("\"key\";q=3;w=60", accepted.Headers.GetValues("RateLimit-Policy").Single());
        Assert.StartsWith("\"key\";r=2;t=", accepted.Headers.GetValues("RateLimit").Single(), StringComparison.Ordinal);
        (await busy.SubmitAsync(Body)).AssertStatus(HttpStatusCode.Accepted);
        (await busy.SubmitAsync("""{"model":"seedream-4","params":{}}""")).AssertProblem(HttpStatusCode.BadRequest, "validation_failed"); // counts too

        var refused = (await busy.SubmitAsync(Body)).AssertProblem(HttpStatusCode.TooManyRequests, "rate_limited");
        Assert.InRange(refused.Headers.RetryAfter!.Delta!.Value, TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(60));
        Assert.StartsWith("\"key\";r=0;t=", refused.Headers.GetValues("RateLimit").Single(), StringComparison.Ordinal);
        Assert.Equal(2, await busy.SessionsAsync());
        (await other.SubmitAsync(Body)).AssertStatus(HttpStatusCode.Accepted);

        // What was accepted is answered again, limit or not.
        var again = (await busy.SubmitAsync(Body, first)).AssertStatus(HttpStatusCode.Accepted);
        Assert.Equal((accepted.SessionId, true), (again.SessionId, again.IsReplay));
    }

    [Fact]
    public async Task Of_many_that_come_at_once_exactly_as_many_as_are_left_get_in()
    {
        await using var system = await StartAsync(("RateLimits:KeyPerMinute", "25"));
        var user = await system.NewUserAsync();
        await WithinAMinuteAsync();
        var answers = await Task.WhenAll(Enumerable.Range(0, 80).Select(_ => user.SubmitAsync(Body)));
        Assert.Equal((25, 55), (answers.Count(a => a.Status == HttpStatusCode.Accepted), answers.Count(a => a.Code == "rate_limited")));
    }

    [Fact]
    public async Task Without_a_limit_none_is_announced()
    {
        await using var system = await StartAsync(("RateLimits:KeyPerMinute", "0"), ("RateLimits:GlobalPerMinute", "0"));
        var accepted = (await (await system.NewUserAsync()).SubmitAsync(Body)).AssertStatus(HttpStatusCode.Accepted);
        Assert.False(accepted.Headers.Contains("RateLimit") || accepted.Headers.Contains("RateLimit-Policy"));
    }

    [Fact]
    public async Task Two_Apis_count_together_and_one_without_Redis_goes_on_by_itself()
    {
        await using var system = await TestSystem.StartAsync(o =>
        {
            (o.Workers, o.Apis, o.OwnRedis) = (0, 2, true);
            o.Settings["RateLimits:KeyPerMinute"] = "10";
        });
        var user = await system.NewUserAsync();
        await WithinAMinuteAsync();
        for (var i = 0; i < 5; i++)
        {
            (await user.SubmitAsync(Body)).AssertStatus(HttpStatusCode.Accepted);
        }

        var elsewhere = user.At(1);
        for (var tries = 0; ; tries++) // the other has heard of the five
        {
            var answer = (await elsewhere.SubmitAsync("""{"model":"no-such-model","params":{}}""")).Headers.GetValues("RateLimit").Single();
            if (answer.StartsWith($"\"key\";r={10 - 5 - tries - 1};", StringComparison.Ordinal))
            {
                break;
            }

            Assert.True(tries < 3, answer);
            await Task.Delay(TimeSpan.FromMilliseconds(400), TimeProvider.System, TestContext.Current.CancellationToken);
        }

        await system.Redis.KillAsync();
        (await user.SubmitAsync(Body)).AssertStatus(HttpStatusCode.Accepted); // submits need no Redis
        for (var i = 0; i < 10; i++)
        {
            await user.SubmitAsync(Body);
        }

        (await user.SubmitAsync(Body)).AssertProblem(HttpStatusCode.TooManyRequests, "rate_limited");
    }

    [Fact]
    public async Task The_service_has_a_limit_of_its_own()
    {
        await using var system = await StartAsync(("RateLimits:KeyPerMinute", "0"), ("RateLimits:GlobalPerMinute", "2"));
        await WithinAMinuteAsync();
        (await (await system.NewUserAsync()).SubmitAsync(Body)).AssertStatus(HttpStatusCode.Accepted);
        (await (await system.NewUserAsync()).SubmitAsync(Body)).AssertStatus(HttpStatusCode.Accepted);
        var refused = (await (await system.NewUserAsync()).SubmitAsync(Body)).AssertProblem(HttpStatusCode.TooManyRequests, "rate_limited");
        Assert.Equal("global", (string?)refused.Body["policy"]);
    }

    [Fact]
    public async Task A_user_has_only_so_many_open_sessions_also_when_they_come_at_once()
    {
        await using var system = await StartAsync(("Submit:OutstandingPerUser", "5"));
        var user = await system.NewUserAsync();
        var answers = await Task.WhenAll(Enumerable.Range(0, 12).Select(_ => user.SubmitAsync(Body)));
        Assert.Equal(5, answers.Count(a => a.Status == HttpStatusCode.Accepted));
        foreach (var refused in answers.Where(a => a.Status != HttpStatusCode.Accepted))
        {
            refused.AssertProblem(HttpStatusCode.TooManyRequests, "too_many_sessions");
            Assert.Equal(TimeSpan.FromSeconds(5), refused.Headers.RetryAfter!.Delta);
        }

        Assert.Equal(5, await user.SessionsAsync());
        var one = answers.First(a => a.Status == HttpStatusCode.Accepted).SessionId;
        (await user.SendAsync(HttpMethod.Post, $"/api/generations/{one}/cancel")).AssertStatus(HttpStatusCode.OK);
        (await user.SubmitAsync(Body)).AssertStatus(HttpStatusCode.Accepted);
        await system.AssertBooksAreCleanAsync();
    }

    private const string Body = """{"model":"seedream-4","params":{"prompt":"one of many","size":"1K"}}""";

    private static Task<TestSystem> StartAsync(params (string Key, string Value)[] settings) => TestSystem.StartAsync(o =>
    {
        o.Workers = 0;
        foreach (var (key, value) in settings)
        {
            o.Settings[key] = value;
        }
    });

    /// <summary>The windows are the clock's minutes: begins one when the current is about to end.</summary>
    private static async Task WithinAMinuteAsync()
    {
        var left = 60 - (TimeProvider.System.GetUtcNow().ToUnixTimeMilliseconds() / 1000.0 % 60);
        if (left < 20)
        {
            await Task.Delay(TimeSpan.FromSeconds(left), TimeProvider.System, TestContext.Current.CancellationToken);
        }
    }
}
