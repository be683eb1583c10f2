using System.Diagnostics;
using System.Net.Http.Headers;
using System.Text.Json.Nodes;
using Generation.Core.Queue;
using Generation.LocalServers;

namespace Generation.Bench.Harness;

/// <summary>The SQS server of the tests (npm, <c>Generation.Tests/Servers</c>) with a queue a lane.</summary>
internal sealed class SqsServer : IDisposable
{
    private const string AccessKey = "AKIDBENCHSQS";
    private const string SecretKey = "bench/secret+of=sqs";

    private readonly Process process;
    private readonly HttpClient http;

    private SqsServer(Process process, int port)
    {
        this.process = process;
        http = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{port}") };
        Settings = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["Queue:Transport"] = nameof(QueueTransport.Sqs),
            ["Queue:Sqs:AccessKey"] = AccessKey,
            ["Queue:Sqs:SecretKey"] = SecretKey,
            ["Queue:Sqs:WaitTimeSeconds"] = "1",
            ["Queue:Sqs:LostAfter"] = "00:00:08", // SQS cannot be asked whether it still has a message
        };
        foreach (var lane in QueueOptions.Lanes)
        {
            Settings[$"Queue:Lanes:{lane}:Url"] = UrlOf(lane);
        }
    }

    /// <summary>What makes the services send their jobs here.</summary>
    public Dictionary<string, string> Settings { get; }

    public static async Task<SqsServer> StartAsync(CancellationToken ct)
    {
        // Not a ChildProcess: it ends with its standard input, and so with us, however we end.
        var node = Process.Start(new ProcessStartInfo("node", ["sqs.cjs", AccessKey, SecretKey])
        {
            WorkingDirectory = Path.Combine(Repository.Root, "Generation.Tests", "Servers"),
            UseShellExecute = false,
            RedirectStandardInput = true,
            RedirectStandardOutput = true, // its port, and nothing else
        })!;
        if (!int.TryParse(await node.StandardOutput.ReadLineAsync(ct), out var port))
        {
            node.Kill();
            throw new StartFailure("The SQS server does not start: node Generation.Tests/Servers/sqs.cjs");
        }

        var server = new SqsServer(node, port);
        foreach (var lane in QueueOptions.Lanes)
        {
            await server.CallAsync("CreateQueue", new JsonObject { ["QueueName"] = lane }, ct);
        }

        return server;
    }

    /// <summary>Everything in the queues is gone, and nobody is told.</summary>
    public async Task PurgeAsync(CancellationToken ct)
    {
        foreach (var lane in QueueOptions.Lanes)
        {
            await CallAsync("PurgeQueue", new JsonObject { ["QueueUrl"] = UrlOf(lane) }, ct);
        }
    }

    public void Dispose()
    {
        http.Dispose();
        process.StandardInput.Close(); // its sign to end
        process.WaitForExit();
        process.Dispose();
    }

    private string UrlOf(string lane) => new Uri(http.BaseAddress!, $"/000000000000/{lane}").ToString();

    private async Task CallAsync(string action, JsonObject body, CancellationToken ct)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, "/") { Content = new StringContent(body.ToJsonString()) };
        request.Content.Headers.ContentType = new MediaTypeHeaderValue("application/x-amz-json-1.0");
        request.Headers.Add("X-Amz-Target", $"AmazonSQS.{action}");
        using var answer = await http.SendAsync(request, ct);
        answer.EnsureSuccessStatusCode();
    }
}
