using System.Net.Http.Json;
using Generation.Tests.Harness;
using Generation.Tests.Resilience;
using Generation.Worker;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;

namespace Generation.Tests.Providers.Ark;

/// <summary>Callbacks as hints, Ark's limits kept over all workers, and a key that is refused while tasks run.</summary>
[Trait("tier", "slow")]
public sealed class SeedanceCallbackTests
{
    private static readonly TimeSpan Never = TimeSpan.FromMinutes(10);

    [Theory]
    [InlineData("")]
    [InlineData("[fault=callback-duplicate]")]
    [InlineData("[fault=callback-disordered]")]
    [InlineData("[callback-delay=1500]")]
    [InlineData("[fault=server-error-paid]")] // nobody knows the task before
    [InlineData("[fault=poll-error:times=1]")] // the callback of the next state asks again
    public async Task A_callback_wakes_a_session_that_nobody_would_ask_for_yet(string words)
    {
        await using var system = await StartAsync(Never, Never);
        var id = await system.SubmitAsync("seedance-2-fast", new { prompt = $"called back {words} [queued=500][latency=1000]", duration = 4 });

        var end = await system.EndOfAsync(id);

        Assert.Equal(("completed", 0), ((string?)end["status"], (int?)end["attempt"]));
        Assert.Single(await system.CallsAsync("called back"));
        Assert.True(await system.ScalarAsync<bool>("SELECT count(*) > 0 FROM webhook_inbox"));
        await system.AssertAllIsWellAsync();
    }

    [Theory]
    [InlineData("[fault=callback-none]")]
    [InlineData("[callback-delay=3600000]")]
    public async Task A_task_that_is_not_called_back_is_asked_for(string words)
    {
        await using var system = await StartAsync(TimeSpan.FromSeconds(1), TimeSpan.FromMilliseconds(200));
        var id = await system.SubmitAsync("seedance-2-fast", new { prompt = $"not called back {words} [latency=1500]", duration = 4 });

        Assert.Equal("completed", (string?)(await system.EndOfAsync(id))["status"]);
        Assert.Single(await system.CallsAsync("not called back"));
        await system.AssertAllIsWellAsync();
    }

    [Fact]
    public async Task A_callback_that_lies_or_was_guessed_books_nothing()
    {
        await using var ark = await LocalArk.StartAsync(context => context.Response.WriteAsync(
            HttpMethods.IsPost(context.Request.Method) ? """{"id":"cgt-1"}""" : """{"status":"running"}"""));
        await using var system = await StartAsync(Never, Never, ("Providers:Ark:BaseUrl", $"{ark.Address}/api/v3"));
        var id = await system.SubmitAsync("seedance-2-fast", new { prompt = "told too early", duration = 4 });
        await system.UntilAsync($"SELECT phase = 'awaiting_provider' FROM generation_sessions WHERE session_id = '{id}'");
        var callbackUrl = (string)ark.Calls.First().Body["callback_url"]!;
        var token = await system.ScalarAsync<long>($"SELECT lease_token FROM generation_sessions WHERE session_id = '{id}'");
        var lie = new { id = "cgt-1", status = "succeeded", content = new { video_url = "https://a.example/v.mp4" } };
        using var stranger = new HttpClient();

        using var guessed = await stranger.PostAsJsonAsync(callbackUrl[..^43] + new string('A', 43), lie);
        using var known = await stranger.PostAsJsonAsync(callbackUrl, lie);

        Assert.Equal((404, 200), ((int)guessed.StatusCode, (int)known.StatusCode));
        // it has asked, and waits again
        await system.UntilAsync($"SELECT lease_token > {token} AND phase = 'awaiting_provider' FROM generation_sessions WHERE session_id = '{id}'");
        Assert.Equal("GET /api/v3/contents/generations/tasks/cgt-1", ark.Calls.Last().Route);
        Assert.Equal(0, await system.ScalarAsync<long>("SELECT count(*) FROM media"));
    }

    [Fact]
    public async Task All_workers_together_ask_no_more_often_than_Ark_allows()
    {
        var asked = 0;
        await using var ark = await LocalArk.StartAsync(context => HttpMethods.IsPost(context.Request.Method)
            ? context.Response.WriteAsync($$"""{"id":"cgt-{{Guid.NewGuid():N}}"}""")
            : context.Response.WriteAsync(Interlocked.Increment(ref asked) < 5 ? """{"status":"running"}"""
                : """{"status":"failed","error":{"code":"OutputVideoSensitiveContentDetected","message":"m"}}"""));
        await using var system = await TestSystem.StartAsync(options =>
        {
            options.Workers = 2;
            options.Settings["Providers:Ark:BaseUrl"] = $"{ark.Address}/api/v3";
            options.Settings["Providers:Ark:VideoReadsPerSecond"] = "1";
        });
        var started = TimeProvider.System.GetTimestamp();
        var ids = await Task.WhenAll(Enumerable.Range(0, 3).Select(
            n => system.SubmitAsync("seedance-2-fast", new { prompt = $"patient {n}", duration = 4 })));
        var ends = await Task.WhenAll(ids.Select(id => system.EndOfAsync(id)));
        var seconds = TimeProvider.System.GetElapsedTime(started).TotalSeconds;

        Assert.All(ends, end => Assert.Equal(("moderation_output", 0), ((string?)end["error"]!["code"], (int?)end["attempt"])));
        Assert.InRange(asked, 7, seconds + 1.5); // unlimited it would be five times a second for each
        await system.AssertBooksAreCleanAsync();
    }

    [Fact]
    public async Task All_workers_together_create_no_more_tasks_than_Ark_allows_and_waiting_for_it_costs_no_attempt()
    {
        await using var system = await TestSystem.StartAsync(options =>
        {
            options.Workers = 2;
            options.Settings["Providers:Ark:VideoCreatesPerMinute"] = "1";
        });
        var first = await system.SubmitAsync("seedance-2-fast", new { prompt = "one a minute", duration = 4 });
        Assert.Equal("completed", (string?)(await system.EndOfAsync(first))["status"]);
        var second = await system.SubmitAsync("seedance-2-fast", new { prompt = "one a minute, the next", duration = 4 });
        await system.UntilAsync($"SELECT phase = 'waiting' AND attempt = 0 FROM generation_sessions WHERE session_id = '{second}'");

        Assert.Single(await system.CallsAsync("one a minute"));
        Assert.Equal(0, await system.ScalarAsync<long>($"SELECT count(*) FROM provider_tasks WHERE session_id = '{second}'"));
        using var canceled = await system.Http.PostAsync($"/api/generations/{second}/cancel", null);
        Assert.Equal("canceled", (string?)(await system.EndOfAsync(second))["status"]);
        await system.AssertBooksAreCleanAsync();
    }

    [Fact]
    public async Task A_key_that_is_refused_while_tasks_run_alerts_once_and_again_only_after_it_was_good()
    {
        var (asked, isRefused) = (0, true);
        await using var ark = await LocalArk.StartAsync(context =>
        {
            if (HttpMethods.IsPost(context.Request.Method))
            {
                return context.Response.WriteAsync($$"""{"id":"cgt-{{Guid.NewGuid():N}}"}""");
            }

            Interlocked.Increment(ref asked);
            context.Response.StatusCode = Volatile.Read(ref isRefused) ? 401 : 200;
            return context.Response.WriteAsync(isRefused ? """{"error":{"code":"AuthenticationError","message":"m"}}""" : """{"status":"running"}""");
        });
        await using var system = await TestSystem.StartAsync(options => options.Settings["Providers:Ark:BaseUrl"] = $"{ark.Address}/api/v3");
        var ids = await Task.WhenAll(Enumerable.Range(0, 2).Select(
            n => system.SubmitAsync("seedance-2-fast", new { prompt = $"locked out {n}", duration = 4 })));
        await UntilAskedAsync(8);
        Assert.Equal(1, Alerts());

        Volatile.Write(ref isRefused, false);
        await UntilAskedAsync(asked + 4);
        Volatile.Write(ref isRefused, true);
        await UntilAskedAsync(asked + 6);

        Assert.Equal(2, Alerts());
        foreach (var id in ids)
        {
            // the tasks are bought, and go on
            Assert.Equal(("processing", 0), ((string?)(await system.GetAsync(id))["status"], (int?)(await system.GetAsync(id))["attempt"]));
        }

        int Alerts() => system.Workers[0].Log.Count(line => line.StartsWith("Critical", StringComparison.Ordinal) && line.Contains(
            "ark rejected a task query (AuthenticationError)", StringComparison.Ordinal));

        async Task UntilAskedAsync(int times)
        {
            var started = TimeProvider.System.GetTimestamp();
            while (Volatile.Read(ref asked) < times)
            {
                Assert.True(TimeProvider.System.GetElapsedTime(started) < LocalArk.MaxWait, $"asked {asked} times of {times}");
                await Task.Delay(TimeSpan.FromMilliseconds(20), TimeProvider.System, CancellationToken.None);
            }
        }
    }

    /// <summary>A system whose Api the simulator can call.</summary>
    private static async Task<TestSystem> StartAsync(TimeSpan callbackWait, TimeSpan pollInterval, params (string Key, string Value)[] settings)
    {
        TestSystem? system = null;
        system = await TestSystem.StartAsync(options =>
        {
            options.Workers = 0; // they are told the Api's address, which is not known before it runs
            options.Settings["Providers:Ark:VideoCallbackPatience"] = callbackWait.ToString();
            options.Settings["Providers:Ark:VideoPollInterval"] = pollInterval.ToString();
            foreach (var (key, value) in settings)
            {
                options.Settings[key] = value;
            }

            options.Worker = services => services.PostConfigure<WorkerOptions>(worker => worker.PublicBaseUrl = system!.Apis[0].Address.ToString());
        });
        await system.AddWorkerAsync();
        return system;
    }
}
