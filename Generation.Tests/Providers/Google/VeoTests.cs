using System.Net;
using Generation.Tests.Harness;
using Generation.Tests.Providers.Contract;

namespace Generation.Tests.Providers.Google;

/// <summary>
/// Veo end to end: an operation is begun once, asked for until it is done, its file fetched over a redirect, and paid by the second.
/// </summary>
public sealed class VeoTests(ProviderSystem providers) : IClassFixture<ProviderSystem>
{
    private readonly TestSystem system = providers.System;

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

    private async Task AssertAllIsWellAsync()
    {
        await Books.AssertCleanAsync(system.Db);
        await system.AssertMediaAreStoredAsync();
    }
}
