using System.Net;
using System.Text.Json.Nodes;
using Generation.Tests.Faults;
using Generation.Tests.Harness;

namespace Generation.Tests.Providers.OpenAi;

/// <summary>
/// Pictures from OpenAI end to end: bought once, stored while the answer arrives, shown before they are done, paid by their tokens.
/// </summary>
public sealed class OpenAiImageTests(OpenAiImageTests.ImageSystem images) : IClassFixture<OpenAiImageTests.ImageSystem>
{
    private const string Model = "gpt-image-2";

    private readonly TestSystem system = images.System;

    [Fact]
    public async Task A_prompt_becomes_pictures_that_are_paid_by_their_tokens()
    {
        var id = await system.SubmitAsync(Model,
            new { prompt = "two boats", n = 2, size = "1536x1024", quality = "low", output_format = "jpeg", previews = 0 });
        var end = await system.EndOfAsync(id);

        Assert.Equal("completed", (string?)end["status"]);
        Assert.Equal(["image/jpeg", "image/jpeg"], end["media"]!.AsArray().Select(m => (string?)m!["contentType"]));
        Assert.All(end["media"]!.AsArray(), m => Assert.Equal((1536, 1024), ((int?)m!["width"], (int?)m["height"])));
        var receipt = end["receipt"]!;
        // 400 tokens each, 2.132 credits rounded up
        Assert.Equal((8, 6, 800), ((int?)receipt["held"], (int?)receipt["captured"], (int?)receipt["providerUsage"]!["output_tokens"]));
        Assert.Equal(0.032m, await system.ScalarAsync<decimal>($"SELECT provider_usd FROM generation_sessions WHERE session_id = '{id}'"));
        Assert.Equal(2, await system.Sim.PaidAsync("two boats"));
        await AssertAllIsWellAsync();
    }

    [Fact]
    public async Task Previews_are_shown_while_the_picture_is_made_and_are_gone_when_it_is_there()
    {
        var id = await system.SubmitAsync(Model, new { prompt = "slowly clear [gate=previews]", previews = 3 });
        await system.Sim.WaitAtGateAsync("previews");
        await system.UntilAsync($"SELECT status = 'processing' FROM generation_sessions WHERE session_id = '{id}'");
        var watching = system.AllEventsAsync(id);
        Assert.Equal(1, await PreviewsOnDiskAsync(id, 1)); // each takes the place of the one before
        await system.Sim.OpenGateAsync("previews");
        await watching;
        Assert.Equal(0, await PreviewsOnDiskAsync(id, 0));
        var end = await system.GetAsync(id);
        Assert.Equal(("completed", 1056 + 300), ((string?)end["status"], (int?)end["receipt"]!["providerUsage"]!["output_tokens"]));
        Assert.Equal(8, (int?)end["receipt"]!["captured"]);
        Assert.Equal(1, await system.Sim.PaidAsync("slowly clear"));
        await AssertAllIsWellAsync();
    }

    [Fact]
    public async Task A_watcher_gets_previews_that_can_be_opened()
    {
        var id = await system.SubmitAsync(Model, new { prompt = "seen early [latency=2000][gate=seen]", previews = 3, output_format = "jpeg" });
        var previews = new List<JsonObject>();
        await foreach (var e in system.EventsAsync(id))
        {
            if (e.Name != "progress" || e.Data["preview"] is not JsonObject preview)
            {
                continue;
            }

            previews.Add(preview);
            using var stranger = new HttpClient();
            using var picture = await stranger.GetAsync((string?)preview["url"]);
            Assert.Equal((HttpStatusCode.OK, "image/jpeg"), (picture.StatusCode, picture.Content.Headers.ContentType?.MediaType));
            if (previews.Count == 3)
            {
                await system.Sim.OpenGateAsync("seen");
            }
        }

        Assert.Equal([0, 0, 0], previews.Select(p => (int)p["ordinal"]!));
        Assert.Equal("completed", (string?)(await system.GetAsync(id))["status"]);
        await AssertAllIsWellAsync();
    }

    [Theory]
    [InlineData("moderation-input", "moderation_input", 1, 0)]
    [InlineData("moderation-output", "moderation_output", 1, 0)]
    [InlineData("unauthorized", "provider_unauthorized", 1, 0)]
    [InlineData("forbidden", "provider_unauthorized", 1, 0)]
    [InlineData("not-found", "provider_unauthorized", 1, 0)]
    [InlineData("quota", "provider_quota_exhausted", 1, 0)]
    [InlineData("overdue", "provider_quota_exhausted", 1, 0)]
    [InlineData("rate-limit", "provider_rate_limited", 2, 0)]
    [InlineData("overload", "provider_unavailable", 4, 0)]
    [InlineData("server-error", "provider_unavailable", 4, 0)]
    [InlineData("error-200", "provider_unavailable", 4, 0)]
    [InlineData("bad-gateway", "outcome_unknown", 1, 0)]
    [InlineData("empty-data", "outcome_unknown", 1, 0)]
    [InlineData("malformed", "outcome_unknown", 1, 1)]
    [InlineData("timeout", "outcome_unknown", 1, 1)]
    [InlineData("cut-reply", "outcome_unknown", 1, 1)]
    [InlineData("cut-reply-half", "outcome_unknown", 1, 1)]
    [InlineData("cut-body", "outcome_unknown", 1, 1)]
    [InlineData("html-as-png", "output_unusable", 1, 1)]
    [InlineData("zip-as-png", "output_unusable", 1, 1)]
    [InlineData("oversized", "output_unusable", 1, 1)]
    public async Task Every_failure_has_its_outcome_whole_or_streamed_and_costs_the_user_nothing(string word, string code, int calls, int paid)
    {
        foreach (var previews in new[] { 0, 1 })
        {
            var name = $"picture of {word} {previews} ends here";
            var id = await system.SubmitAsync(Model, new { prompt = $"{name} [fault={word}]", previews });
            var end = await system.EndOfAsync(id);

            Assert.Equal(("failed", code), ((string?)end["status"], (string?)end["error"]?["code"]));
            Assert.Equal((0, 11), ((int?)end["receipt"]!["captured"], (int?)end["receipt"]!["released"]));
            var made = await system.CallsAsync(name);
            Assert.Equal((calls, paid), (made.Count, made.Count(call => call.Paid)));
            Assert.Equal(code == "outcome_unknown" ? 1 : 0, await system.ScalarAsync<long>(
                $"SELECT count(*) FROM error_events WHERE session_id = '{id}' AND detail ? 'providerTaskId'"));
            // and the breaker is at nought again
            Assert.Equal("completed", (string?)(await system.EndOfAsync(
                await system.SubmitAsync(Model, new { prompt = $"after {word} {previews}" })))["status"]);
        }

        await AssertAllIsWellAsync();
    }

    [Theory]
    [InlineData("rate-limit")]
    [InlineData("server-error")]
    public async Task What_passes_is_asked_for_again_and_bought_once(string word)
    {
        var name = $"picture through {word}";
        var end = await system.EndOfAsync(await system.SubmitAsync(Model, new { prompt = $"{name} [fault={word}:times=1]", previews = 2 }));

        Assert.Equal("completed", (string?)end["status"]);
        Assert.Equal((2, 1), ((await system.CallsAsync(name)).Count, await system.Sim.PaidAsync(name)));
        await AssertAllIsWellAsync();
    }

    [Fact]
    public async Task A_picture_that_is_refused_takes_no_other_with_it()
    {
        var end = await system.EndOfAsync(await system.SubmitAsync(
            Model, new { prompt = "one of three [fault=moderation-output:times=1]", n = 3, quality = "low" }));

        Assert.Equal(("completed", 2), ((string?)end["status"], end["media"]!.AsArray().Count));
        Assert.Equal("moderation_output", (string?)Assert.Single(end["failedOutputs"]!.AsArray())!["code"]);
        Assert.Equal((3, 2), ((await system.CallsAsync("one of three")).Count, await system.Sim.PaidAsync("one of three")));
        await AssertAllIsWellAsync();
    }

    [Fact]
    public async Task A_cancel_in_the_call_ends_the_session_and_is_not_charged()
    {
        var id = await system.SubmitAsync(Model, new { prompt = "no longer wanted [gate=unwanted]" });
        await system.Sim.WaitAtGateAsync("unwanted");
        using var answer = await system.Http.PostAsync($"/api/generations/{id}/cancel", null);
        Assert.Equal(HttpStatusCode.Accepted, answer.StatusCode);
        var end = await system.EndOfAsync(id);
        await system.Sim.OpenGateAsync("unwanted");

        Assert.Equal(("canceled", 11), ((string?)end["status"], (int?)end["receipt"]!["released"]));
        await AssertAllIsWellAsync();
    }

    [Fact]
    public async Task The_limit_of_the_account_is_waited_for_without_an_attempt()
    {
        await using var limited = await StartAsync(o => o.Settings["Providers:OpenAi:ImagesPerMinute"] = "2");
        var both = await limited.SubmitAsync(Model, new { prompt = "within the limit", n = 2, previews = 0 });
        Assert.Equal("completed", (string?)(await limited.EndOfAsync(both))["status"]);
        var third = await limited.SubmitAsync(Model, new { prompt = "over the limit", previews = 0 });
        await limited.UntilAsync($"SELECT phase = 'waiting' AND attempt = 0 FROM generation_sessions WHERE session_id = '{third}'");
        Assert.Empty(await limited.CallsAsync("over the limit"));
    }

    private async Task<int> PreviewsOnDiskAsync(Guid sessionId, int expected)
    {
        var started = TimeProvider.System.GetTimestamp();
        while (true)
        {
            var count = system.StoredFiles().Count(file => file.Contains(sessionId.ToString(), StringComparison.OrdinalIgnoreCase)
                && Path.GetFileName(file).StartsWith("preview-", StringComparison.Ordinal));
            if (count == expected || TimeProvider.System.GetElapsedTime(started) > TimeSpan.FromSeconds(10))
            {
                return count;
            }

            await Task.Delay(TimeSpan.FromMilliseconds(20), TimeProvider.System, CancellationToken.None);
        }
    }

    private async Task AssertAllIsWellAsync()
    {
        await Books.AssertCleanAsync(system.Db);
        await system.AssertMediaAreStoredAsync();
    }

    private static Task<TestSystem> StartAsync(Action<TestSystemOptions>? configure = null) => TestSystem.StartAsync(options =>
    {
        options.Credits = 100_000;
        options.Settings["Worker:MaxAttempts"] = "2";
        options.Settings["Media:MaxImageDownloadBytes"] = "200000";
        options.Settings["Providers:OpenAi:ConnectTimeout"] = "00:00:01";
        options.Settings["Providers:OpenAi:CallTimeout"] = "00:00:08";
        configure?.Invoke(options);
    });

    public sealed class ImageSystem : IAsyncLifetime
    {
        public TestSystem System { get; private set; } = null!;

        public async ValueTask InitializeAsync() => System = await StartAsync();

        public ValueTask DisposeAsync() => System.DisposeAsync();
    }
}
