using System.Collections.Concurrent;
using System.Net;
using System.Text.Json;
using Generation.Tests.Harness;

namespace Generation.Tests.Resilience;

/// <summary>
/// A deploy: every service is replaced by SIGTERM while clients submit and watch. Nothing is lost, bought twice, or told backwards.
/// </summary>
[Trait("tier", "process")]
public sealed class RollingRestartTests
{
    private const int Clients = 6;
    private static readonly TimeSpan GracePeriod = TimeSpan.FromSeconds(45);

    [Fact]
    public async Task A_rolling_restart_of_every_service_under_load_loses_and_duplicates_nothing()
    {
        TestSystemOptions options = null!;
        await using var system = await TestSystem.StartAsync(o =>
        {
            (options = o).AsProcesses = true;
            (o.Apis, o.Relays, o.Workers, o.Credits) = (2, 2, 2, 100_000);
            o.Settings["Worker:LeaseDuration"] = "00:00:30"; // a busy machine must not look like a dead worker
            o.Settings["Worker:DrainTimeout"] = "00:00:40";
            o.Settings["Shutdown:GracePeriod"] = GracePeriod.ToString();
            o.Settings["Shutdown:DrainDelay"] = "00:00:00.500";
        });
        using var rolled = new CancellationTokenSource();
        var apis = new ConcurrentDictionary<int, HttpClient>(system.Apis.Select((api, i) => KeyValuePair.Create(i, system.Client(api))));
        var watched = new ConcurrentBag<Watched>();
        var clients = Enumerable.Range(0, Clients).Select(client => Task.Run(async () =>
        {
            for (var n = 0; !rolled.IsCancellationRequested; n++)
            {
                watched.Add(await UseAsync(apis, $"rolled {client}-{n}."));
            }
        })).ToList();

        // One of each service at a time; its successor comes when it has gone.
        for (var i = 0; i < 2; i++)
        {
            await system.UntilAsync($"SELECT count(*) >= {(i + 1) * Clients} AND EXISTS (SELECT FROM provider_tasks WHERE state = 'intent') FROM "
                + "generation_sessions WHERE completed_at IS NOT NULL");
            await Task.WhenAll(
                ReplaceAsync(system.Relays[i], system.AddRelayAsync),
                ReplaceAsync(system.Workers[i], system.AddWorkerAsync),
                ReplaceAsync(system.Apis[i], async () =>
                {
                    var successor = await system.AddApiAsync();
                    apis[i] = system.Client(successor);
                    return successor;
                }));
        }

        await rolled.CancelAsync();
        await Task.WhenAll(clients);
        await system.AssertAllIsWellAsync();
        // A job without a call under way is handed back at once, and so claimed twice; none is lost, and none is paid for twice.
        Assert.Equal($"{watched.Count} completed, lost 0", await system.ScalarAsync<string>(
            """
            SELECT string_agg(format('%s %s, lost %s', n, status, lost_leases), '; ')
            FROM (SELECT count(*) AS n, status, lost_leases FROM generation_sessions GROUP BY 2, 3) AS g
            """));
        Assert.Equal(watched.Count, watched.Select(w => w.SessionId).Distinct().Count());
        foreach (var session in watched)
        {
            Assert.True(session.Problem is null, $"{session.Prompt} {session.Problem}\n{string.Join('\n', session.Told)}");
            Assert.Equal((2, 2), ((await system.CallsAsync(session.Prompt)).Count, await system.Sim.PaidAsync(session.Prompt)));
        }

        Assert.Contains(watched, w => w.Connections > 1); // else nobody watched a deploy
        TestContext.Current.TestOutputHelper!.WriteLine(
            $"{watched.Count} sessions; {watched.Count(w => w.Connections > 1)} were watched at more than one Api.");
        foreach (var http in apis.Values)
        {
            http.Dispose();
        }
    }

    private static async Task ReplaceAsync(ITestService service, Func<Task<ITestService>> add)
    {
        var since = TimeProvider.System.GetTimestamp();
        Assert.Equal(0, await ((ProcessService)service).StopAsync(GracePeriod * 2));
        Assert.True(TimeProvider.System.GetElapsedTime(since) < GracePeriod);
        await add();
    }

    /// <summary>As a client does that wants its pictures: the same key, and the same stream, at whichever Api answers.</summary>
    private static async Task<Watched> UseAsync(ConcurrentDictionary<int, HttpClient> apis, string prompt)
    {
        using var timeout = new CancellationTokenSource(TimeSpan.FromSeconds(120), TimeProvider.System);
        var watched = new Watched(prompt);
        for (var attempt = 0; ; attempt++)
        {
            try
            {
                var http = apis[attempt % apis.Count];
                watched.SessionId ??= await SubmitAsync(http, prompt, timeout.Token);
                if (watched.SessionId is { } id && await WatchAsync(http, id, watched, timeout.Token))
                {
                    return watched;
                }
            }
            catch (Exception e) when (e is HttpRequestException or IOException or ObjectDisposedException)
            {
                // That Api is gone; the other one knows as much.
            }

            await Task.Delay(TimeSpan.FromMilliseconds(50), TimeProvider.System, timeout.Token);
        }
    }

    private static async Task<Guid?> SubmitAsync(HttpClient http, string prompt, CancellationToken ct)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, "/api/generations")
        {
            Content = new StringContent(JsonSerializer.Serialize(
                new { model = "seedream-4", @params = new { prompt = $"{prompt} [latency=200]", size = "1K", n = 2 } }), null, "application/json"),
            Headers = { { "Idempotency-Key", prompt } },
        };
        using var response = await http.SendAsync(request, ct);
        Assert.Contains(response.StatusCode, new[] { HttpStatusCode.Accepted, HttpStatusCode.ServiceUnavailable });
        return response.StatusCode == HttpStatusCode.Accepted ? (Guid)(await TestSystem.ReadAsync(response))["sessionId"]! : null;
    }

    /// <summary>True when it was told of the end.</summary>
    private static async Task<bool> WatchAsync(HttpClient http, Guid sessionId, Watched watched, CancellationToken ct)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, $"/api/generations/{sessionId}/events");
        if (watched.LastId > 0)
        {
            request.Headers.Add("Last-Event-ID", $"{watched.LastId}");
        }

        using var response = await http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, ct);
        if (response.StatusCode == HttpStatusCode.ServiceUnavailable)
        {
            return false;
        }

        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        watched.Connections++;
        using var reader = new StreamReader(await response.Content.ReadAsStreamAsync(ct));
        var (name, id, hint) = ("", (long?)null, false);
        while (await reader.ReadLineAsync(ct) is { } line)
        {
            hint |= line.StartsWith("retry: ", StringComparison.Ordinal);
            name = line.StartsWith("event: ", StringComparison.Ordinal) ? line[7..] : name;
            id = line.StartsWith("id: ", StringComparison.Ordinal) ? long.Parse(line[4..]) : id;
            if (line.StartsWith("data: ", StringComparison.Ordinal))
            {
                watched.Tell(name, id, JsonDocument.Parse(line[6..]).RootElement);
                (name, id) = ("", null);
            }
        }

        if (!watched.HasEnded && !hint)
        {
            watched.Problem ??= "A stream ended without its session and without a hint when to come back.";
        }

        return watched.HasEnded;
    }

    /// <summary>What one client was told of one session, over all its connections.</summary>
    private sealed class Watched(string prompt)
    {
        public string Prompt => prompt;

        public Guid? SessionId { get; set; }

        public int Connections { get; set; }

        public long LastId { get; private set; }

        public bool HasEnded { get; private set; }

        public string? Problem { get; set; }

        public List<string> Told { get; } = [];

        private long version;

        public void Tell(string name, long? id, JsonElement data)
        {
            Told.Add($"{Connections} {name} {id} {data}");
            var next = data.GetProperty("version").GetInt64();
            if (next < version || id <= LastId && name != "done")
            {
                Problem ??= $"{name} {id} of version {next} came after {version}, and after the id {LastId}.";
            }

            (version, LastId) = (next, id ?? LastId);
            HasEnded |= name is "done" or "failed" or "canceled";
            if (HasEnded && (name != "done" || data.GetProperty("media").GetArrayLength() != 2))
            {
                Problem ??= "It did not end with two pictures.";
            }
        }
    }
}
