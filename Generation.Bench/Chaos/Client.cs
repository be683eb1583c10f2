using System.Collections.Concurrent;
using System.Net;
using System.Net.Http.Json;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Generation.Bench.Chaos;

/// <summary>What a client knows of one session that was accepted.</summary>
/// <param name="Plan">What was asked.</param>
/// <param name="SessionId">What was answered.</param>
internal sealed record Order(Plan Plan, Guid SessionId)
{
    /// <summary>The session that it is another try of.</summary>
    public Guid? RetryOf { get; init; }

    /// <summary>How it ended, as it was shown first; null: it has not, as far as we were told.</summary>
    public string? End { get; set; }

    public long EndVersion { get; set; }

    /// <summary>The newest version that was shown.</summary>
    public long Version { get; set; }

    /// <summary>A cancel was asked for, and the wish may have been heard.</summary>
    public bool CancelSent { get; set; }
}

/// <summary>
/// The users: each request has a key of its own, is sent again with the same key when there is no answer or a 429 or 503, to whichever
/// Api answers, after the time that the answer names; then it is watched to its end.
/// </summary>
internal sealed class Client : IDisposable
{
    private static readonly TimeSpan Timeout = TimeSpan.FromSeconds(8);
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(200); // longer each time
    private static readonly TimeSpan MaxPause = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan MaxRetryAfter = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan AskInterval = TimeSpan.FromMilliseconds(700);

    private readonly HttpClient[][] clients;
    private readonly Watcher watcher;
    private readonly string mockToken;
    private int turn;

    public Client(ChaosSystem system, string mockToken)
    {
        clients = [.. Enumerable.Range(0, ChaosSystem.Users).Select(user =>
            Enumerable.Range(0, system.Apis.Addresses.Count).Select(api => system.Client(api, ChaosSystem.UserKey(user), Timeout)).ToArray())];
        this.mockToken = mockToken;
        watcher = new Watcher(this);
    }

    /// <summary>Every session that was accepted.</summary>
    public ConcurrentDictionary<Guid, Order> Orders { get; } = new();

    /// <summary>Broken promises that were seen while they happened, by promise.</summary>
    public ConcurrentQueue<(Promise Promise, string What)> Broken { get; } = new();

    /// <summary>Requests that got no answer at all, refusals by status, streams opened again: how rough it was.</summary>
    public ConcurrentDictionary<string, int> Weather { get; } = new(StringComparer.Ordinal);

    /// <summary>Requests that have not been accepted yet.</summary>
    public int Asking => Volatile.Read(ref asking);

    private int asking;

    public HttpClient Http(int user) => clients[user][(Interlocked.Increment(ref turn) & int.MaxValue) % clients[user].Length];

    public void Count(string what) => Weather.AddOrUpdate(what, 1, (_, count) => count + 1);

    /// <summary>One request from its first try to the end of its session, and maybe of its retry.</summary>
    public async Task LiveAsync(Plan plan, CancellationToken ct)
    {
        Interlocked.Increment(ref asking);
        Order order;
        try
        {
            var tries = plan.AsksTwice ? [SubmitAsync(plan, 0, ct), SubmitAsync(plan, 1, ct)] : new[] { SubmitAsync(plan, plan.Number, ct) };
            var ids = (await Task.WhenAll(tries)).OfType<Guid>().Distinct().ToList();
            if (ids.Count > 1)
            {
                Broken.Enqueue((Promise.AskingTwiceCostsOnce, $"{plan.Key}: sessions {string.Join(" and ", ids)}"));
            }

            if (ids.Count == 0)
            {
                return; // refused, and told as broken
            }

            order = Orders.GetOrAdd(ids[0], id => new Order(plan, id));
        }
        finally
        {
            Interlocked.Decrement(ref asking);
        }

        var canceling = plan.CancelAfter is { } after ? CancelAsync(order, after, ct) : Task.CompletedTask;
        await FollowAsync(order, ct);
        await canceling;
        if (order.End == "failed" && plan.Retries && await RetryAsync(order, ct) is { } again)
        {
            await FollowAsync(again, ct);
        }
    }

    /// <summary>Sends a request until it is answered with something else than 429 or 503.</summary>
    public async Task<(HttpStatusCode Status, JsonObject? Body)> InsistAsync(
        int user, int api, HttpMethod method, string path, JsonObject? body, IReadOnlyList<(string Name, string Value)> headers, CancellationToken ct)
    {
        for (var attempt = 0; ; attempt++)
        {
            var pause = Pause * (attempt + 1) is var wait && wait < MaxPause ? wait : MaxPause;
            try
            {
                using var request = new HttpRequestMessage(method, new Uri(path, UriKind.Relative))
                {
                    Content = body is null ? null
                    : JsonContent.Create(body)
                };
                foreach (var (name, value) in headers)
                {
                    request.Headers.Add(name, value);
                }

                using var answer = await clients[user][(api + attempt) % clients[user].Length].SendAsync(request, ct);
                if (answer.StatusCode is not (HttpStatusCode.TooManyRequests or HttpStatusCode.ServiceUnavailable))
                {
                    var text = await answer.Content.ReadAsStringAsync(ct);
                    if (answer.StatusCode < HttpStatusCode.InternalServerError)
                    {
                        return (
                        answer.StatusCode, text.Length == 0 ? null : JsonNode.Parse(text)!.AsObject());
                    }

                    Broken.Enqueue((Promise.OverloadSheds, $"{method} {path} was answered with {(int)answer.StatusCode}: {text}"));
                    continue;
                }

                Count($"{(int)answer.StatusCode}");
                if (answer.Headers.RetryAfter?.Delta is { } wanted)
                {
                    pause = wanted < MaxRetryAfter ? wanted : MaxRetryAfter;
                }
                else
                {
                    Broken.Enqueue((Promise.OverloadSheds, $"{method} {path}: {(int)answer.StatusCode} without Retry-After"));
                }
            }
            catch (Exception e) when (e is HttpRequestException or IOException or JsonException || (
                e is OperationCanceledException && !ct.IsCancellationRequested))
            {
                Count("no answer"); // it was killed or is paused; whether it has done what was asked is found out by asking again
            }

            await Task.Delay(pause, TimeProvider.System, ct);
        }
    }

    /// <summary>What a stream or an answer has shown of a session: it must not be older than what was shown before, nor another end.</summary>
    public void Show(Order order, string status, long version, string where)
    {
        lock (order)
        {
            if (version < order.Version)
            {
                Broken.Enqueue((
                Promise.StateNeverGoesBackwards, $"{order.SessionId}: version {version} after {order.Version} {where}"));
            }

            order.Version = Math.Max(order.Version, version);
            if (status is not ("completed" or "failed" or "canceled"))
            {
                if (order.End is not null)
                {
                    Broken.Enqueue((Promise.EndsOnce, $"{order.SessionId}: {status} after {order.End} {where}"));
                }

                return;
            }

            order.End ??= status;
            if (order.EndVersion == 0)
            {
                order.EndVersion = version;
            }

            if (order.End != status || order.EndVersion != version)
            {
                Broken.Enqueue((Promise.EndsOnce,
                    $"{order.SessionId}: {order.End} in version {order.EndVersion}, then {status} in version {version} {where}"));
            }
        }
    }

    public void Dispose()
    {
        foreach (var client in clients.SelectMany(own => own))
        {
            client.Dispose();
        }
    }

    private async Task<Guid?> SubmitAsync(Plan plan, int api, CancellationToken ct)
    {
        var body = new JsonObject { ["model"] = plan.Model, ["params"] = plan.Params.DeepClone() };
        List<(string, string)> headers = [("Idempotency-Key", plan.Key)];
        if (plan.IsMock)
        {
            headers.Add(("x-mock-override", mockToken));
        }

        var (status, answer) = await InsistAsync(plan.User, api, HttpMethod.Post, "/api/generations", body, headers, ct);
        if (status == HttpStatusCode.Accepted)
        {
            return (Guid)answer!["sessionId"]!;
        }

        Broken.Enqueue((Promise.AcceptedIsDurable, $"{plan.Key}, {plan.Model}: refused with {(int)status} {answer?.ToJsonString()}"));
        return null;
    }

    private Task FollowAsync(Order order, CancellationToken ct) => order.Plan.Watches ? watcher.WatchAsync(order, ct) : AskAsync(order, ct);

    private async Task AskAsync(Order order, CancellationToken ct)
    {
        while (true)
        {
            var (status, session) = await InsistAsync(order.Plan.User, order.Plan.Number, HttpMethod.Get, $"/api/generations/{order.SessionId}", null,
                [], ct);
            if (status != HttpStatusCode.OK)
            {
                Broken.Enqueue((Promise.AcceptedIsDurable, $"{order.SessionId}: asked for, and {(int)status} {session?.ToJsonString()}"));
                return;
            }

            // Not compared with versions that were shown elsewhere meanwhile: this client asks one question at a time.
            Show(order, (string)session!["status"]!, (long)session["version"]!, "when it was asked for");
            if (order.End is not null)
            {
                return;
            }

            await Task.Delay(AskInterval, TimeProvider.System, ct);
        }
    }

    private async Task CancelAsync(Order order, TimeSpan after, CancellationToken ct)
    {
        await Task.Delay(after, TimeProvider.System, ct);
        order.CancelSent = true;
        var (status, answer) = await InsistAsync(order.Plan.User, order.Plan.Number + 1, HttpMethod.Post,
            $"/api/generations/{order.SessionId}/cancel", null, [], ct);
        if (status is not (HttpStatusCode.OK or HttpStatusCode.Accepted or HttpStatusCode.Conflict))
        {
            Broken.Enqueue((Promise.EndsOnce, $"{order.SessionId}: cancel was answered with {(int)status} {answer?.ToJsonString()}"));
        }
    }

    private async Task<Order?> RetryAsync(Order order, CancellationToken ct)
    {
        var (status, answer) = await InsistAsync(
            order.Plan.User, order.Plan.Number, HttpMethod.Post, $"/api/generations/{order.SessionId}/retry", null,
                [("Idempotency-Key", $"{order.Plan.Key}-again")], ct);
        if (status == HttpStatusCode.Conflict)
        {
            return null; // not retryable
        }

        if (status == HttpStatusCode.Accepted)
        {
            return Orders.GetOrAdd(
            (Guid)answer!["sessionId"]!, id => new Order(order.Plan, id) { RetryOf = order.SessionId });
        }

        Broken.Enqueue((Promise.AcceptedIsDurable, $"{order.SessionId}: its retry was refused with {(int)status} {answer?.ToJsonString()}"));
        return null;
    }
}
