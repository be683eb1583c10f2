using System.Net;
using Generation.Tests.Faults;
using Generation.Tests.Harness;
using Generation.Tests.Resilience;

namespace Generation.Tests.Providers.Kie;

/// <summary>Kie end to end, without callbacks: tasks are bought once, asked for until they end, stored, and paid by what Kie counts.</summary>
public sealed class KiePipelineTests(KiePipelineTests.KieSystem kie) : IClassFixture<KiePipelineTests.KieSystem>
{
    private readonly TestSystem system = kie.System;

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

    [Theory]
    [InlineData("moderation-input", "moderation_input", 1, 0)]
    [InlineData("unauthorized", "provider_unauthorized", 1, 0)]
    [InlineData("not-found", "provider_unauthorized", 1, 0)]
    [InlineData("disabled", "provider_unauthorized", 1, 0)]
    [InlineData("quota", "provider_quota_exhausted", 1, 0)]
    [InlineData("rate-limit", "provider_rate_limited", 2, 0)]
    [InlineData("server-error", "provider_unavailable", 4, 0)] // two attempts of two tries
    [InlineData("moderation-output", "moderation_output", 1, 0)]
    [InlineData("image-500", "provider_unavailable", 2, 0)] // the task failed and cost nothing: once more, and given up
    [InlineData("image-error", "provider_unavailable", 1, 0)] // code 501 is not tried again
    [InlineData("bad-gateway", "outcome_unknown", 1, 0)]
    [InlineData("malformed", "outcome_unknown", 1, 1)]
    [InlineData("no-task-id", "outcome_unknown", 1, 1)]
    [InlineData("timeout", "outcome_unknown", 1, 1)]
    [InlineData("cut-reply", "outcome_unknown", 1, 1)]
    [InlineData("poll-lost", "outcome_unknown", 1, 1)]
    [InlineData("empty-data", "output_unusable", 1, 1)]
    [InlineData("malformed-result", "output_unusable", 1, 1)]
    [InlineData("dead-url", "output_unusable", 1, 1)]
    [InlineData("wrong-type", "output_unusable", 1, 1)]
    [InlineData("oversized", "output_unusable", 1, 1)]
    [InlineData("cut-body", "provider_unavailable", 1, 1)] // fetched again, never bought again
    public async Task Every_failure_has_its_outcome_and_costs_the_user_nothing(string word, string code, int calls, int paid)
    {
        var name = $"picture of {word} ends here";
        var id = await system.SubmitAsync("flux-2-pro", new { prompt = $"{name} [fault={word}]" });
        var end = await system.EndOfAsync(id);

        Assert.Equal(("failed", code), ((string?)end["status"], (string?)end["error"]?["code"]));
        Assert.Equal((0, 5), ((int?)end["receipt"]!["captured"], (int?)end["receipt"]!["released"]));
        var made = await system.CallsAsync(name);
        Assert.Equal((calls, paid), (made.Count, made.Count(call => call.Paid)));
        Assert.Equal(code == "outcome_unknown" ? 1 : 0, await system.ScalarAsync<long>(
            $"SELECT count(*) FROM error_events WHERE session_id = '{id}' AND detail ? 'providerTaskId'"));
        await AssertAllIsWellAsync();
        // and the breaker is at nought again
        Assert.Equal("completed", (string?)(await system.EndOfAsync(
            await system.SubmitAsync("flux-2-pro", new { prompt = $"after {word}" })))["status"]);
    }

    [Fact]
    public async Task A_breakdown_of_which_Kie_does_not_say_that_it_was_free_is_not_tried_again()
    {
        // told of without creditsConsumed
        var end = await system.EndOfAsync(await system.SubmitAsync("sound-effect-2", new { prompt = "thunder [fault=image-500]" }));

        Assert.Equal(("failed", "provider_unavailable"), ((string?)end["status"], (string?)end["error"]?["code"]));
        Assert.Single(await system.CallsAsync("thunder"));
    }

    [Theory]
    [InlineData("poll-error:times=3")]
    [InlineData("poll-gateway:times=3")]
    [InlineData("poll-rate-limit:times=1")]
    [InlineData("poll-timeout:times=1")]
    [InlineData("poll-expired:times=2")] // a state that nobody knows
    public async Task A_question_that_fails_is_asked_again_and_costs_no_attempt(string fault)
    {
        var name = $"asked through {fault.Split(':')[0]}";
        var end = await system.EndOfAsync(await system.SubmitAsync("flux-2-pro", new { prompt = $"{name} [fault={fault}]" }));

        Assert.Equal(("completed", 0), ((string?)end["status"], (int?)end["attempt"]));
        Assert.Equal((1, 1), ((await system.CallsAsync(name)).Count, await system.Sim.PaidAsync(name)));
        await AssertAllIsWellAsync();
    }

    [Theory]
    [InlineData("server-error:times=1")]
    [InlineData("image-500:times=1")]
    [InlineData("rate-limit:times=1")]
    [InlineData("cut-body:times=1")]
    public async Task What_is_worth_another_try_gets_one_and_is_paid_once(string fault)
    {
        var name = $"better later {fault.Split(':')[0]}";
        var end = await system.EndOfAsync(await system.SubmitAsync("flux-2-pro", new { prompt = $"{name} [fault={fault}]" }));

        Assert.Equal("completed", (string?)end["status"]);
        Assert.Equal(1, await system.Sim.PaidAsync(name));
        await AssertAllIsWellAsync();
    }

    [Fact]
    public async Task One_output_that_is_refused_leaves_the_others_and_their_price()
    {
        var end = await system.EndOfAsync(await system.SubmitAsync(
            "nano-banana", new { prompt = "one of three [fault=moderation-output:times=1]", n = 3 }));

        Assert.Equal(("completed", 2), ((string?)end["status"], end["media"]!.AsArray().Count));
        Assert.Equal((12, 8), ((int?)end["receipt"]!["held"], (int?)end["receipt"]!["captured"]));
        await AssertAllIsWellAsync();
    }

    [Fact]
    public async Task A_cancel_gives_up_a_running_task_and_the_operator_still_pays_for_it()
    {
        var id = await system.SubmitAsync("kling-2.6", new { prompt = "not wanted [latency=600000]" });
        await system.UntilAsync($"SELECT phase = 'awaiting_provider' FROM generation_sessions WHERE session_id = '{id}'");
        using var answer = await system.Http.PostAsync($"/api/generations/{id}/cancel", null);

        Assert.Equal(HttpStatusCode.Accepted, answer.StatusCode);
        var end = await system.EndOfAsync(id);
        Assert.Equal(("canceled", 110, 0), ((string?)end["status"], (int?)end["receipt"]!["released"], end["media"]!.AsArray().Count));
        await AssertAllIsWellAsync();
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

    public sealed class KieSystem : IAsyncLifetime
    {
        public TestSystem System { get; private set; } = null!;

        public async ValueTask InitializeAsync() => System = await TestSystem.StartAsync(options =>
        {
            options.Credits = 100_000;
            options.Settings["Worker:MaxAttempts"] = "2";
            options.Settings["Media:MaxImageDownloadBytes"] = "200000";
            options.Settings["Providers:Kie:CallTimeout"] = "00:00:02";
        });

        public ValueTask DisposeAsync() => System.DisposeAsync();
    }
}
