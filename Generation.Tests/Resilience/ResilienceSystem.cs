using System.Net;
using Generation.Tests.Harness;

namespace Generation.Tests.Resilience;

/// <summary>
/// One whole system with a Postgres and a Redis of its own, and a proxy before each, for all the troubles of a class, one after another.
/// Every trouble must leave it as it was.
/// </summary>
public sealed class ResilienceSystem : IAsyncLifetime
{
    /// <summary>Longer than any trouble: what must last here is the work, and a busy machine must not look like a dead worker.</summary>
    private const string Lease = "00:00:25";

    private string mockToken = "";

    public TestSystem System { get; private set; } = null!;

    /// <summary>The Api, as an administrator.</summary>
    public HttpClient Admin { get; private set; } = null!;

    public IEnumerable<ITestService> Services => System.Apis.Concat(System.Relays).Concat(System.Workers);

    public async ValueTask InitializeAsync()
    {
        System = await TestSystem.StartAsync(o =>
        {
            (o.OwnPostgres, o.OwnRedis, o.Proxies, o.Credits, o.MaxConnections) = (true, true, true, 1_000_000, 60);
            o.Settings["Worker:LeaseDuration"] = Lease;
            o.Settings["Worker:Concurrency"] = "8";
            o.Settings["Database:PoolSize"] = "8";
            o.Settings["Settings:CacheMs"] = "60000"; // a key that is looked up anew would wait for a held answer in place of the submit
            o.Sim["Sim:LatencyMs"] = "150";
        });
        var (_, key) = await System.AddUserAsync("admin", 0, "admin");
        Admin = System.Client(System.Apis[0], key);
        using var answer = await Admin.PostAsync(new Uri("/api/admin/mock-overrides", UriKind.Relative), null);
        mockToken = (string)(await TestSystem.ReadAsync(answer))["token"]!;
    }

    public async ValueTask DisposeAsync()
    {
        Admin.Dispose();
        await System.DisposeAsync();
    }

    /// <summary>Posts one picture. Every second one is a mock.</summary>
    internal Task<HttpResponseMessage> PostAsync(string key, bool isMock) => System.PostAsync(
        new { model = "seedream-4", @params = new { prompt = key, size = "1K", n = 2 } }, key, header: isMock ? ("x-mock-override", mockToken)
            : null);

    /// <summary>Waits until a service says that it takes traffic, or that it does not.</summary>
    internal static async Task UntilReadyAsync(ITestService service, HttpStatusCode wanted)
    {
        using var http = new HttpClient { BaseAddress = service.Address };
        var started = TimeProvider.System.GetTimestamp();
        while (true)
        {
            using var answer = await http.GetAsync(new Uri("/readyz", UriKind.Relative));
            if (answer.StatusCode == wanted) return;
            Assert.True(TimeProvider.System.GetElapsedTime(started) < TimeSpan.FromSeconds(60),
                $"/readyz stays {answer.StatusCode}: {await answer.Content.ReadAsStringAsync()}");
            await Task.Delay(TimeSpan.FromMilliseconds(50), TimeProvider.System, CancellationToken.None);
        }
    }

    internal async Task UntilAllAreReadyAsync()
    {
        foreach (var service in Services) await UntilReadyAsync(service, HttpStatusCode.OK);
    }
}

/// <summary>
/// A little load that goes on through a trouble: clients that post one picture after another, and repeat a refused post with the same key,
/// as clients should. What the Api may answer meanwhile is 202, or 503 with a known code and <c>Retry-After</c>.
/// </summary>
internal sealed class SteadyLoad : IAsyncDisposable
{
    private const int Clients = 4;
    private static readonly string[] Codes = ["database_unavailable", "overloaded"];

    private readonly ResilienceSystem system;
    private readonly string word;
    private readonly CancellationTokenSource enough = new();
    private readonly Task[] clients;
    private readonly Lock gate = new();
    private readonly Dictionary<string, Guid> accepted = new(StringComparer.Ordinal);
    private readonly List<string> violations = [];
    private int refused;

    private SteadyLoad(ResilienceSystem system, string word)
    {
        (this.system, this.word) = (system, word);
        clients = [.. Enumerable.Range(0, Clients).Select(client => Task.Run(() => PostAsync(client)))];
    }

    public int Accepted
    {
        get
        {
            lock (gate) return accepted.Count;
        }
    }

    public int Refused => Volatile.Read(ref refused);

    /// <summary>Starts, and comes back when jobs run.</summary>
    public static async Task<SteadyLoad> StartAsync(ResilienceSystem system, string word)
    {
        var load = new SteadyLoad(system, word);
        await system.System.UntilAsync(
            $"SELECT count(*) > 3 FROM media JOIN generation_sessions USING (session_id) WHERE client_key LIKE '{word}-%'");
        return load;
    }

    /// <summary>Waits until so many more were accepted, or refused.</summary>
    public Task UntilAcceptedAsync(int more) => UntilAsync(() => Accepted, more, "accepted");

    /// <inheritdoc cref="UntilAcceptedAsync"/>
    public Task UntilRefusedAsync(int more) => UntilAsync(() => Refused, more, "refused");

    /// <summary>
    /// Ends the load when the trouble is over: every post is answered in the end, every session of a 202 is completed with two pictures,
    /// each bought once, and nothing else was made; the books are clean, and every service lives and is ready.
    /// </summary>
    public async Task EndAndAssertNothingIsLostAsync()
    {
        await enough.CancelAsync();
        await Task.WhenAll(clients).WaitAsync(TimeSpan.FromSeconds(90));
        var db = system.System;
        Assert.True(violations.Count == 0, string.Join('\n', violations.Take(10)));
        await db.UntilAsync($"SELECT count(*) = 0 FROM generation_sessions WHERE completed_at IS NULL AND client_key LIKE '{word}-%'",
            TimeSpan.FromSeconds(90));
        Assert.Equal(
            $"{accepted.Count} completed, {accepted.Count * 2} pictures",
            await db.ScalarAsync<string>(
                $"""
                SELECT string_agg(format('%s %s%s, %s pictures', n, status, error_code, pictures), '; ')
                FROM (
                    SELECT count(*) AS n, status, error_code, sum((SELECT count(*) FROM media AS m WHERE m.session_id = s.session_id)) AS pictures
                    FROM generation_sessions AS s
                    WHERE client_key LIKE '{word}-%'
                    GROUP BY 2, 3
                ) AS g
                """) + (await FailuresAsync()));
        Assert.Equal(2 * accepted.Keys.Count(key => !IsMock(key)), await db.Sim.PaidAsync(word));
        await db.AssertBooksAreCleanAsync();
        await db.AssertMediaAreStoredAsync();
        await system.UntilAllAreReadyAsync();
    }

    public async ValueTask DisposeAsync()
    {
        await enough.CancelAsync();
        enough.Dispose();
    }

    private static bool IsMock(string key) => key[^1] % 2 == 0;

    private async Task<string> FailuresAsync() =>
        await system.System.ScalarAsync<string>(
            $"""
            SELECT '; ' || string_agg(e.message || e.detail::text, '; ')
            FROM error_events AS e
            JOIN generation_sessions AS s USING (session_id)
            WHERE s.client_key LIKE '{word}-%' AND s.status = 'failed'
            """) ?? "";

    private async Task PostAsync(int client)
    {
        for (var i = 0; !enough.IsCancellationRequested; i++)
        {
            var key = $"{word}-{client}-{i}";
            while (!await IsAcceptedAsync(key))
            {
                await Task.Delay(TimeSpan.FromMilliseconds(200), TimeProvider.System, CancellationToken.None);
            }

            await Task.Delay(TimeSpan.FromMilliseconds(150), TimeProvider.System, CancellationToken.None);
        }
    }

    private async Task<bool> IsAcceptedAsync(string key)
    {
        try
        {
            using var response = await system.PostAsync(key, IsMock(key));
            var answer = await TestSystem.ReadAsync(response);
            if (response.StatusCode == HttpStatusCode.Accepted)
            {
                lock (gate) accepted.Add(key, answer["sessionId"]!.GetValue<Guid>());
                return true;
            }

            Interlocked.Increment(ref refused);
            if (response.StatusCode != HttpStatusCode.ServiceUnavailable || !Codes.Contains((string?)answer["code"])
                || response.Headers.RetryAfter?.Delta is null)
            {
                lock (gate) violations.Add($"{key}: {response.StatusCode} {answer}");
            }
        }
        catch (Exception e) when (e is HttpRequestException or InvalidOperationException or OperationCanceledException)
        {
            lock (gate) violations.Add($"{key}: {e.Message}");
        }

        return false;
    }

    private async Task UntilAsync(Func<int> count, int more, string what)
    {
        var (wanted, started) = (count() + more, TimeProvider.System.GetTimestamp());
        while (count() < wanted)
        {
            Assert.True(TimeProvider.System.GetElapsedTime(started) < TimeSpan.FromSeconds(60),
                $"Not {more} more were {what}.\n{system.System.Logs()}");
            await Task.Delay(TimeSpan.FromMilliseconds(20), TimeProvider.System, CancellationToken.None);
        }
    }
}
