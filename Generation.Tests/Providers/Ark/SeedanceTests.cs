using Generation.Core.Media;
using Generation.Tests.Harness;
using Generation.Tests.Providers.Contract;

namespace Generation.Tests.Providers.Ark;

/// <summary>Videos end to end: a task is bought once, asked for until it ends, stored, and paid by its tokens.</summary>
[Trait("tier", "slow")]
public sealed class SeedanceTests(ProviderSystem providers) : IClassFixture<ProviderSystem>
{
    private readonly TestSystem system = providers.System;

    [Fact]
    public async Task A_prompt_becomes_a_video_that_is_paid_by_its_tokens()
    {
        var id = await system.SubmitAsync("seedance-2", new { prompt = "a boat crosses the bay", ratio = "16:9" });
        var end = await system.EndOfAsync(id);

        Assert.Equal("completed", (string?)end["status"]);
        var media = Assert.Single(end["media"]!.AsArray())!;
        Assert.Equal(("video", "video/mp4", 1280, 720), ((string?)media["kind"], (string?)media["contentType"], (int?)media["width"],
            (int?)media["height"]));
        Assert.Equal(121 / 24.0, (double)media["durationSeconds"]!, 3);
        var receipt = end["receipt"]!;
        Assert.Equal((100L, 100L, 108_900L), ((long?)receipt["held"], (long?)receipt["captured"], (long?)receipt["providerUsage"]!["total_tokens"]));
        Assert.Equal(0.7623m, await system.ScalarAsync<decimal>($"SELECT provider_usd FROM generation_sessions WHERE session_id = '{id}'"));
        using var stranger = new HttpClient();
        using var file = await stranger.GetAsync((string?)media["url"]);
        Assert.Equal(((long?)media["bytes"], "video/mp4"), (file.Content.Headers.ContentLength, file.Content.Headers.ContentType?.MediaType));
        Assert.Equal(1, await system.Sim.PaidAsync("crosses the bay"));
        await AssertAllIsWellAsync();
    }

    [Fact]
    public async Task A_user_cannot_change_by_flags_in_the_prompt_what_was_paid_for()
    {
        var end = await system.EndOfAsync(await system.SubmitAsync(
            "seedance-2", new { prompt = "long and sharp --dur 15 --rs 1080p --ratio 1:1", ratio = "16:9", duration = 4 }));

        Assert.Equal(87_300, (int?)end["receipt"]!["providerUsage"]!["total_tokens"]); // 1280 × 720 × 97 / 1024
        Assert.Equal((80, 80), ((int?)end["receipt"]!["held"], (int?)end["receipt"]!["captured"]));
    }

    [Fact]
    public async Task Five_questions_in_a_row_that_fail_open_the_breaker_and_the_task_is_still_found()
    {
        await using var own = await ProviderSystem.StartAsync(o => o.Settings["Worker:BreakDuration"] = "00:00:01");
        var end = await own.EndOfAsync(await own.SubmitAsync("seedance-2-fast", new { prompt = "away for long [fault=poll-error:times=6]" }));

        Assert.Equal(("completed", 0), ((string?)end["status"], (int?)end["attempt"]));
        Assert.Equal(1, await own.Sim.PaidAsync("away for long"));
    }

    [Fact]
    public async Task A_session_that_waits_longer_than_a_lease_is_left_alone_by_the_sweep()
    {
        var id = await system.SubmitAsync("seedance-2", new { prompt = "takes its time [latency=5000]" }); // a lease lasts 2 s here
        var end = await system.EndOfAsync(id);

        Assert.Equal(("completed", 0), ((string?)end["status"], (int?)end["attempt"]));
        Assert.Equal(0, await system.ScalarAsync<int>($"SELECT lost_leases FROM generation_sessions WHERE session_id = '{id}'"));
        Assert.Single(await system.CallsAsync("takes its time"));
    }

    [Fact]
    public async Task The_last_frame_is_kept_beside_the_video_when_it_is_asked_for_and_done_without_when_it_cannot_be_had()
    {
        var id = await system.SubmitAsync("seedance-2-mini",
            new { prompt = "to the last", ratio = "16:9", resolution = "480p", duration = 4, last_frame_poster = true });
        var media = Assert.Single((await system.EndOfAsync(id))["media"]!.AsArray())!;

        using var anyone = new HttpClient();
        using var still = await anyone.GetAsync((string?)media["posterUrl"]);
        Assert.Equal("image/png", still.Content.Headers.ContentType?.MediaType);
        var header = MediaStructure.Read(MediaType.Png, await still.Content.ReadAsByteArrayAsync());
        Assert.Equal((864, 496), (header.Width, header.Height));
        Assert.Null((await system.EndOfAsync(await system.SubmitAsync(
            "seedance-2-mini", new { prompt = "without", duration = 4 })))["media"]![0]!["posterUrl"]);
        await AssertAllIsWellAsync();
    }

    [Fact]
    public async Task A_mocked_session_yields_a_video()
    {
        await using var mocked = await TestSystem.StartAsync(o => o.Settings["Mock:Enabled"] = "true");
        var end = await mocked.EndOfAsync(await mocked.SubmitAsync("seedance-2", new { prompt = "x" }));

        Assert.Equal("completed", (string?)end["status"]);
        Assert.Equal("video/mp4", (string?)end["media"]![0]!["contentType"]);
        Assert.Equal(100, (int?)end["receipt"]!["captured"]); // nobody counted: the listed price
        await mocked.AssertBooksAreCleanAsync();
        await mocked.AssertMediaAreStoredAsync();
    }

    private async Task AssertAllIsWellAsync()
    {
        await system.AssertBooksAreCleanAsync();
        await system.AssertMediaAreStoredAsync();
    }
}
