using Generation.Tests.Harness;
using Generation.Tests.Resilience;

namespace Generation.Tests.Webhooks;

/// <summary>
/// Callbacks that are as good as Kie promises, or better or worse than that: they wake the session, and only what Kie says when it is asked
/// is booked. No task is asked for within the test's patience otherwise.
/// </summary>
[Trait("tier", "slow")]
public sealed class WokenByCallbackTests(WokenByCallbackTests.CallbackSystem callbacks) : IClassFixture<WokenByCallbackTests.CallbackSystem>
{
    private readonly TestSystem system = callbacks.System;

    [Theory]
    [InlineData("[latency=500]")]
    [InlineData("[fault=callback-early]")] // before the task's id was recorded: it is known by its token
    [InlineData("[fault=callback-duplicate]")]
    [InlineData("[fault=callback-duplicate][latency=500]")]
    [InlineData("[fault=callback-snake]")]
    [InlineData("[fault=server-error-paid]")] // the creation was answered with 500: the callback names the task
    [InlineData("[fault=cut-reply][latency=500]")]
    [InlineData("[fault=no-task-id][fault=callback-snake]")]
    [InlineData("[fault=callback-lying][latency=1500]")] // the first claims success while the task runs
    public async Task A_callback_wakes_its_session_which_ends_once(string words)
    {
        var prompt = $"woken {words}";
        var id = await system.SubmitAsync("nano-banana", new { prompt });
        var end = await system.EndOfAsync(id);

        Assert.Equal(("completed", 0, 4), ((string?)end["status"], (int?)end["attempt"], (int?)end["receipt"]!["captured"]));
        Assert.Equal((1, 1), ((await system.CallsAsync(prompt)).Count, await system.Sim.PaidAsync(prompt)));
        Assert.Equal(1, await system.ScalarAsync<long>($"SELECT count(*) FROM provider_tasks WHERE session_id = '{id}'"));
        Assert.DoesNotContain("not-what-was-made", await system.ScalarAsync<string>(
            $"SELECT string_agg(result::text, '') FROM provider_tasks WHERE session_id = '{id}'"), StringComparison.Ordinal);
        var task = await system.AnsweredAsync(prompt, words.Contains("duplicate", StringComparison.Ordinal) ? 3 : words.Contains(
            "lying", StringComparison.Ordinal) ? 2 : 1);
        Assert.All(task.Callbacks, callback => Assert.Equal(200, callback.Status));
        await system.AssertAllIsWellAsync();
    }

    [Fact]
    public async Task A_lie_about_a_task_that_fails_books_nothing()
    {
        var end = await system.EndOfAsync(await system.SubmitAsync(
            "nano-banana", new { prompt = "claimed [fault=callback-lying][fault=image-error][latency=1000]" }));

        Assert.Equal(("failed", "provider_unavailable", 0), ((string?)end["status"], (string?)end["error"]!["code"],
            (int?)end["receipt"]!["captured"]));
        Assert.Equal(0, await system.Sim.PaidAsync("claimed"));
        await system.AssertAllIsWellAsync();
    }

    [Fact]
    public async Task The_callbacks_of_many_outputs_come_in_any_order_and_each_is_fetched()
    {
        var end = await system.EndOfAsync(await system.SubmitAsync("nano-banana", new { prompt = "four at once [latency=700]", n = 4 }));

        Assert.Equal(("completed", 4), ((string?)end["status"], end["media"]!.AsArray().Count));
        Assert.Equal((4, 4), ((await system.CallsAsync("four at once")).Count, await system.Sim.PaidAsync("four at once")));
        Assert.Equal(4, (await system.TasksAsync("four at once")).Select(task => task.CallBackUrl).Distinct().Count()); // a token each
        await system.AssertAllIsWellAsync();
    }

    [Fact]
    public async Task A_video_and_speech_are_woken_too_and_the_slot_is_free_meanwhile()
    {
        var video = await system.SubmitAsync("kling-2.6", new { prompt = "long film [latency=2500]" });
        var speech = await system.SubmitAsync("speech-multilingual-2", new { prompt = "long speech [latency=2500]" });
        await system.UntilAsync($"SELECT count(*) = 2 FROM generation_sessions WHERE session_id IN ('{video}', '{speech}') AND phase = "
            + "'awaiting_provider' AND lease_until IS NULL");

        Assert.Equal("completed", (string?)(await system.EndOfAsync(video))["status"]);
        Assert.Equal("completed", (string?)(await system.EndOfAsync(speech))["status"]);
        await system.AssertAllIsWellAsync();
    }

    [Fact]
    public async Task Sixty_sessions_and_a_thousand_callbacks_at_once_end_each_once()
    {
        const int Sessions = 60;
        const int CallbacksEach = 17;
        var ids = new List<Guid>();
        foreach (var n in Enumerable.Range(0, Sessions))
        {
            ids.Add(await system.SubmitAsync("nano-banana", new { prompt = $"storm {n} [callback-gate=storm]" }));
        }

        var tasks = await system.TasksAsync("storm", Sessions);
        await system.UntilAsync("SELECT count(*) = 60 FROM generation_sessions WHERE phase = 'awaiting_provider'");
        using var http = new HttpClient { BaseAddress = system.Http.BaseAddress };
        var started = TimeProvider.System.GetTimestamp();
        var answers = await Task.WhenAll(Enumerable.Range(0, CallbacksEach).SelectMany(n => tasks.Select(async task =>
        {
            using var answer = await http.CallBackAsync(task.CallBackUrl!, task.TaskId, KieCallbacks.Body(task.TaskId, $"{n}"));
            return (int)answer.StatusCode;
        })));
        TestContext.Current.SendDiagnosticMessage(
            $"{answers.Length} callbacks in {TimeProvider.System.GetElapsedTime(started).TotalMilliseconds:F0} ms");

        Assert.All(answers, status => Assert.Equal(200, status));
        foreach (var id in ids)
        {
            Assert.Equal(("completed", 0), await system.EndOfAsync(id) is var end ? ((string?)end["status"], (int?)end["attempt"]) : default);
        }

        // Those that come after the end of their task are not kept.
        Assert.Equal(Sessions, await system.ScalarAsync<long>("SELECT count(DISTINCT token_hash) FROM webhook_inbox WHERE body LIKE '%\"note\"%'"));
        Assert.Equal((Sessions, Sessions), ((await system.CallsAsync("storm")).Count, await system.Sim.PaidAsync("storm")));
        await system.Sim.OpenGateAsync("storm");
        await system.AssertAllIsWellAsync();
    }

    public sealed class CallbackSystem : IAsyncLifetime
    {
        public TestSystem System { get; private set; } = null!;

        public async ValueTask InitializeAsync() => System = await TestSystem.StartAsync(options =>
        {
            options.IsPublic = true;
            options.Credits = 100_000;
            options.Settings["Providers:Kie:CallbackPatience"] = "00:10:00";
            options.Settings["Providers:Kie:VideoCallbackPatience"] = "00:10:00";
            options.Settings["Providers:Kie:PollInterval"] = "00:01:00"; // a lie is answered with one question, not with polling from then on
        });

        public ValueTask DisposeAsync() => System.DisposeAsync();
    }
}
