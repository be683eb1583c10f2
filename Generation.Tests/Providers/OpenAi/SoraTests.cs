using System.Net;
using Generation.Tests.Faults;
using Generation.Tests.Harness;

namespace Generation.Tests.Providers.OpenAi;

/// <summary>Sora behind a gateway, end to end; and without one, as OpenAI has it.</summary>
public sealed class SoraTests(SoraTests.VideoSystem videos) : IClassFixture<SoraTests.VideoSystem>
{
    private const string Model = "sora-2";

    private readonly TestSystem system = videos.System;

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

    [Theory]
    [InlineData("moderation-input", "moderation_input", 1, 0)]
    [InlineData("moderation-output", "moderation_output", 1, 0)]
    [InlineData("unauthorized", "provider_unauthorized", 1, 0)]
    [InlineData("quota", "provider_quota_exhausted", 1, 0)]
    [InlineData("rate-limit", "provider_rate_limited", 2, 0)]
    [InlineData("image-500", "provider_unavailable", 2, 0)]
    [InlineData("bad-gateway", "outcome_unknown", 1, 0)]
    [InlineData("malformed", "outcome_unknown", 1, 1)]
    [InlineData("timeout", "outcome_unknown", 1, 1)]
    [InlineData("cut-reply", "outcome_unknown", 1, 1)]
    [InlineData("poll-lost", "outcome_unknown", 1, 1)]
    [InlineData("dead-url", "output_unusable", 1, 1)]
    [InlineData("redirect-private", "output_unusable", 1, 1)]
    [InlineData("cut-body", "provider_unavailable", 1, 1)]
    public async Task Every_failure_has_its_outcome_and_costs_the_user_nothing(string word, string code, int calls, int paid)
    {
        var name = $"sora of {word} ends here";
        var end = await system.EndOfAsync(await system.SubmitAsync(Model, new { prompt = $"{name} [fault={word}]" }));

        Assert.Equal(("failed", code), ((string?)end["status"], (string?)end["error"]?["code"]));
        Assert.Equal((0, 56), ((int?)end["receipt"]!["captured"], (int?)end["receipt"]!["released"]));
        var made = await system.CallsAsync(name);
        Assert.Equal((calls, paid), (made.Count, made.Count(call => call.Paid)));
        await AssertAllIsWellAsync();
        Assert.Equal("completed", (string?)(await system.EndOfAsync(await system.SubmitAsync(Model, new { prompt = $"after {word}" })))["status"]);
    }

    [Theory]
    [InlineData("poll-error:times=3")]
    [InlineData("poll-gateway:times=2")]
    [InlineData("redirect")]
    public async Task What_passes_costs_no_attempt(string fault)
    {
        var name = $"sora through {fault}";
        var end = await system.EndOfAsync(await system.SubmitAsync(Model, new { prompt = $"{name} [fault={fault}]" }));
        Assert.Equal(("completed", 0), ((string?)end["status"], (int?)end["attempt"]));
        Assert.Equal((1, 1), ((await system.CallsAsync(name)).Count, await system.Sim.PaidAsync(name)));
    }

    [Fact]
    public async Task A_redirect_to_another_host_needs_that_host_on_the_list_and_never_gets_the_key()
    {
        var refused = await system.EndOfAsync(await system.SubmitAsync(Model, new { prompt = "sora moved [fault=redirect-host]" }));
        Assert.Equal("output_unusable", (string?)refused["error"]?["code"]);
        await using var other = await StartAsync(o => o.Settings["Providers:OpenAi:VideoSourceHosts:0"] = "localhost");
        var end = await other.EndOfAsync(await other.SubmitAsync(Model, new { prompt = "sora moved [fault=redirect-host]" }));
        Assert.Equal("completed", (string?)end["status"]); // the other host answers 400 to whoever brings a key
    }

    [Fact]
    public async Task A_cancel_deletes_the_video()
    {
        var id = await system.SubmitAsync(Model, new { prompt = "sora unwanted [queued=600000]" });
        await system.UntilAsync($"SELECT phase = 'awaiting_provider' FROM generation_sessions WHERE session_id = '{id}'");
        using var answer = await system.Http.PostAsync($"/api/generations/{id}/cancel", null);
        var end = await system.EndOfAsync(id);

        Assert.Equal(("canceled", 56), ((string?)end["status"], (int?)end["receipt"]!["released"]));
        using var gateway = new HttpClient
        {
            BaseAddress = system.Sim.Address,
            DefaultRequestHeaders = { Authorization = new("Bearer", "sim-openai-key") }
        };
        var taskId = await system.ScalarAsync<string>($"SELECT task_id FROM provider_tasks WHERE session_id = '{id}'");
        using var gone = await gateway.GetAsync($"/v1/videos/{taskId}");
        Assert.Equal(HttpStatusCode.NotFound, gone.StatusCode);
        Assert.Equal(0, await system.Sim.PaidAsync("sora unwanted"));
        await AssertAllIsWellAsync();
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
        options.Settings["Providers:OpenAi:VideoCallTimeout"] = "00:00:02";
        configure?.Invoke(options);
    });

    public sealed class VideoSystem : IAsyncLifetime
    {
        public TestSystem System { get; private set; } = null!;

        public async ValueTask InitializeAsync() => System = await StartAsync();

        public ValueTask DisposeAsync() => System.DisposeAsync();
    }
}
