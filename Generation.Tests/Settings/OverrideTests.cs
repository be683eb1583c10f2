using System.Net;
using System.Text.Json.Nodes;
using Generation.Core.Settings;
using Generation.Relay;
using Generation.Tests.Harness;
using Generation.Tests.Providers.Ark;
using Generation.Worker;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;

namespace Generation.Tests.Settings;

/// <summary>The operator's settings (<c>app_settings</c>) win over configuration and take effect while everything runs.</summary>
[Trait("tier", "slow")]
public sealed class OverrideTests
{
    [Fact]
    public async Task Concurrency_can_be_lowered_stopped_and_raised_live()
    {
        var (running, most) = (0, 0);
        var (firstCame, threeCame) = (Signal(), Signal());
        var answerFirst = Signal();
        var wantedAtOnce = 1;
        await using var ark = await LocalArk.StartAsync(async context =>
        {
            var now = Interlocked.Increment(ref running);
            InterlockedMax(ref most, now);
            firstCame.TrySetResult();
            if (Volatile.Read(ref wantedAtOnce) == 1)
            {
                await answerFirst.Task.WaitAsync(LocalArk.MaxWait);
            }
            else
            {
                if (now == 3)
                {
                    threeCame.TrySetResult();
                }

                await threeCame.Task.WaitAsync(LocalArk.MaxWait); // were fewer allowed at once, this would not end
            }

            Interlocked.Decrement(ref running);
            await DeliverAsync(context);
        });
        await using var system = await TestSystem.StartAsync(o =>
        {
            (o.Workers, o.Settings["Settings:CacheMs"]) = (0, "0");
            o.Settings["Providers:Ark:BaseUrl"] = $"{ark.Address}/api/v3";
        });
        await SetAsync(system, "gen_worker_concurrency", "1");
        await system.AddWorkerAsync();

        // One at a time: three wait while the first is held at the provider.
        var ids = new List<Guid>();
        for (var i = 0; i < 4; i++)
        {
            ids.Add(await system.SubmitAsync($"one by one {i}"));
        }

        await firstCame.Task.WaitAsync(LocalArk.MaxWait);
        await system.UntilAsync("SELECT count(*) = 3 FROM outbox WHERE dispatched_at IS NOT NULL");

        // None at all: the first ends, no other begins, though their messages wait in the queue.
        await SetAsync(system, "gen_worker_concurrency", "0");
        answerFirst.SetResult();
        await system.EndOfAsync(await FirstStartedAsync(system));
        ids.Add(await system.SubmitAsync("one by one 4"));
        await system.UntilAsync("SELECT count(*) = 4 FROM outbox WHERE dispatched_at IS NOT NULL");
        Assert.Single(ark.Calls);
        Assert.Equal((1, 4), (most, await system.ScalarAsync<long>("SELECT count(*) FROM generation_sessions WHERE status = 'queued'")));

        // One again, one after the other; then three at once.
        await SetAsync(system, "gen_worker_concurrency", "1");
        await system.UntilAsync("SELECT count(*) >= 2 FROM generation_sessions WHERE status = 'completed'");
        Assert.Equal(1, most);
        await Task.WhenAll(ids.Select(id => system.EndOfAsync(id)));
        Assert.Equal(1, most);
        Volatile.Write(ref wantedAtOnce, 3);
        await SetAsync(system, "gen_worker_concurrency", "3");
        var more = await Task.WhenAll(Enumerable.Range(0, 6).Select(i => system.SubmitAsync($"three by three {i}")));
        await Task.WhenAll(more.Select(id => system.EndOfAsync(id)));
        Assert.Equal(3, most);
        await system.AssertBooksAreCleanAsync();
    }

    [Fact]
    public async Task Mock_mode_and_its_uploads_are_switched_live_and_shared_samples_open_by_their_addresses()
    {
        await using var system = await TestSystem.StartAsync(o => o.Settings["Settings:CacheMs"] = "0");
        await SetAsync(system, "mock_mode", "true");
        await SetAsync(system, "upload_mock_outputs_to_b2", "false");
        var shared = await system.EndOfAsync(await system.SubmitAsync("a picture of nobody", n: 5));

        Assert.Equal(("completed", 5, 20), ((string?)shared["status"], shared["media"]!.AsArray().Count, (int?)shared["receipt"]!["captured"]));
        Assert.Empty(await system.CallsAsync("nobody"));
        Assert.Empty(system.StoredFiles());
        Assert.Equal(5, await system.ScalarAsync<long>("SELECT count(*) FROM media WHERE object_key LIKE 'samples/%'"));
        using var stranger = new HttpClient();
        foreach (var media in shared["media"]!.AsArray())
        {
            var picture = await stranger.GetAsync((string)media!["url"]!);
            Assert.Equal((HttpStatusCode.OK, "image/jpeg"), (picture.StatusCode, picture.Content.Headers.ContentType?.MediaType));
            var bytes = await picture.Content.ReadAsByteArrayAsync();
            Assert.Equal((long)media["bytes"]!, bytes.Length);
            Assert.Equal((string?)media["sha256"], Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(bytes)));
        }

        await SetAsync(system, "upload_mock_outputs_to_b2", "true");
        await system.EndOfAsync(await system.SubmitAsync("a picture of nobody, kept"));
        Assert.Single(system.StoredFiles());

        await SetAsync(system, "mock_mode", "false");
        await system.EndOfAsync(await system.SubmitAsync("a real picture of nobody"));
        Assert.Equal(1, await system.Sim.PaidAsync("nobody"));
        await system.AssertBooksAreCleanAsync();
        await system.AssertNothingIsLeftBehindAsync();
    }

    [Fact]
    public async Task A_worker_believes_the_settings_for_as_long_as_it_is_told_and_the_others_for_the_usual_time()
    {
        await using var system = await TestSystem.StartAsync(o => (o.Apis, o.Settings["Worker:SettingsRefreshMs"]) = (0, "600000"));
        var worker = ((InProcessService<WorkerOptions>)system.Workers[0]).Services.GetRequiredService<AppSettings>();
        var relay = ((InProcessService<RelayOptions>)system.Relays[0]).Services.GetRequiredService<AppSettings>();
        Assert.False(await worker.MockModeAsync(default));

        await SetAsync(system, "mock_mode", "true");

        using var timeout = new CancellationTokenSource(TimeSpan.FromSeconds(20));
        while (!await relay.MockModeAsync(timeout.Token))
        {
            await Task.Delay(TimeSpan.FromMilliseconds(50), TimeProvider.System, timeout.Token);
        }

        Assert.False(await worker.MockModeAsync(default));
    }

    private static Task SetAsync(TestSystem system, string key, string json) => system.ExecuteAsync(
        $"INSERT INTO app_settings (key, value) VALUES ('{key}', '{json}') ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = "
            + "now()");

    private static async Task<Guid> FirstStartedAsync(TestSystem system) =>
        await system.ScalarAsync<Guid>("SELECT session_id FROM generation_sessions WHERE started_at IS NOT NULL ORDER BY started_at LIMIT 1");

    private static TaskCompletionSource Signal() => new(TaskCreationOptions.RunContinuationsAsynchronously);

    private static void InterlockedMax(ref int most, int value)
    {
        int seen;
        while ((seen = Volatile.Read(ref most)) < value && Interlocked.CompareExchange(ref most, value, seen) != seen)
        {
            // Somebody else raised it in between.
        }
    }

    private static Task DeliverAsync(HttpContext context)
    {
        var reply = new JsonObject
        {
            ["data"] = new JsonArray(new JsonObject { ["url"] = $"http://{context.Request.Host}{LocalArk.Picture}", ["size"] = "512x512" }),
            ["usage"] = new JsonObject { ["generated_images"] = 1 },
        };
        return context.Response.WriteAsync(reply.ToJsonString());
    }
}
