using System.Text;
using Generation.Core.Webhooks;
using Generation.Tests.Harness;
using Generation.Tests.Resilience;

namespace Generation.Tests.Webhooks;

/// <summary>Callbacks that must change nothing: forged, stale, late, of nobody. Polling takes over where no good one comes.</summary>
[Trait("tier", "slow")]
public sealed class KieWebhookTests(KieWebhookTests.PollingSystem polling) : IClassFixture<KieWebhookTests.PollingSystem>
{
    private readonly TestSystem system = polling.System;

    [Theory]
    [InlineData("callback-none", null)]
    [InlineData("callback-unsigned", 401)]
    [InlineData("callback-forged", 401)]
    [InlineData("callback-stale", 401)]
    public async Task Without_a_good_callback_polling_takes_over(string fault, int? status)
    {
        var prompt = $"polled [fault={fault}]";
        var end = await system.EndOfAsync(await system.SubmitAsync("nano-banana", new { prompt }));

        Assert.Equal(("completed", 4), ((string?)end["status"], (int?)end["receipt"]!["captured"]));
        Assert.Equal(1, await system.Sim.PaidAsync(prompt));
        if (status is not null)
        {
            Assert.Equal(status, (await system.AnsweredAsync(prompt, 1)).Callbacks[0].Status);
        }

        var task = Assert.Single(await system.TasksAsync(prompt));
        Assert.Equal(0, await InboxOfAsync(task));
        await system.AssertAllIsWellAsync();
    }

    [Fact]
    public async Task A_callback_after_polling_has_finished_is_not_kept_and_changes_nothing()
    {
        var id = await system.SubmitAsync("nano-banana", new { prompt = "overtaken [callback-gate=late]" });
        var end = await system.EndOfAsync(id);
        await system.AssertAllIsWellAsync();
        await system.Sim.OpenGateAsync("late");

        var task = await system.AnsweredAsync("overtaken", 1);
        Assert.Equal(200, task.Callbacks[0].Status);
        var after = await system.GetAsync(id);
        Assert.Equal(("completed", (long?)end["version"]), ((string?)after["status"], (long?)after["version"]));
        Assert.Equal(0, await InboxOfAsync(task));
        await system.AssertAllIsWellAsync(); // nothing was sent to the queue either
    }

    [Fact]
    public async Task A_callback_for_a_canceled_session_changes_nothing()
    {
        var id = await system.SubmitAsync("kling-2.6", new { prompt = "given up [callback-gate=canceled][latency=1000]" });
        await system.UntilAsync($"SELECT phase = 'awaiting_provider' FROM generation_sessions WHERE session_id = '{id}'");
        using var answer = await system.Http.PostAsync($"/api/generations/{id}/cancel", null);
        var end = await system.EndOfAsync(id);
        Assert.Equal(("canceled", 110), ((string?)end["status"], (int?)end["receipt"]!["released"]));
        await system.Sim.OpenGateAsync("canceled");

        var task = await system.AnsweredAsync("given up", 1);
        Assert.Equal(200, task.Callbacks[0].Status);
        Assert.Equal(("canceled", (long?)end["version"]), await system.GetAsync(id) is var after
            ? ((string?)after["status"], (long?)after["version"]) : default);
        await system.AssertAllIsWellAsync();
    }

    [Fact]
    public async Task A_callback_is_taken_once_and_a_replay_after_the_window_not_at_all()
    {
        var (id, task) = await WaitingAsync("recorded");
        var (now, body) = (TimeProvider.System.GetUtcNow(), KieCallbacks.Body(task.TaskId));
        using var http = new HttpClient();

        Assert.Equal(200, await StatusAsync(http.CallBackAsync(task.CallBackUrl!, task.TaskId, body, now)));
        // a duplicate is no error, or Kie would send it again
        Assert.Equal(200, await StatusAsync(http.CallBackAsync(task.CallBackUrl!, task.TaskId, body, now)));
        Assert.Equal(1, await InboxOfAsync(task));
        Assert.Equal(401, await StatusAsync(http.CallBackAsync(task.CallBackUrl!, task.TaskId, body, now.AddMinutes(-6))));
        Assert.Equal(401, await StatusAsync(http.CallBackAsync(task.CallBackUrl!, task.TaskId, body, now.AddMinutes(6))));
        Assert.Equal(200, await StatusAsync(http.CallBackAsync(task.CallBackUrl!, task.TaskId, body, now.AddMinutes(-4))));
        Assert.Equal(1, await InboxOfAsync(task));
        await CancelAsync(id);
    }

    [Fact]
    public async Task Of_sixty_callbacks_with_one_token_twenty_are_kept_and_none_after_the_end()
    {
        var (id, task) = await WaitingAsync("flooded");
        using var http = new HttpClient();
        var statuses = await Task.WhenAll(Enumerable.Range(0, 60).Select(i =>
            StatusAsync(http.CallBackAsync(task.CallBackUrl!, task.TaskId, KieCallbacks.Body(task.TaskId, $"{i}" + new string('x', 200_000))))));

        Assert.All(statuses, status => Assert.Equal(200, status)); // an error would be sent again
        Assert.Equal(WebhookInbox.MaxBodiesPerTask, await InboxOfAsync(task));
        await CancelAsync(id);
        Assert.Equal(200, await StatusAsync(http.CallBackAsync(task.CallBackUrl!, task.TaskId, KieCallbacks.Body(task.TaskId, "late"))));
        Assert.Equal(WebhookInbox.MaxBodiesPerTask, await InboxOfAsync(task));
    }

    [Fact]
    public async Task A_signature_is_of_one_task_and_one_key()
    {
        await system.EndOfAsync(await system.SubmitAsync("nano-banana", new { prompt = "of one key [fault=callback-none]" }));
        var task = Assert.Single(await system.TasksAsync("of one key"));
        using var http = new HttpClient();

        Assert.Equal(401, await StatusAsync(http.CallBackAsync(task.CallBackUrl!, task.TaskId, KieCallbacks.Body(task.TaskId), key: "another key")));
        Assert.Equal(401, await StatusAsync(http.CallBackAsync(task.CallBackUrl!, "another task", KieCallbacks.Body(task.TaskId))));
        Assert.Equal(401, await StatusAsync(http.CallBackAsync(task.CallBackUrl!, task.TaskId, "not JSON")));
        Assert.Equal(401, await StatusAsync(http.CallBackAsync(task.CallBackUrl!, task.TaskId, """{"data":{"taskId":7}}""")));
        using var unsigned = new StringContent(KieCallbacks.Body(task.TaskId), Encoding.UTF8, "application/json");
        Assert.Equal(401, await StatusAsync(http.PostAsync(task.CallBackUrl, unsigned)));
        Assert.Equal(0, await InboxOfAsync(task));
    }

    [Theory]
    [InlineData("kie/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")] // of nobody
    [InlineData("kie/short")]
    [InlineData("kie/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")] // too long
    [InlineData("ark/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")]
    public async Task A_callback_for_an_unknown_task_is_not_kept(string path)
    {
        using var http = new HttpClient();
        Assert.Equal(404, await StatusAsync(http.CallBackAsync(
            new Uri(system.Http.BaseAddress!, $"/api/webhooks/{path}"), "unknown", KieCallbacks.Body("unknown"))));
        Assert.Equal(0, await system.ScalarAsync<long>("SELECT count(*) FROM webhook_inbox WHERE body LIKE '%\"unknown\"%'"));
    }

    [Fact]
    public async Task A_token_of_one_provider_is_unknown_to_another_and_a_body_has_its_bounds()
    {
        await system.EndOfAsync(await system.SubmitAsync("nano-banana", new { prompt = "bounded [fault=callback-none]" }));
        var task = Assert.Single(await system.TasksAsync("bounded"));
        using var http = new HttpClient();
        var elsewhere = new Uri(task.CallBackUrl!.AbsoluteUri.Replace("/webhooks/kie/", "/webhooks/ark/", StringComparison.Ordinal));

        Assert.Equal(404, await StatusAsync(http.CallBackAsync(elsewhere, task.TaskId, KieCallbacks.Body(task.TaskId))));
        Assert.Equal(413, await StatusAsync(http.CallBackAsync(
            task.CallBackUrl!, task.TaskId, KieCallbacks.Body(task.TaskId, new string('x', 300_000)))));
        Assert.Equal(0, await InboxOfAsync(task));
    }

    [Fact]
    public async Task A_callback_while_the_database_is_unavailable_is_asked_for_again_and_polling_finishes_the_session()
    {
        await using var own = await StartAsync();
        var id = await own.SubmitAsync("nano-banana", new { prompt = "unheard [callback-gate=hold]" });
        await own.TasksAsync("unheard");
        await own.ExecuteAsync("ALTER TABLE webhook_inbox RENAME TO webhook_inbox_gone"); // an inbox that cannot be written
        await own.Sim.OpenGateAsync("hold");
        var task = await own.AnsweredAsync("unheard", 1);
        await own.ExecuteAsync("ALTER TABLE webhook_inbox_gone RENAME TO webhook_inbox");

        Assert.InRange(task.Callbacks[0].Status, 500, 599); // Kie may come again
        Assert.Equal("completed", (string?)(await own.EndOfAsync(id))["status"]);
        await own.AssertAllIsWellAsync();
    }

    [Fact]
    public async Task Without_a_key_in_the_account_a_callback_is_known_by_its_token()
    {
        await using var own = await StartAsync(options =>
        {
            options.Settings["environment"] = "Development"; // elsewhere the services do not start so
            options.Settings["Providers:Kie:WebhookHmacKey"] = "";
            options.Settings["Providers:Kie:CallbackPatience"] = "00:10:00";
        });
        Assert.Equal("completed", (string?)(await own.EndOfAsync(
            await own.SubmitAsync("nano-banana", new { prompt = "plain [fault=callback-unsigned]" })))["status"]);
        await own.AssertAllIsWellAsync();
    }

    /// <summary>A session whose task runs until the test cancels it.</summary>
    private async Task<(Guid Id, SimTask Task)> WaitingAsync(string words)
    {
        var id = await system.SubmitAsync("kling-2.6", new { prompt = $"{words} [fault=callback-none][latency=600000]" });
        await system.UntilAsync($"SELECT phase = 'awaiting_provider' FROM generation_sessions WHERE session_id = '{id}'");
        return (id, Assert.Single(await system.TasksAsync(words)));
    }

    private async Task CancelAsync(Guid id)
    {
        using var answer = await system.Http.PostAsync($"/api/generations/{id}/cancel", null);
        Assert.Equal("canceled", (string?)(await system.EndOfAsync(id))["status"]);
    }

    private Task<long> InboxOfAsync(SimTask task, string condition = "true") =>
        system.ScalarAsync<long>($"SELECT count(*) FROM webhook_inbox JOIN provider_tasks USING (provider_task_id) WHERE task_id = '{task.TaskId}' "
            + $"AND {condition}");

    private static async Task<int> StatusAsync(Task<HttpResponseMessage> sending)
    {
        using var answer = await sending;
        return (int)answer.StatusCode;
    }

    private static Task<TestSystem> StartAsync(Action<TestSystemOptions>? configure = null) => TestSystem.StartAsync(options =>
    {
        options.IsPublic = true;
        options.Credits = 100_000;
        options.Settings["Providers:Kie:CallbackPatience"] = "00:00:01";
        configure?.Invoke(options);
    });

    public sealed class PollingSystem : IAsyncLifetime
    {
        public TestSystem System { get; private set; } = null!;

        public async ValueTask InitializeAsync() => System = await StartAsync();

        public ValueTask DisposeAsync() => System.DisposeAsync();
    }
}
