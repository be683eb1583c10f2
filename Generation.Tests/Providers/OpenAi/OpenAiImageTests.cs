using System.Net;
using System.Text.Json.Nodes;
using Generation.Tests.Harness;
using Generation.Tests.Providers.Contract;

namespace Generation.Tests.Providers.OpenAi;

/// <summary>
/// Pictures from OpenAI end to end: bought once, stored while the answer arrives, shown before they are done, paid by their tokens.
/// </summary>
[Trait("tier", "slow")]
public sealed class OpenAiImageTests(ProviderSystem providers) : IClassFixture<ProviderSystem>
{
    private const string Model = "gpt-image-2";

    private readonly TestSystem system = providers.System;

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

    [Fact]
    public async Task The_limit_of_the_account_is_waited_for_without_an_attempt()
    {
        await using var limited = await ProviderSystem.StartAsync(o => o.Settings["Providers:OpenAi:ImagesPerMinute"] = "2");
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
}
