using System.Net;
using Generation.Tests.Harness;

namespace Generation.Tests.Providers;

[Trait("tier", "slow")]
public sealed class MockTests
{
    [Fact]
    public async Task A_mocked_session_runs_the_whole_pipeline()
    {
        await using var system = await TestSystem.StartAsync(o => o.Settings["Mock:Enabled"] = "true");
        var id = await system.SubmitAsync("a lighthouse", n: 2);
        var events = new List<SseEvent>();
        await foreach (var e in system.EventsAsync(id))
        {
            events.Add(e);
        }

        var end = events[^1];
        Assert.Equal("done", end.Name);
        Assert.Equal("completed", (string?)end.Data["status"]);
        Assert.Equal(2, end.Data["media"]!.AsArray().Count);
        Assert.Equal(8, (long?)end.Data["receipt"]!["captured"]);
        var picture = await system.Http.GetAsync((string?)end.Data["media"]![0]!["url"]);
        Assert.Equal(HttpStatusCode.OK, picture.StatusCode);
        Assert.Equal("image/jpeg", picture.Content.Headers.ContentType?.MediaType);
        await system.AssertBooksAreCleanAsync();
        await system.AssertMediaAreStoredAsync();
    }
}
