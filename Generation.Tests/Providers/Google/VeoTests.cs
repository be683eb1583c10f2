using System.Net;
using Generation.Tests.Faults;
using Generation.Tests.Harness;

namespace Generation.Tests.Providers.Google;

/// <summary>
/// Veo end to end: an operation is begun once, asked for until it is done, its file fetched over a redirect, and paid by the second.
/// </summary>
public sealed class VeoTests(VeoTests.VideoSystem videos) : IClassFixture<VeoTests.VideoSystem>
{
    private readonly TestSystem system = videos.System;

    [Fact]
    public async Task A_prompt_becomes_a_video_that_is_paid_by_its_seconds()
    {
        var id = await system.SubmitAsync("veo-3.1", new { prompt = "a veo boat", resolution = "1080p", ratio = "9:16", negative_prompt = "birds" });
        var end = await system.EndOfAsync(id);

        Assert.Equal("completed", (string?)end["status"]);
        var media = Assert.Single(end["media"]!.AsArray())!;
        Assert.Equal(("video/mp4", 1080, 1920), ((string?)media["contentType"], (int?)media["width"], (int?)media["height"]));
        Assert.Equal((424, 424, 8), ((int?)end["receipt"]!["held"], (int?)end["receipt"]!["captured"],
            (int?)end["receipt"]!["providerUsage"]!["seconds"]));
        Assert.Equal(3.2m, await system.ScalarAsync<decimal>($"SELECT provider_usd FROM generation_sessions WHERE session_id = '{id}'"));
        Assert.Equal(1, await system.Sim.PaidAsync("a veo boat"));
        await AssertAllIsWellAsync();
    }

    [Theory]
    [InlineData("veo-3.1", "1080p", 4, "must be 8")] // more than 720p is only to be had for eight seconds
    [InlineData("veo-3.1", "720p", 5, "must be one of 4, 6, 8")]
    [InlineData("sora-2", "720p", 6, "must be one of 4, 8, 12")]
    public async Task A_length_that_is_not_to_be_had_is_refused_by_name(string model, string resolution, int duration, string why)
    {
        using var refused = await system.PostAsync(new { model, @params = new { prompt = "p", resolution, duration } }, Guid.NewGuid().ToString());
        var answer = await TestSystem.ReadAsync(refused);
        Assert.Equal(HttpStatusCode.BadRequest, refused.StatusCode);
        Assert.Contains(why, (string?)answer["errors"]!["params.duration"]![0], StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("moderation-input", "moderation_input", 1, 0)]
    [InlineData("image-error", "moderation_input", 1, 0)] // the operation ends with the refusal
    [InlineData("moderation-output", "moderation_output", 1, 0)] // the filter took it
    [InlineData("unauthorized", "provider_unauthorized", 1, 0)]
    [InlineData("forbidden", "provider_unauthorized", 1, 0)]
    [InlineData("not-found", "provider_unauthorized", 1, 0)]
    [InlineData("quota", "provider_quota_exhausted", 1, 0)]
    [InlineData("overdue", "provider_quota_exhausted", 1, 0)]
    [InlineData("rate-limit", "provider_rate_limited", 2, 0)]
    [InlineData("rate-limit][wrap=array", "provider_rate_limited", 2, 0)]
    [InlineData("image-500", "provider_unavailable", 2, 0)]
    [InlineData("bad-gateway", "outcome_unknown", 1, 0)]
    [InlineData("malformed", "outcome_unknown", 1, 1)]
    [InlineData("timeout", "outcome_unknown", 1, 1)]
    [InlineData("cut-reply", "outcome_unknown", 1, 1)]
    [InlineData("poll-lost", "outcome_unknown", 1, 1)]
    [InlineData("empty-data", "output_unusable", 1, 1)]
    [InlineData("dead-url", "output_unusable", 1, 1)]
    [InlineData("wrong-type", "output_unusable", 1, 1)]
    [InlineData("oversized", "output_unusable", 1, 1)]
    [InlineData("redirect-private", "output_unusable", 1, 1)]
    [InlineData("cut-body", "provider_unavailable", 1, 1)]
    public async Task Every_failure_has_its_outcome_and_costs_the_user_nothing(string word, string code, int calls, int paid)
    {
        var name = $"veo of {word.Split(']')[0]} {word.Length} ends here";
        var id = await system.SubmitAsync("veo-3.1-fast", new { prompt = $"{name} [fault={word}]", duration = 4 });
        var end = await system.EndOfAsync(id);

        Assert.Equal(("failed", code), ((string?)end["status"], (string?)end["error"]?["code"]));
        Assert.Equal((0, 64), ((int?)end["receipt"]!["captured"], (int?)end["receipt"]!["released"]));
        var made = await system.CallsAsync(name);
        Assert.Equal((calls, paid), (made.Count, made.Count(call => call.Paid)));
        Assert.Equal(code == "outcome_unknown" ? 1 : 0, await system.ScalarAsync<long>(
            $"SELECT count(*) FROM error_events WHERE session_id = '{id}' AND detail ? 'providerTaskId'"));
        await AssertAllIsWellAsync();
        Assert.Equal("completed", (string?)(await system.EndOfAsync(
            await system.SubmitAsync("veo-3.1-fast", new { prompt = $"after {name.Length} {word.Split(']')[0]}" })))["status"]);
    }

    [Theory]
    [InlineData("poll-error:times=3")]
    [InlineData("poll-error:times=2][wrap=array")]
    [InlineData("poll-gateway:times=2")]
    [InlineData("poll-rate-limit:times=2")]
    [InlineData("redirect")]
    [InlineData("redirect-host")] // to a host on the list, which refuses whoever brings the key along
    public async Task What_passes_costs_no_attempt(string fault)
    {
        var name = $"veo through {fault.Split(']')[0]} {fault.Length}";
        var end = await system.EndOfAsync(await system.SubmitAsync("veo-3.1-fast", new { prompt = $"{name} [fault={fault}]" }));
        Assert.Equal(("completed", 0), ((string?)end["status"], (int?)end["attempt"]));
        Assert.Equal((1, 1), ((await system.CallsAsync(name)).Count, await system.Sim.PaidAsync(name)));
        await AssertAllIsWellAsync();
    }

    [Fact]
    public async Task An_operation_that_fails_once_is_followed_by_another()
    {
        var end = await system.EndOfAsync(await system.SubmitAsync("veo-3.1-fast", new { prompt = "second try [fault=image-500:times=1]" }));
        Assert.Equal("completed", (string?)end["status"]);
        Assert.Equal((2, 1), ((await system.CallsAsync("second try")).Count, await system.Sim.PaidAsync("second try")));
        await AssertAllIsWellAsync();
    }

    [Fact]
    public async Task A_cancel_ends_the_session_although_Google_goes_on()
    {
        var id = await system.SubmitAsync("veo-3.1", new { prompt = "veo unwanted [latency=600000]" });
        await system.UntilAsync($"SELECT phase = 'awaiting_provider' FROM generation_sessions WHERE session_id = '{id}'");
        using var answer = await system.Http.PostAsync($"/api/generations/{id}/cancel", null);
        Assert.Equal(HttpStatusCode.Accepted, answer.StatusCode);
        var end = await system.EndOfAsync(id);
        Assert.Equal(("canceled", 424), ((string?)end["status"], (int?)end["receipt"]!["released"]));
        await AssertAllIsWellAsync();
    }

    private async Task AssertAllIsWellAsync()
    {
        await Books.AssertCleanAsync(system.Db);
        await system.AssertMediaAreStoredAsync();
    }

    public sealed class VideoSystem : IAsyncLifetime
    {
        public TestSystem System { get; private set; } = null!;

        public async ValueTask InitializeAsync() => System = await TestSystem.StartAsync(options =>
        {
            options.Credits = 100_000;
            options.Settings["Worker:MaxAttempts"] = "2";
            options.Settings["Media:MaxRemoteDownloadBytes"] = "1000000";
            options.Settings["Providers:Google:CallTimeout"] = "00:00:02";
        });

        public ValueTask DisposeAsync() => System.DisposeAsync();
    }
}
