using System.Net;
using Generation.Tests.Harness;

namespace Generation.Tests.Database;

/// <summary>
/// An operator, a proxy or a failover ends single connections while the database is available: no request is refused and no job delayed
/// because of it.
/// </summary>
[Trait("tier", "slow")]
public sealed class TerminatedBackendTests
{
    private const int Rounds = 40;

    [Theory]
    [InlineData("api")]
    [InlineData("relay")]
    [InlineData("worker")]
    public async Task A_backend_that_is_terminated_now_and_then_refuses_and_delays_nobody(string service)
    {
        await using var system = await TestSystem.StartAsync(o => o.Credits = 1_000_000);
        var body = new { model = "seedream-4", @params = new { prompt = "a steady hand", size = "1K" } };
        var terminated = 0;
        var answers = new List<HttpResponseMessage>();
        for (var round = 0; round < Rounds; round++)
        {
            var submits = Enumerable.Range(0, 2).Select(i => system.PostAsync(body, $"key-{round}-{i}")).ToList();
            var reads = Enumerable.Range(0, 2).Select(_ => system.Http.GetAsync(new Uri("/api/generations", UriKind.Relative))).ToList();
            terminated += await system.ScalarAsync<bool?>(
                $"""
                SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND backend_type = 'client backend' AND application_name ILIKE '%{service}%'
                ORDER BY random() LIMIT 1
                """) == true ? 1 : 0;
            answers.AddRange(await Task.WhenAll([.. submits, .. reads]));
        }

        Assert.True(terminated >= 3, $"{terminated} backends were terminated");
        Assert.True(answers.TrueForAll(answer => answer.StatusCode is HttpStatusCode.Accepted or HttpStatusCode.OK), system.Logs());
        await system.UntilAsync($"(SELECT count(*) FROM generation_sessions WHERE status = 'completed') = {2 * Rounds}");
        var longest = await system.ScalarAsync<double>(
            "SELECT extract(epoch FROM max(started_at - created_at))::double precision FROM generation_sessions");
        Assert.True(longest < 5, $"{longest} s until a worker began\n{system.Logs()}");
        await system.AssertBooksAreCleanAsync();
    }
}
