using System.Net.Http.Headers;
using System.Text.Json.Nodes;
using Generation.Core.Queue;
using Generation.Tests.Harness;

[assembly: AssemblyFixture(typeof(TestSqs))]

namespace Generation.Tests.Harness;

/// <summary>
/// A server that speaks SQS, from npm in a process of its own (Servers/sqs.cjs), one for the test run, started by the first test that
/// wants it. It checks signatures. Each caller makes queues of its own.
/// </summary>
public sealed class TestSqs : IAsyncDisposable
{
    public const string AccessKey = "AKIDTESTSQS";
    public const string SecretKey = "test/secret+of=sqs";

    private static readonly HttpClient Http = new();

    private readonly Lock starting = new();
    private Task<NodeServer>? server;

    /// <summary>A name that no other test has.</summary>
    public static string NewName() => $"test-{Guid.NewGuid():N}";

    /// <summary>Where a queue is or would be.</summary>
    public async Task<string> UrlOfAsync(string name) => $"{(await ServerAsync()).Endpoint}/000000000000/{name}";

    /// <summary>Makes an empty queue and returns its URL.</summary>
    public async Task<string> NewQueueAsync(string? name = null, object? attributes = null)
    {
        var answer = await CallAsync("CreateQueue", new JsonObject
        {
            ["QueueName"] = name ?? NewName(),
            ["Attributes"] = System.Text.Json.JsonSerializer.SerializeToNode(attributes ?? new { }),
        });
        return (string)answer["QueueUrl"]!;
    }

    /// <summary>Everything in it is gone, and no client is told.</summary>
    public Task PurgeAsync(string url) => CallAsync("PurgeQueue", new JsonObject { ["QueueUrl"] = url });

    /// <summary>What a queue holds, without taking it out: ready and in flight.</summary>
    public async Task<List<JsonNode>> LookIntoAsync(string url)
    {
        var messages = await InspectAsync(url);
        return [.. messages["ready"]!.AsArray().Select(m => m!), .. messages["inflight"]!.AsArray().Select(m => m!["message"]!)];
    }

    /// <summary>How many messages anybody could receive now.</summary>
    public async Task<int> ReadyAsync(string url) => (await InspectAsync(url))["ready"]!.AsArray().Count;

    /// <summary>Options that point at a queue here.</summary>
    public static QueueOptions Options(string url) => new()
    {
        Transport = QueueTransport.Sqs,
        VisibilityTimeout = TimeSpan.FromSeconds(2),
        Sqs = { MainQueueUrl = url, AccessKey = AccessKey, SecretKey = SecretKey, WaitTimeSeconds = 1 },
    };

    public async ValueTask DisposeAsync()
    {
        if (server is not null)
        {
            await (await server).DisposeAsync();
        }
    }

    private async Task<JsonNode> InspectAsync(string url) =>
        JsonNode.Parse(await Http.GetStringAsync(new Uri($"{(await ServerAsync()).Endpoint}/_fauxqs/queues/{url.Split('/')[^1]}")))!["messages"]!;

    private async Task<JsonNode> CallAsync(string action, JsonObject body)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, (await ServerAsync()).Endpoint)
        {
            Content = new StringContent(
            body.ToJsonString())
        };
        request.Content.Headers.ContentType = new MediaTypeHeaderValue("application/x-amz-json-1.0");
        request.Headers.Add("X-Amz-Target", $"AmazonSQS.{action}");
        using var response = await Http.SendAsync(request);
        var answer = await response.Content.ReadAsStringAsync();
        Assert.True(response.IsSuccessStatusCode, $"{action}: {answer}");
        return JsonNode.Parse(answer.Length == 0 ? "{}" : answer)!;
    }

    private Task<NodeServer> ServerAsync()
    {
        lock (starting)
        {
            return server ??= NodeServer.StartAsync("sqs.cjs", AccessKey, SecretKey);
        }
    }
}
