using System.Net;
using Generation.Tests.Harness;
using Generation.Tests.Providers.Contract;

namespace Generation.Tests.Providers.OpenAi;

/// <summary>Sora behind a gateway, end to end; and without one, as OpenAI has it.</summary>
[Trait("tier", "slow")]
public sealed class SoraTests(ProviderSystem providers) : IClassFixture<ProviderSystem>
{
    private const string Model = "sora-2";

    private readonly TestSystem system = providers.System;

    [Fact]
    public async Task A_prompt_becomes_a_video_that_is_fetched_with_the_key_and_paid_by_the_second()
    {
        var id = await system.SubmitAsync(Model, new { prompt = "a sora boat", ratio = "9:16", duration = 8 });
        var end = await system.EndOfAsync(id);

        Assert.Equal("completed", (string?)end["status"]);
        var media = Assert.Single(end["media"]!.AsArray())!;
        Assert.Equal(("video/mp4", 720, 1280), ((string?)media["contentType"], (int?)media["width"], (int?)media["height"]));
        Assert.Equal((112, 112, 8), ((int?)end["receipt"]!["held"], (int?)end["receipt"]!["captured"],
            (int?)end["receipt"]!["providerUsage"]!["seconds"]));
        Assert.Equal(0.8m, await system.ScalarAsync<decimal>($"SELECT provider_usd FROM generation_sessions WHERE session_id = '{id}'"));
        Assert.Equal(1, await system.Sim.PaidAsync("a sora boat"));
        await AssertAllIsWellAsync();
    }

    [Fact]
    public async Task Without_a_gateway_it_is_retired_and_names_its_successor()
    {
        await using var without = await TestSystem.StartAsync(o => o.Settings["Providers:OpenAi:VideoBaseUrl"] = "");
        using var refused = await without.PostAsync(new { model = Model, @params = new { prompt = "too late" } }, Guid.NewGuid().ToString());
        Assert.Equal(HttpStatusCode.Gone, refused.StatusCode);
        Assert.Contains("veo-3.1", await refused.Content.ReadAsStringAsync(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_redirect_to_another_host_needs_that_host_on_the_list_and_never_gets_the_key()
    {
        var refused = await system.EndOfAsync(await system.SubmitAsync(Model, new { prompt = "sora moved [fault=redirect-host]" }));
        Assert.Equal("output_unusable", (string?)refused["error"]?["code"]);
        await using var other = await ProviderSystem.StartAsync(o => o.Settings["Providers:OpenAi:VideoSourceHosts:0"] = "localhost");
        var end = await other.EndOfAsync(await other.SubmitAsync(Model, new { prompt = "sora moved [fault=redirect-host]" }));
        Assert.Equal("completed", (string?)end["status"]); // the other host answers 400 to whoever brings a key
    }

    private async Task AssertAllIsWellAsync()
    {
        await Books.AssertCleanAsync(system.Db);
        await system.AssertMediaAreStoredAsync();
    }
}
