using System.Net;
using System.Text.Json.Nodes;
using Generation.Core.Catalog;
using Generation.Tests.Harness;
using Generation.Tests.Providers.Contract;
using Generation.Tests.Resilience;
using Microsoft.Extensions.DependencyInjection;

namespace Generation.Tests.Providers.Ark;

/// <summary>Groups end to end: one paid call, each picture shown as it comes, and no second call whatever happens.</summary>
[Trait("tier", "slow")]
public sealed class SeedreamGroupTests(ProviderSystem providers) : IClassFixture<ProviderSystem>
{
    private readonly TestSystem system = providers.System;

    [Fact]
    public async Task Pictures_are_shown_before_the_group_ends_and_those_that_the_model_did_not_make_are_released_and_have_not_failed()
    {
        var id = await SubmitAsync("three pictures of a fjord [gate=fjord]", 5);
        await system.Sim.WaitAtGateAsync("fjord");
        await system.Sim.LetOnePassAsync("fjord");
        await system.UntilAsync($"SELECT count(*) = 1 FROM media WHERE session_id = '{id}'");
        var before = await system.GetAsync(id);
        Assert.Equal(("processing", 1), ((string?)before["status"], before["media"]!.AsArray().Count));
        await system.Sim.OpenGateAsync("fjord");
        var end = await system.EndOfAsync(id);

        Assert.Equal("completed", (string?)end["status"]);
        Assert.Equal([0, 1, 2], end["media"]!.AsArray().Select(m => (int)m!["ordinal"]!));
        Assert.Null(end["failedOutputs"]);
        var receipt = end["receipt"]!;
        Assert.Equal((20, 12, 8, 3), ((int?)receipt["held"], (int?)receipt["captured"], (int?)receipt["adjusted"],
            (int?)receipt["providerUsage"]!["generated_images"]));
        Assert.Equal("The model chose to make 3 of up to 5 outputs. You paid 12 credits for 3; 8 were given back.", (string?)receipt["summary"]);
        Assert.Equal(0.09m, await system.ScalarAsync<decimal>($"SELECT provider_usd FROM generation_sessions WHERE session_id = '{id}'"));
        Assert.Equal("delivered 0 5", await system.ScalarAsync<string>(
            $"SELECT string_agg(format('%s %s %s', state, first_ordinal, output_count), ';') FROM provider_tasks WHERE session_id = '{id}'"));
        Assert.Single(await system.CallsAsync("of a fjord"));
        await AssertAllIsWellAsync();
    }

    [Theory]
    // Something was announced: it is kept and charged, what is missing has failed, and nobody calls again.
    [InlineData("image-error", 3, 2, "moderation_output", 1, 0)]
    [InlineData("malformed", 5, 3, "outcome_unknown", 2, 1)]
    [InlineData("timeout", 5, 3, "outcome_unknown", 2, 1)]
    [InlineData("server-error-paid", 5, 3, "provider_unavailable", 2, 0)]
    [InlineData("malformed", 3, 3, null, 0, 0)] // nothing is missing
    public async Task What_was_announced_of_a_group_is_kept_and_what_is_missing_has_failed(
        string word, int n, int stored, string? code, int failed, int unknown)
    {
        var name = $"three pictures of {word} among {n}";
        var id = await SubmitAsync($"{name} [fault={word}]", n);
        var end = await system.EndOfAsync(id);

        Assert.Equal(("completed", stored), ((string?)end["status"], end["media"]!.AsArray().Count));
        Assert.Equal((stored * 4, (n - stored) * 4), ((int?)end["receipt"]!["captured"], (int?)end["receipt"]!["adjusted"]));
        var missing = end["failedOutputs"] as JsonArray ?? [];
        Assert.Equal(failed, missing.Count);
        Assert.All(missing, output => Assert.Equal(code, (string?)output!["code"]));
        Assert.Empty(missing.Select(output => (int)output!["ordinal"]!).Intersect(end["media"]!.AsArray().Select(m => (int)m!["ordinal"]!)));
        Assert.Single(await system.CallsAsync(name));
        Assert.Equal(stored * 0.03m, await system.ScalarAsync<decimal>($"SELECT provider_usd FROM generation_sessions WHERE session_id = '{id}'"));
        Assert.Equal(unknown, await system.ScalarAsync<long>(
            $"SELECT count(*) FROM error_events WHERE session_id = '{id}' AND detail ? 'providerTaskId'"));
        await AssertAllIsWellAsync();
        // and the breaker is at nought again
        Assert.Equal("completed", (string?)(await system.EndOfAsync(await SubmitAsync($"two pictures after {word} among {n}", 2)))["status"]);
    }

    [Fact]
    public async Task A_connection_that_breaks_in_the_middle_keeps_what_was_announced_and_no_second_call_is_made()
    {
        var id = await SubmitAsync("three pictures of a broken line [fault=cut-reply-half][gate=line]", 5);
        await system.Sim.WaitAtGateAsync("line");
        await system.Sim.LetOnePassAsync("line");
        await system.UntilAsync($"SELECT count(*) = 1 FROM media WHERE session_id = '{id}'");
        await system.Sim.OpenGateAsync("line"); // and in place of the second the connection is cut
        var end = await system.EndOfAsync(id);

        Assert.Equal(("completed", 1), ((string?)end["status"], end["media"]!.AsArray().Count));
        Assert.Equal([1, 2, 3, 4], end["failedOutputs"]!.AsArray().Select(output => (int)output!["ordinal"]!));
        Assert.All(end["failedOutputs"]!.AsArray(), output => Assert.Equal("outcome_unknown", (string?)output!["code"]));
        Assert.Equal((4, 16), ((int?)end["receipt"]!["captured"], (int?)end["receipt"]!["adjusted"]));
        Assert.Equal("You paid 4 credits for 1 of 5 outputs; 16 were given back.", (string?)end["receipt"]!["summary"]);
        Assert.Single(await system.CallsAsync("a broken line"));
        Assert.Equal("unknown", await system.ScalarAsync<string>($"SELECT string_agg(state, ';') FROM provider_tasks WHERE session_id = '{id}'"));
        Assert.Equal(1, await system.ScalarAsync<long>($"SELECT count(*) FROM error_events WHERE session_id = '{id}' AND detail ? 'providerTaskId'"));
        await AssertAllIsWellAsync();
    }

    [Fact]
    public async Task Seedream_5_makes_PNGs_from_pictures_to_go_by_also_in_a_group()
    {
        var id = await system.SubmitAsync(
            "seedream-5-lite", new
            {
                prompt = "two pictures of a sketch, finished",
                n = 2,
                group = true,
                output_format = "png",
                images = new[] { "https://a.example/1.png", "https://a.example/2.png" }
            });
        var end = await system.EndOfAsync(id);
        var single = await system.EndOfAsync(await system.SubmitAsync(
            "seedream-5-pro", new { prompt = "one sketch, finished", images = new[] { "https://a.example/1.png" } }));

        Assert.Equal(["image/png", "image/png"], end["media"]!.AsArray().Select(m => (string)m!["contentType"]!));
        Assert.Equal((10, 8), ((int?)end["receipt"]!["captured"], (int?)single["receipt"]!["captured"]));
        Assert.Equal("image/jpeg", (string?)Assert.Single(single["media"]!.AsArray())!["contentType"]);
        await AssertAllIsWellAsync();
    }

    [Fact]
    public async Task References_and_pictures_of_a_group_are_at_most_fifteen_together()
    {
        using var answer = await system.PostAsync(new
        {
            model = "seedream-4.5",
            @params = new { prompt = "p", group = true, n = 6, images = Enumerable.Range(0, 10).Select(n => $"https://a.example/{n}.png") },
        });

        Assert.Equal(HttpStatusCode.BadRequest, answer.StatusCode);
        Assert.Equal("must be at most 5 beside 10 images when group is true",
            (string?)(await TestSystem.ReadAsync(answer))["errors"]!["params.n"]![0]);
    }

    [Fact]
    public async Task Seedream_3_still_runs_for_an_account_that_has_it()
    {
        await using var old = await TestSystem.StartAsync(options => options.Api = services => services.AddSingleton(
            new ModelRegistry(ArkModels.All.Select(model => model.Id == "seedream-3" ? model with { Lifecycle = ModelLifecycle.Active } : model))));
        var id = await old.SubmitAsync("seedream-3", new { prompt = "an old master", size = "512x768", n = 2, seed = 7, guidance_scale = 3.5 });
        var end = await old.EndOfAsync(id);

        Assert.Equal(("completed", 6), ((string?)end["status"], (int?)end["receipt"]!["captured"]));
        Assert.All(end["media"]!.AsArray(), media => Assert.Equal((512, 768), ((int?)media!["width"], (int?)media["height"])));
        Assert.Equal(2, await old.Sim.PaidAsync("an old master"));
        using var refused = await old.PostAsync(new { model = "seedream-3", @params = new { prompt = "p", size = "2560x256" } });
        Assert.Equal("must have sides of 512 to 2048 pixels", (string?)(await TestSystem.ReadAsync(refused))["errors"]!["params.size"]![0]);
        await old.AssertBooksAreCleanAsync();
        await old.AssertMediaAreStoredAsync();
    }

    private Task<Guid> SubmitAsync(string prompt, int n) => system.SubmitAsync("seedream-4", new { prompt, n, group = true, size = "1K" });

    private async Task AssertAllIsWellAsync()
    {
        await system.AssertBooksAreCleanAsync();
        await system.AssertMediaAreStoredAsync();
    }
}
