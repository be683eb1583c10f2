using System.Net;
using Generation.Tests.Harness;

namespace Generation.Tests.Jobs;

[Trait("tier", "slow")]
public sealed class PictureTests
{
    [Fact]
    public async Task A_prompt_becomes_a_picture_that_opens_by_its_signed_url()
    {
        await using var system = await TestSystem.StartAsync();
        var events = new List<SseEvent>();
        await foreach (var e in system.EventsAsync(await system.SubmitAsync("a lighthouse at dusk", n: 3)))
        {
            events.Add(e);
        }

        var end = events[^1].Data;
        Assert.Equal("snapshot", events[0].Name);
        Assert.Equal("done", events[^1].Name);
        Assert.Equal("completed", (string?)end["status"]);
        Assert.Equal(3, end["media"]!.AsArray().Count);
        Assert.Equal(12, (long?)end["receipt"]!["captured"]);
        Assert.Equal(3, (int?)end["receipt"]!["providerUsage"]!["generated_images"]);
        Assert.Equal(3, await system.Sim.PaidAsync("lighthouse"));
        using var stranger = new HttpClient();
        foreach (var media in end["media"]!.AsArray())
        {
            Assert.Equal(1024, (int?)media!["width"]);
            var picture = await stranger.GetAsync((string?)media["url"]);
            Assert.Equal(HttpStatusCode.OK, picture.StatusCode);
            Assert.Equal((long?)media["bytes"], (await picture.Content.ReadAsByteArrayAsync()).Length);
        }

        await system.AssertBooksAreCleanAsync();
        await system.AssertMediaAreStoredAsync();
    }

    [Fact]
    public async Task Two_of_each_service_share_the_work()
    {
        await using var system = await TestSystem.StartAsync(o => (o.Apis, o.Relays, o.Workers) = (2, 2, 2));
        using var other = system.Client(system.Apis[1]);
        var ids = await Task.WhenAll(Enumerable.Range(0, 60).Select(
            i => system.SubmitAsync($"picture {i} of many", http: i % 2 == 0 ? system.Http : other)));
        var ends = await Task.WhenAll(ids.Select((id, i) => system.EndOfAsync(id, i % 2 == 0 ? other : system.Http)));

        Assert.All(ends, end => Assert.Equal("completed", (string?)end["status"]));
        Assert.Equal(60, await system.Sim.PaidAsync("of many"));
        Assert.Equal(60, await system.ScalarAsync<long>("SELECT count(*) FROM media"));
        await system.UntilAsync("SELECT count(*) = 0 FROM outbox");
        await system.AssertBooksAreCleanAsync();
        await system.AssertMediaAreStoredAsync();
    }
}
