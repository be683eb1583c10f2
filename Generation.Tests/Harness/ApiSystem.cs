using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json.Nodes;

namespace Generation.Tests.Harness;

/// <summary>
/// The systems that the tests of the HTTP interface share, each started by the first test that asks. They do not disturb each other
/// because every test acts as a user of its own.
/// </summary>
internal static class ApiSystem
{
    private static readonly Lazy<Task<TestSystem>> QueuedSystem = new(() => StartAsync(o => o.Workers = 0));

    private static readonly Lazy<Task<TestSystem>> MockedSystem = new(() => StartAsync(o => o.Settings["Mock:Enabled"] = "true"));

    /// <summary>Without a worker: what is submitted stays queued.</summary>
    public static Task<TestSystem> Queued => QueuedSystem.Value;

    /// <summary>With a worker whose provider is the mock.</summary>
    public static Task<TestSystem> Mocked => MockedSystem.Value;

    public static async Task<ApiUser> NewUserAsync(this TestSystem system, long credits = 1_000, string role = "user")
    {
        var (userId, key) = await system.AddUserAsync($"u{Guid.NewGuid():N}", credits, role);
        return new ApiUser(system, userId, key);
    }

    private static async Task<TestSystem> StartAsync(Action<TestSystemOptions> configure)
    {
        var system = await TestSystem.StartAsync(o =>
        {
            o.Settings["Settings:CacheMs"] = "0"; // what a test changes takes effect at once
            o.Settings["Api:Heartbeat"] = "00:00:00.200";
            configure(o);
        });
        TestServers.StopAtTheEnd(async () => await system.DisposeAsync());
        return system;
    }
}

/// <summary>
/// An answer that has been read. <see cref="Body"/> is empty when there was none, and holds <c>array</c> or <c>text</c> when it was no JSON object.
/// </summary>
internal sealed record Reply(HttpStatusCode Status, JsonObject Body, HttpResponseHeaders Headers, string? ContentType)
{
    public string? Code => (string?)Body["code"];

    public Guid SessionId => Body["sessionId"]!.GetValue<Guid>();

    public bool IsReplay => Headers.TryGetValues("Idempotent-Replayed", out var values) && values.Single() == "true";

    public static async Task<Reply> ReadAsync(HttpResponseMessage response)
    {
        using (response)
        {
            var type = response.Content.Headers.ContentType?.MediaType;
            var text = await response.Content.ReadAsStringAsync();
            var body = text.Length > 0 && type is "application/json" or "application/problem+json" ? JsonNode.Parse(text) as JsonObject : null;
            return new Reply(response.StatusCode, body ?? new JsonObject { ["text"] = text }, response.Headers, type);
        }
    }

    /// <summary>The whole problem (RFC 9457), and the stable code.</summary>
    public Reply AssertProblem(HttpStatusCode status, string code)
    {
        Assert.True(status == Status && code == Code, $"Wanted {(int)status} {code}, got {(int)Status} {Body}");
        Assert.Equal("application/problem+json", ContentType);
        Assert.Equal((int)status, (int?)Body["status"]);
        foreach (var field in new[] { "type", "title", "detail", "traceId" })
        {
            Assert.False(string.IsNullOrWhiteSpace((string?)Body[field]), $"The problem has no {field}: {Body}");
        }

        return this;
    }

    public Reply AssertStatus(HttpStatusCode status)
    {
        Assert.True(status == Status, $"Wanted {(int)status}, got {(int)Status} {Body}");
        return this;
    }
}

/// <summary>A user of one test, over HTTP.</summary>
internal sealed class ApiUser(TestSystem system, Guid userId, string key, int api = 0)
{
    public Guid UserId => userId;

    public string Key => key;

    public HttpClient Http { get; } = system.Client(system.Apis[api], key);

    /// <summary>The same user, at another Api.</summary>
    public ApiUser At(int otherApi) => new(system, userId, key, otherApi);

    public Task<Reply> SubmitAsync(string json, params (string Name, string Value)[] headers) =>
        SendAsync(HttpMethod.Post, "/api/generations", json, headers);

    public async Task<Reply> SendAsync(HttpMethod method, string path, string? json = null, params (string Name, string Value)[] headers)
    {
        using var request = new HttpRequestMessage(method, path);
        if (json is not null)
        {
            request.Content = new StringContent(json, Encoding.UTF8, "application/json");
        }

        foreach (var (name, value) in headers)
        {
            Assert.True(request.Headers.TryAddWithoutValidation(name, value), $"{name} is no header of a request");
        }

        return await Reply.ReadAsync(await Http.SendAsync(request));
    }

    public Task<Reply> GetAsync(string path, params (string Name, string Value)[] headers) => SendAsync(HttpMethod.Get, path, null, headers);

    /// <summary>A picture of 4 credits for each of <paramref name="n"/>, which must be accepted.</summary>
    public async Task<Guid> AcceptedAsync(string prompt = "a lighthouse at dusk", int n = 1) =>
        (await SubmitAsync($$$"""{"model":"seedream-4","params":{"prompt":"{{{prompt}}}","size":"1K","n":{{{n}}}}}"""))
            .AssertStatus(HttpStatusCode.Accepted).SessionId;

    public Task<long> SessionsAsync() => system.ScalarAsync<long>($"SELECT count(*) FROM generation_sessions WHERE user_id = '{userId}'");

    /// <summary>Nothing of this user was stored and nothing held: what a refused request must leave.</summary>
    public async Task AssertNothingHappenedAsync() => Assert.Equal(
        "0 sessions, 0 reservations, 0 outbox rows, 0 reserved",
        await system.ScalarAsync<string>(
            $"""
            SELECT format('%s sessions, %s reservations, %s outbox rows, %s reserved',
                (SELECT count(*) FROM generation_sessions WHERE user_id = '{userId}'),
                (SELECT count(*) FROM credit_reservations WHERE user_id = '{userId}'),
                (SELECT count(*) FROM outbox AS o JOIN generation_sessions AS s USING (session_id) WHERE s.user_id = '{userId}'),
                (SELECT coalesce(sum(reserved), 0) FROM credit_accounts WHERE user_id = '{userId}'))
            """));
}
