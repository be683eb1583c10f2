using System.Net;
using Generation.Tests.Harness;

namespace Generation.Tests.Resilience;

/// <summary>Promises 1 and 2 when the Api dies: what was committed is there, and asking again finds it.</summary>
[Trait("tier", "process")]
public sealed class ApiCrashTests
{
    [Fact]
    public async Task An_Api_killed_after_the_commit_and_before_the_answer_has_accepted_and_a_repeat_finds_the_first_session()
    {
        TestSystemOptions options = null!;
        await using var system = await TestSystem.StartAsync(o => (options = o).Apis = 0);
        var api = await options.AsProcessAsync(system.AddApiAsync);
        using var first = system.Client(api);
        await using var commit = await StandStill.AtAsync(system, "AFTER INSERT ON outbox DEFERRABLE INITIALLY DEFERRED FOR EACH ROW");
        var lost = Enumerable.Range(0, 50).Select(i => PostAsync(system, first, i)).ToList();
        await commit.ReachedAsync();
        await api.PauseAsync(); // it will not see the commit
        await commit.LetGoAsync();
        await system.UntilAsync("SELECT count(*) > 0 FROM generation_sessions");
        await api.KillAsync();
        foreach (var post in lost)
        {
            await Assert.ThrowsAnyAsync<HttpRequestException>(() => post);
        }

        var committed = await system.ScalarAsync<string[]>("SELECT array_agg(session_id::text) FROM generation_sessions") ?? [];
        using var second = system.Client(await system.AddApiAsync());
        var answers = await Task.WhenAll(Enumerable.Range(0, 50).Select(i => PostAsync(system, second, i)));
        var ids = new List<Guid>();
        foreach (var answer in answers)
        {
            Assert.Equal(HttpStatusCode.Accepted, answer.StatusCode);
            var id = (Guid)(await TestSystem.ReadAsync(answer))["sessionId"]!;
            Assert.Equal(committed.Contains(id.ToString()), answer.Headers.Contains("Idempotent-Replayed"));
            ids.Add(id);
        }

        Assert.Equal(50, ids.Distinct().Count());
        Assert.Superset(committed.Select(Guid.Parse).ToHashSet(), ids.ToHashSet());
        Assert.All(await Task.WhenAll(ids.Select(id => system.EndOfAsync(id, second))), end => Assert.Equal("completed", (string?)end["status"]));
        Assert.Equal(50, await system.ScalarAsync<long>("SELECT count(*) FROM generation_sessions"));
        Assert.Equal(50, await system.Sim.PaidAsync("asked twice"));
        await system.AssertAllIsWellAsync();
    }

    private static Task<HttpResponseMessage> PostAsync(TestSystem system, HttpClient http, int number) =>
        system.PostAsync(new { model = "seedream-4", @params = new { prompt = $"asked twice {number}", size = "1K" } }, $"key-{number}", http);
}
