using System.Net;
using System.Net.Http.Json;
using System.Text.Json.Nodes;
using Generation.Core.Media;
using Generation.Tests.Faults;
using Generation.Tests.Harness;

namespace Generation.Tests.Providers.Ark;

/// <summary>Videos end to end: a task is bought once, asked for until it ends, stored, and paid by its tokens.</summary>
public sealed class SeedanceTests(SeedanceTests.VideoSystem videos) : IClassFixture<SeedanceTests.VideoSystem>
{
    private readonly TestSystem system = videos.System;

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

    [Theory]
    [InlineData("moderation-input", "moderation_input", 1, 0)]
    [InlineData("forbidden", "provider_unauthorized", 1, 0)]
    [InlineData("quota", "provider_quota_exhausted", 1, 0)]
    [InlineData("moderation-output", "moderation_output", 1, 0)]
    [InlineData("image-500", "provider_unavailable", 2, 0)] // the task failed and was not billed: once more, and given up
    [InlineData("rate-limit", "provider_rate_limited", 2, 0)]
    [InlineData("server-error", "outcome_unknown", 1, 0)] // in Ark's words, but a task may be queued all the same
    [InlineData("server-error-paid", "outcome_unknown", 1, 1)]
    [InlineData("bad-gateway", "outcome_unknown", 1, 0)]
    [InlineData("malformed", "outcome_unknown", 1, 1)]
    [InlineData("timeout", "outcome_unknown", 1, 1)]
    [InlineData("cut-reply", "outcome_unknown", 1, 1)]
    [InlineData("poll-lost", "outcome_unknown", 1, 1)]
    [InlineData("empty-data", "output_unusable", 1, 1)]
    [InlineData("dead-url", "output_unusable", 1, 1)]
    [InlineData("wrong-type", "output_unusable", 1, 1)]
    [InlineData("oversized", "output_unusable", 1, 1)]
    [InlineData("cut-body", "provider_unavailable", 1, 1)] // fetched again, never bought again
    public async Task Every_failure_has_its_outcome_and_costs_the_user_nothing(string word, string code, int calls, int paid)
    {
        var name = $"video of {word} ends here";
        var id = await system.SubmitAsync("seedance-2-fast", new { prompt = $"{name} [fault={word}]", duration = 4 });
        var end = await system.EndOfAsync(id);

        Assert.Equal(("failed", code), ((string?)end["status"], (string?)end["error"]?["code"]));
        Assert.Equal((0, 64), ((int?)end["receipt"]!["captured"], (int?)end["receipt"]!["released"]));
        var made = await system.CallsAsync(name);
        Assert.Equal((calls, paid), (made.Count, made.Count(call => call.Paid)));
        Assert.Equal(code == "outcome_unknown" ? 1 : 0, await system.ScalarAsync<long>(
            $"SELECT count(*) FROM error_events WHERE session_id = '{id}' AND detail ? 'providerTaskId'"));
        await AssertAllIsWellAsync();
        // and the breaker is at nought again
        Assert.Equal("completed", (string?)(await system.EndOfAsync(
            await system.SubmitAsync("seedance-2-fast", new { prompt = $"after {word}" })))["status"]);
    }

    [Theory]
    [InlineData("poll-error:times=3")]
    [InlineData("poll-gateway:times=3")]
    [InlineData("poll-rate-limit:times=3")]
    [InlineData("poll-timeout:times=1")]
    public async Task A_question_that_fails_is_asked_again_and_costs_no_attempt(string fault)
    {
        var name = $"asked through {fault.Split(':')[0]}";
        var end = await system.EndOfAsync(await system.SubmitAsync("seedance-2-fast", new { prompt = $"{name} [fault={fault}]" }));

        Assert.Equal(("completed", 0), ((string?)end["status"], (int?)end["attempt"]));
        Assert.Equal((1, 1), ((await system.CallsAsync(name)).Count, await system.Sim.PaidAsync(name)));
        await AssertAllIsWellAsync();
    }

    [Fact]
    public async Task A_download_that_breaks_off_once_is_fetched_again_and_no_second_task_is_made()
    {
        var end = await system.EndOfAsync(await system.SubmitAsync("seedance-2-fast", new { prompt = "torn once [fault=cut-body:times=1]" }));

        Assert.Equal("completed", (string?)end["status"]);
        Assert.Equal((1, 1), ((await system.CallsAsync("torn once")).Count, await system.Sim.PaidAsync("torn once")));
        await AssertAllIsWellAsync();
    }

    [Fact]
    public async Task Five_questions_in_a_row_that_fail_open_the_breaker_and_the_task_is_still_found()
    {
        await using var own = await StartAsync(o => o.Settings["Worker:BreakDuration"] = "00:00:01");
        var end = await own.EndOfAsync(await own.SubmitAsync("seedance-2-fast", new { prompt = "away for long [fault=poll-error:times=6]" }));

        Assert.Equal(("completed", 0), ((string?)end["status"], (int?)end["attempt"]));
        Assert.Equal(1, await own.Sim.PaidAsync("away for long"));
    }

    [Theory]
    [InlineData("[queued=600000]", "cancelled")]
    [InlineData("[latency=600000]", "running")] // Ark refuses, and will bill it
    public async Task A_cancel_takes_a_queued_task_back_and_gives_up_a_running_one(string words, string status)
    {
        var id = await system.SubmitAsync("seedance-2", new { prompt = $"not wanted {words}" });
        await system.UntilAsync($"SELECT phase = 'awaiting_provider' FROM generation_sessions WHERE session_id = '{id}'");
        using var answer = await system.Http.PostAsync($"/api/generations/{id}/cancel", null);

        Assert.Equal(HttpStatusCode.Accepted, answer.StatusCode);
        var end = await system.EndOfAsync(id);
        Assert.Equal(("canceled", 100), ((string?)end["status"], (int?)end["receipt"]!["released"]));
        using var ark = new HttpClient { BaseAddress = system.Sim.Address, DefaultRequestHeaders = { Authorization = new("Bearer", "sim-ark-key") } };
        var taskId = await system.ScalarAsync<string>($"SELECT task_id FROM provider_tasks WHERE session_id = '{id}'");
        Assert.Equal(status, (string?)(await ark.GetFromJsonAsync<JsonObject>($"/api/v3/contents/generations/tasks/{taskId}"))!["status"]);
        await AssertAllIsWellAsync();
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
        var header = MediaHeader.Read(MediaType.Png, await still.Content.ReadAsByteArrayAsync());
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

    private static Task<TestSystem> StartAsync(Action<TestSystemOptions>? configure = null) => TestSystem.StartAsync(options =>
    {
        options.Credits = 100_000;
        options.Settings["Worker:MaxAttempts"] = "2";
        options.Settings["Media:MaxRemoteDownloadBytes"] = "1000000";
        options.Settings["Providers:Ark:VideoCallTimeout"] = "00:00:02";
        configure?.Invoke(options);
    });

    public sealed class VideoSystem : IAsyncLifetime
    {
        public TestSystem System { get; private set; } = null!;

        public async ValueTask InitializeAsync() => System = await StartAsync();

        public ValueTask DisposeAsync() => System.DisposeAsync();
    }
}
