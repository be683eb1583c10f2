using System.Net;
using Generation.Tests.Faults;
using Generation.Tests.Harness;
using Generation.Tests.Providers.Contract;
using Generation.Tests.Resilience;

namespace Generation.Tests.Providers.Kie;

/// <summary>Kie end to end, without callbacks: tasks are bought once, asked for until they end, stored, and paid by what Kie counts.</summary>
public sealed class KiePipelineTests(ProviderSystem providers) : IClassFixture<ProviderSystem>
{
    private readonly TestSystem system = providers.System;

    [Fact]
    public async Task A_prompt_becomes_pictures_each_a_task_of_its_own()
    {
        var end = await system.EndOfAsync(await system.SubmitAsync("nano-banana", new { prompt = "three boats", n = 3, ratio = "16:9" }));

        Assert.Equal(("completed", 3), ((string?)end["status"], end["media"]!.AsArray().Count));
        Assert.All(end["media"]!.AsArray(), m => Assert.Equal(("image/jpeg", 1368, 768),
            ((string?)m!["contentType"], (int?)m["width"], (int?)m["height"])));
        Assert.Equal((12, 12), ((int?)end["receipt"]!["held"], (int?)end["receipt"]!["captured"]));
        Assert.Equal(12, (int?)end["receipt"]!["providerUsage"]!["creditsConsumed"]);
        Assert.Equal((3, 3), ((await system.CallsAsync("three boats")).Count, await system.Sim.PaidAsync("three boats")));
        await AssertAllIsWellAsync();
    }

    [Theory]
    [InlineData(false, 110, 55)]
    [InlineData(true, 110, 110)]
    public async Task A_video_is_paid_by_what_Kie_counts(bool sound, int held, int captured)
    {
        var end = await system.EndOfAsync(await system.SubmitAsync("kling-2.6", new { prompt = $"a boat, sound {sound}", generate_audio = sound }));

        var media = Assert.Single(end["media"]!.AsArray());
        Assert.Equal(("video", "video/mp4"), ((string?)media!["kind"], (string?)media["contentType"]));
        Assert.Equal(121 / 24.0, (double)media["durationSeconds"]!, 3);
        Assert.Equal((held, captured, held - captured), ((int?)end["receipt"]!["held"], (int?)end["receipt"]!["captured"],
            (int?)end["receipt"]!["adjusted"]));
        await AssertAllIsWellAsync();
    }

    [Fact]
    public async Task A_sound_has_the_listed_price_because_its_answers_have_no_count()
    {
        var end = await system.EndOfAsync(await system.SubmitAsync("sound-effect-2", new { prompt = "rain on a roof", duration = 2.5 }));

        var media = Assert.Single(end["media"]!.AsArray());
        Assert.Equal(("audio", "audio/mpeg"), ((string?)media!["kind"], (string?)media["contentType"]));
        Assert.Equal(3.0, (double)media["durationSeconds"]!, 0.05);
        Assert.Equal((6, 6), ((int?)end["receipt"]!["held"], (int?)end["receipt"]!["captured"]));
        await AssertAllIsWellAsync();
    }

    [Fact]
    public async Task Speech_is_paid_by_its_characters()
    {
        var text = "Good evening. 🌊" + new string('a', 285);
        var end = await system.EndOfAsync(await system.SubmitAsync("speech-multilingual-2", new { prompt = text, voice = "Rachel", speed = 1.0 }));

        var media = Assert.Single(end["media"]!.AsArray());
        Assert.Equal(("audio", "audio/mpeg"), ((string?)media!["kind"], (string?)media["contentType"]));
        Assert.Equal(21, (double)media["durationSeconds"]!, 0.05);
        Assert.Equal(300, (int?)end["receipt"]!["providerUsage"]!["characters"]); // a wave is one
        Assert.Equal((60, 4), ((int?)end["receipt"]!["held"], (int?)end["receipt"]!["captured"]));
        Assert.Equal(1, await system.Sim.PaidAsync("Good evening."));
        await AssertAllIsWellAsync();
    }

    [Fact]
    public async Task A_breakdown_of_which_Kie_does_not_say_that_it_was_free_is_not_tried_again()
    {
        // told of without creditsConsumed
        var end = await system.EndOfAsync(await system.SubmitAsync("sound-effect-2", new { prompt = "thunder [fault=image-500]" }));

        Assert.Equal(("failed", "provider_unavailable"), ((string?)end["status"], (string?)end["error"]?["code"]));
        Assert.Single(await system.CallsAsync("thunder"));
    }

    [Fact]
    public async Task Progress_and_states_of_a_task_are_seen_by_who_watches()
    {
        var events = await system.AllEventsAsync(await system.SubmitAsync("flux-2-pro", new { prompt = "seen [queued=500][latency=6000]" }));

        var percents = events.Where(e => e.Name == "progress").Select(e => (int)e.Data["percent"]!).ToList();
        Assert.True(percents.SequenceEqual(percents.Order()), string.Join(' ', percents));
        Assert.Contains(percents, percent => percent is > 20 and < 85);
        Assert.Equal("done", events[^1].Name);
    }

    [Fact]
    public async Task A_mocked_session_yields_a_sound()
    {
        await using var mocked = await TestSystem.StartAsync(o => o.Settings["Mock:Enabled"] = "true");
        var end = await mocked.EndOfAsync(await mocked.SubmitAsync("speech-multilingual-2", new { prompt = "x" }));

        var media = Assert.Single(end["media"]!.AsArray());
        Assert.Equal(("completed", "audio/mpeg"), ((string?)end["status"], (string?)media!["contentType"]));
        Assert.Equal(4.02, (double)media["durationSeconds"]!, 0.01);
        using var sample = await mocked.Http.GetAsync((string?)media["url"]);
        Assert.Equal((HttpStatusCode.OK, "audio/mpeg"), (sample.StatusCode, sample.Content.Headers.ContentType?.MediaType));
        await mocked.AssertBooksAreCleanAsync();
    }

    [Fact]
    [Trait("tier", "slow")]
    public async Task More_sessions_than_Kie_allows_in_ten_seconds_wait_their_turn_and_none_fails_or_counts_an_attempt()
    {
        await using var limited = await TestSystem.StartAsync(options =>
        {
            options.Workers = 2;
            options.Sim["Sim:KieCreationsPerWindow"] = "20";
            options.Settings["Providers:Kie:CreationsPerWindow"] = "20";
        });
        var ids = await Task.WhenAll(Enumerable.Range(0, 30).Select(n => limited.SubmitAsync("nano-banana", new { prompt = $"turn {n}" })));
        foreach (var id in ids)
        {
            var end = await limited.EndOfAsync(id);
            Assert.Equal(("completed", 0), ((string?)end["status"], (int?)end["attempt"]));
        }

        Assert.Equal((30, 30), ((await limited.CallsAsync("turn")).Count, await limited.Sim.PaidAsync("turn"))); // nobody was refused by Kie
        await limited.AssertAllIsWellAsync();
    }

    private async Task AssertAllIsWellAsync()
    {
        await system.AssertBooksAreCleanAsync();
        await system.AssertMediaAreStoredAsync();
    }
}
