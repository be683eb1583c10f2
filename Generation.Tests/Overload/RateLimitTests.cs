using System.Collections.Concurrent;
using System.Globalization;
using System.Net;
using Generation.Api.Overload;
using Generation.Tests.Harness;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Time.Testing;

namespace Generation.Tests.Overload;

/// <summary>Who submits too much is told so, and when to come again; what was accepted before is still answered.</summary>
[Trait("tier", "slow")]
public sealed class RateLimitTests
{
    private readonly ClockWithoutTimers clock = new();

    [Fact]
    public async Task A_key_over_its_limit_is_refused_until_there_is_room_for_one_and_others_are_not()
    {
        await using var system = await StartAsync(("RateLimits:KeyPerMinute", "3"));
        var (busy, other) = (await system.NewUserAsync(), await system.NewUserAsync());
        var first = ("Idempotency-Key", Guid.NewGuid().ToString());
        var accepted = (await busy.SubmitAsync(Body, first)).AssertStatus(HttpStatusCode.Accepted);
        Assert.Equal("\"key\";q=3;w=60", accepted.Headers.GetValues("RateLimit-Policy").Single());
        Assert.Equal("\"key\";r=2;t=20", accepted.Headers.GetValues("RateLimit").Single());
        (await busy.SubmitAsync(Body)).AssertStatus(HttpStatusCode.Accepted);
        // counts too
        (await busy.SubmitAsync("""{"model":"seedream-4","params":{}}""")).AssertProblem(HttpStatusCode.BadRequest, "validation_failed");

        var turkish = (await busy.SubmitAsync(Body, ("Accept-Language", "tr"))).AssertProblem(HttpStatusCode.TooManyRequests, "rate_limited");
        Assert.StartsWith("Bu anahtar dakikada 3 istek kabul eder.", (string?)turkish.Body["detail"], StringComparison.Ordinal);
        var refused = (await busy.SubmitAsync(Body)).AssertProblem(HttpStatusCode.TooManyRequests, "rate_limited");
        Assert.Equal(TimeSpan.FromSeconds(20), refused.Headers.RetryAfter!.Delta); // 3 a minute
        Assert.Equal("\"key\";r=0;t=20", refused.Headers.GetValues("RateLimit").Single());
        Assert.Equal(2, await busy.SessionsAsync());
        (await other.SubmitAsync(Body)).AssertStatus(HttpStatusCode.Accepted);

        // What was accepted is answered again, limit or not.
        var again = (await busy.SubmitAsync(Body, first)).AssertStatus(HttpStatusCode.Accepted);
        Assert.Equal((accepted.SessionId, true), (again.SessionId, again.IsReplay));

        clock.Advance(TimeSpan.FromSeconds(19.9));
        (await busy.SubmitAsync(Body)).AssertProblem(HttpStatusCode.TooManyRequests, "rate_limited");
        clock.Advance(TimeSpan.FromSeconds(0.1));
        (await busy.SubmitAsync(Body)).AssertStatus(HttpStatusCode.Accepted);
        (await busy.SubmitAsync(Body)).AssertProblem(HttpStatusCode.TooManyRequests, "rate_limited");
        clock.Advance(TimeSpan.FromHours(1)); // no more than the limit is saved up
        var answers = await Task.WhenAll(Enumerable.Range(0, 6).Select(_ => busy.SubmitAsync(Body)));
        Assert.Equal(3, answers.Count(a => a.Status == HttpStatusCode.Accepted));
    }

    [Fact]
    public async Task Of_many_that_come_at_once_exactly_as_many_as_are_left_get_in()
    {
        await using var system = await StartAsync(("RateLimits:KeyPerMinute", "25"));
        var user = await system.NewUserAsync();
        var answers = await Task.WhenAll(Enumerable.Range(0, 80).Select(_ => user.SubmitAsync(Body)));
        Assert.Equal((25, 55), (answers.Count(a => a.Status == HttpStatusCode.Accepted), answers.Count(a => a.Code == "rate_limited")));
    }

    [Fact]
    public async Task In_a_flood_of_refusals_everybody_who_was_accepted_before_is_still_answered_as_then()
    {
        await using var system = await StartAsync(("RateLimits:KeyPerMinute", "10"));
        var user = await system.NewUserAsync();
        var keys = Enumerable.Range(0, 10).Select(i => ("Idempotency-Key", $"accepted-{i}")).ToList();
        var accepted = await Task.WhenAll(keys.Select(key => user.SubmitAsync(Body, key)));
        var strangers = Enumerable.Range(0, 60).Select(i => user.SubmitAsync(Body, ("Idempotency-Key", $"late-{i}"))).ToList();
        var again = await Task.WhenAll(keys.Select(key => user.SubmitAsync(Body, key)));
        Assert.Equal(accepted.Select(a => (a.SessionId, true)), again.Select(a => (a.SessionId, a.IsReplay)));
        Assert.All(await Task.WhenAll(strangers), answer => Assert.Equal("rate_limited", answer.Code));
        Assert.Equal("idempotency_key_reused", (await user.SubmitAsync(Body.Replace("}}", ",\"n\":2}}", StringComparison.Ordinal), keys[0])).Code);
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
        for (var i = 0; i < 5; i++)
        {
            (await user.SubmitAsync(Body)).AssertStatus(HttpStatusCode.Accepted);
        }

        var elsewhere = user.At(1);
        for (var tries = 0; ; tries++) // the other has heard of the five; one of them may have drained meanwhile
        {
            var answer = (await elsewhere.SubmitAsync("""{"model":"no-such-model","params":{}}""")).Headers.GetValues("RateLimit").Single();
            if (answer.Split(';', '=')[2] is var left && int.Parse(left, CultureInfo.InvariantCulture) <= 10 - 5 - tries)
            {
                break;
            }

            Assert.True(tries < 3, answer);
            await Task.Delay(TimeSpan.FromMilliseconds(400), TimeProvider.System, TestContext.Current.CancellationToken);
        }

        await system.Redis.KillAsync();
        (await user.SubmitAsync(Body)).AssertStatus(HttpStatusCode.Accepted); // submits need no Redis
        var more = new List<Reply>();
        while (more is not [.., { Status: HttpStatusCode.TooManyRequests }])
        {
            more.Add(await user.SubmitAsync(Body));
            Assert.True(more.Count < 30, "It goes on without a limit.");
        }
    }

    [Fact]
    public async Task The_service_has_a_limit_of_its_own()
    {
        await using var system = await StartAsync(("RateLimits:KeyPerMinute", "0"), ("RateLimits:GlobalPerMinute", "2"));
        (await (await system.NewUserAsync()).SubmitAsync(Body)).AssertStatus(HttpStatusCode.Accepted);
        (await (await system.NewUserAsync()).SubmitAsync(Body)).AssertStatus(HttpStatusCode.Accepted);
        var refused = (await (await system.NewUserAsync()).SubmitAsync(Body)).AssertProblem(HttpStatusCode.TooManyRequests, "rate_limited");
        Assert.Equal("global", (string?)refused.Body["policy"]);
    }

    [Fact]
    public async Task Of_a_flood_what_the_limit_allows_is_stored_the_rest_is_told_when_to_come_and_may_come_then()
    {
        const int Limit = 120;
        await using var system = await TestSystem.StartAsync(o =>
            (o.Workers, o.Settings["RateLimits:KeyPerMinute"], o.Settings["RateLimits:GlobalPerMinute"]) = (0, "0", $"{Limit}"));
        var user = await system.NewUserAsync();
        var started = TimeProvider.System.GetTimestamp();
        var answers = new ConcurrentBag<Reply>();
        await Parallel.ForEachAsync(Enumerable.Range(0, 5 * Limit), new ParallelOptions { MaxDegreeOfParallelism = 16 }, async (_, _) => answers.Add(
            await user.SubmitAsync(Body)));

        var accepted = answers.Count(a => a.Status == HttpStatusCode.Accepted);
        Assert.InRange(accepted, Limit, Limit + 1 + (TimeProvider.System.GetElapsedTime(started).TotalSeconds * Limit / 60));
        var refused = answers.Where(a => a.Status != HttpStatusCode.Accepted).ToList();
        Assert.All(refused, a => a.AssertProblem(HttpStatusCode.TooManyRequests, "rate_limited"));
        Assert.All(refused, a => Assert.Equal(TimeSpan.FromSeconds(1), a.Headers.RetryAfter!.Delta));
        Assert.Equal(accepted, await user.SessionsAsync());

        await Task.Delay(TimeSpan.FromSeconds(1), TimeProvider.System, TestContext.Current.CancellationToken);
        (await user.SubmitAsync(Body)).AssertStatus(HttpStatusCode.Accepted);
        await system.AssertBooksAreCleanAsync();
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

    private Task<TestSystem> StartAsync(params (string Key, string Value)[] settings) => TestSystem.StartAsync(o =>
    {
        o.Workers = 0;
        o.Api = services => services.Replace(ServiceDescriptor.Singleton(s => ActivatorUtilities.CreateInstance<RateLimits>(s, clock)));
        foreach (var (key, value) in settings)
        {
            o.Settings[key] = value;
        }
    });

    /// <summary>Its timers do not ring even when it is moved past them: the Api would tell Redis, whose clock has not moved.</summary>
    private sealed class ClockWithoutTimers : FakeTimeProvider
    {
        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period) =>
            base.CreateTimer(callback, state, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }
}
