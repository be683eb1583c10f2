using Generation.Tests.Harness;

namespace Generation.Tests.Jobs;

/// <summary>
/// A task outlives its session: the provider is told where it can be, what it costs is recorded, and nobody is charged. Before, it ran, was billed,
/// and nobody knew.
/// </summary>
public sealed class EndedTaskTests(EndedTaskTests.FollowingSystem following) : IClassFixture<EndedTaskTests.FollowingSystem>
{
    private readonly TestSystem system = following.System;

    [Fact]
    public async Task A_task_that_waits_at_the_provider_is_taken_back_when_its_session_expires()
    {
        var id = await ExpireAsync("seedance-2-fast", new { prompt = "still queued [queued=600000]", duration = 4 });

        await UntilAsync(id, "failed ark.task_cancelled");
        Assert.Equal(0, await RecordsAsync(id));
        Assert.Equal(0, await system.Sim.PaidAsync("still queued"));
    }

    [Theory]
    [InlineData("seedance-2-fast", "total_tokens")] // Ark takes back no task that runs
    [InlineData("flux-2-pro", "creditsConsumed")] // Kie takes back none
    [InlineData("veo-3.1-fast", "seconds")] // nor does Google
    public async Task A_task_that_goes_on_is_followed_to_its_end_and_its_cost_recorded(string model, string usage)
    {
        var prompt = $"too late of {model}";
        object parameters = model == "flux-2-pro" ? new { prompt = $"{prompt} [latency=2500]" }
            : new { prompt = $"{prompt} [latency=2500]", duration = 4 };
        var id = await ExpireAsync(model, parameters);

        await UntilAsync(id, "delivered ");
        Assert.Equal((1L, 0L), (await RecordsAsync(id), await system.ScalarAsync<long>($"SELECT count(*) FROM media WHERE session_id = '{id}'")));
        Assert.True(await system.ScalarAsync<bool>(
            $"""
            SELECT code = 'abandoned_output' AND detail -> 'usage' ? '{usage}' AND (detail ->> 'usd')::numeric > 0
            FROM error_events WHERE session_id = '{id}' AND detail ? 'providerTaskId'
            """));
        Assert.Equal((1, 1), ((await system.CallsAsync(prompt)).Count, await system.Sim.PaidAsync(prompt)));
        var end = await system.GetAsync(id);
        Assert.Equal(("failed", 0), ((string?)end["status"], (int?)end["receipt"]!["captured"]));
        await system.AssertBooksAreCleanAsync();
    }

    [Fact]
    public async Task A_task_of_a_canceled_session_is_followed_too()
    {
        var id = await system.SubmitAsync("flux-2-pro", new { prompt = "not wanted [latency=2000]" });
        await system.UntilAsync($"SELECT phase = 'awaiting_provider' FROM generation_sessions WHERE session_id = '{id}'");
        using var canceled = await system.Http.PostAsync($"/api/generations/{id}/cancel", null);
        Assert.Equal("canceled", (string?)(await system.EndOfAsync(id))["status"]);

        await UntilAsync(id, "delivered ");
        Assert.Equal(1, await RecordsAsync(id));
    }

    [Fact]
    public async Task A_task_that_does_not_end_is_given_up_with_a_record()
    {
        var id = await ExpireAsync("flux-2-pro", new { prompt = "without end [latency=600000]" });
        await system.ExecuteAsync($"UPDATE generation_sessions SET created_at = now() - interval '5 days', started_at = now() - interval '5 days', "
            + $"completed_at = now() - interval '4 days' WHERE session_id = '{id}'");
        await system.ExecuteAsync($"UPDATE provider_tasks SET updated_at = now() - interval '1 day' WHERE session_id = '{id}'");

        await UntilAsync(id, "unknown task.still_running");
        Assert.Equal(1, await RecordsAsync(id));
    }

    /// <summary>Submits, and moves the deadline to now when the provider has the task.</summary>
    private async Task<Guid> ExpireAsync(string model, object parameters)
    {
        var id = await system.SubmitAsync(model, parameters);
        await system.UntilAsync($"SELECT count(*) = 1 FROM provider_tasks WHERE session_id = '{id}' AND state = 'running'");
        await system.ExecuteAsync($"UPDATE generation_sessions SET deadline = now() WHERE session_id = '{id}'");
        Assert.Equal("expired", (string?)(await system.EndOfAsync(id))["error"]!["code"]);
        return id;
    }

    private Task UntilAsync(Guid id, string state) => system.UntilAsync(
        $"SELECT state || ' ' || coalesce(failure_code, '') = '{state}' FROM provider_tasks WHERE session_id = '{id}'");

    private Task<long> RecordsAsync(Guid id) =>
        system.ScalarAsync<long>($"SELECT count(*) FROM error_events WHERE session_id = '{id}' AND detail ? 'providerTaskId'");

    public sealed class FollowingSystem : IAsyncLifetime
    {
        public TestSystem System { get; private set; } = null!;

        public async ValueTask InitializeAsync() => System = await TestSystem.StartAsync(options =>
        {
            options.Credits = 100_000;
            options.Settings["Worker:EndedTaskInterval"] = "00:00:00.200";
            options.Settings["Worker:BreakDuration"] = "00:00:01";
        });

        public ValueTask DisposeAsync() => System.DisposeAsync();
    }
}
