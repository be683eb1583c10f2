using System.Net;
using System.Text.Json.Nodes;
using Generation.Core.Catalog;
using Generation.Tests.Faults;
using Generation.Tests.Harness;
using Generation.Tests.Resilience;
using Microsoft.Extensions.DependencyInjection;

namespace Generation.Tests.Providers.Ark;

/// <summary>Groups end to end: one paid call, each picture shown as it comes, and no second call whatever happens.</summary>
public sealed class SeedreamGroupTests(SeedreamGroupTests.GroupSystem groups) : IClassFixture<SeedreamGroupTests.GroupSystem>
{
    private readonly TestSystem system = groups.System;

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
    // Nothing was announced: it ends as any call does, and comes again only when that is certainly free.
    [InlineData("moderation-input", "moderation_input", 1, 0)]
    [InlineData("unauthorized", "provider_unauthorized", 1, 0)]
    [InlineData("rate-limit", "provider_rate_limited", 2, 0)]
    [InlineData("server-error", "provider_unavailable", 4, 0)]
    [InlineData("error-200", "provider_unavailable", 4, 0)]
    [InlineData("image-500", "provider_unavailable", 4, 0)]
    [InlineData("empty-data", "provider_unavailable", 4, 0)]
    [InlineData("bad-gateway", "outcome_unknown", 1, 0)]
    [InlineData("moderation-output", "moderation_output", 1, 0)]
    [InlineData("cut-reply", "outcome_unknown", 1, 1)]
    [InlineData("dead-url", "output_unusable", 1, 1)]
    [InlineData("wrong-type", "output_unusable", 1, 1)]
    [InlineData("cut-body", "provider_unavailable", 1, 1)] // fetched again, never bought again
    public async Task A_group_of_which_nothing_came_costs_the_user_nothing(string word, string code, int calls, int paid)
    {
        var name = $"two pictures of {word}";
        var id = await SubmitAsync($"{name} [fault={word}]", 2);
        var end = await system.EndOfAsync(id);

        Assert.Equal(("failed", code), ((string?)end["status"], (string?)end["error"]?["code"]));
        Assert.Equal((0, 8), ((int?)end["receipt"]!["captured"], (int?)end["receipt"]!["released"]));
        var made = await system.CallsAsync(name);
        Assert.Equal((calls, paid), (made.Count, made.Count(call => call.Paid)));
        Assert.Equal(code == "outcome_unknown" ? 1 : 0, await system.ScalarAsync<long>(
            $"SELECT count(*) FROM error_events WHERE session_id = '{id}' AND detail ? 'providerTaskId'"));
        await AssertAllIsWellAsync();
        // and the breaker is at nought again
        Assert.Equal("completed", (string?)(await system.EndOfAsync(await SubmitAsync($"two pictures after {word}", 2)))["status"]);
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

    [Theory]
    [InlineData("rate-limit:times=1", 2)]
    [InlineData("overload:times=1", 2)]
    [InlineData("server-error:times=1", 2)]
    [InlineData("cut-body:times=1", 1)]
    public async Task What_passes_is_tried_again_and_paid_once(string fault, int calls)
    {
        var name = $"two pictures through {fault.Split(':')[0]}";
        var end = await system.EndOfAsync(await SubmitAsync($"{name} [fault={fault}]", 2));

        Assert.Equal(("completed", 2), ((string?)end["status"], end["media"]!.AsArray().Count));
        Assert.Equal((calls, 1), ((await system.CallsAsync(name)).Count, await system.Sim.PaidAsync(name)));
        await AssertAllIsWellAsync();
    }

    [Fact]
    public async Task A_cancel_in_the_middle_keeps_what_was_stored_and_releases_the_rest()
    {
        var id = await SubmitAsync("three pictures of a change of mind [gate=mind]", 3);
        await system.Sim.WaitAtGateAsync("mind");
        await system.Sim.LetOnePassAsync("mind");
        await system.UntilAsync($"SELECT count(*) = 1 FROM media WHERE session_id = '{id}'");
        await system.Sim.WaitAtGateAsync("mind");
        using var answer = await system.Http.PostAsync($"/api/generations/{id}/cancel", null);
        Assert.Equal(HttpStatusCode.Accepted, answer.StatusCode);
        var end = await system.EndOfAsync(id);
        await system.Sim.OpenGateAsync("mind");

        Assert.Equal(("canceled", 1), ((string?)end["status"], end["media"]!.AsArray().Count));
        Assert.Equal((4, 8), ((int?)end["receipt"]!["captured"], (int?)end["receipt"]!["adjusted"]));
        Assert.Single(await system.CallsAsync("a change of mind"));
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

    public sealed class GroupSystem : IAsyncLifetime
    {
        public TestSystem System { get; private set; } = null!;

        public async ValueTask InitializeAsync() => System = await TestSystem.StartAsync(options =>
        {
            options.Credits = 100_000;
            options.Settings["Worker:MaxAttempts"] = "2";
            options.Settings["Providers:Ark:ConnectTimeout"] = "00:00:01";
            options.Settings["Providers:Ark:CallTimeout"] = "00:00:03";
            options.Settings["Providers:Ark:GroupTimeout"] = "00:00:06";
        });

        public ValueTask DisposeAsync() => System.DisposeAsync();
    }
}
