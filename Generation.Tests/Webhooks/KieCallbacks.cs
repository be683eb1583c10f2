using System.Globalization;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Generation.Tests.Harness;

namespace Generation.Tests.Webhooks;

/// <summary>What tests of callbacks look at, and send themselves.</summary>
internal static class KieCallbacks
{
    public const string Key = "sim-kie-webhook-key";

    /// <summary>The simulator's tasks with these words in their prompt, once there are so many.</summary>
    public static async Task<IReadOnlyList<SimTask>> TasksAsync(this TestSystem system, string words, int count = 1)
    {
        using var http = new HttpClient { BaseAddress = system.Sim.Address };
        var started = TimeProvider.System.GetTimestamp();
        while (true)
        {
            var tasks = (await http.GetFromJsonAsync<JsonObject>($"/sim/kie/tasks?prompt={Uri.EscapeDataString(words)}"))!["tasks"]!.AsArray()
                .Select(task => new SimTask(
                    (string)task!["taskId"]!, (string?)task["callBackUrl"] is { } address ? new Uri(address) : null,
                    [.. task["callbacks"]!.AsArray().Select(delivery => ((string)delivery!["kind"]!, (int)delivery["status"]!))]))
                .ToList();
            if (tasks.Count >= count)
            {
                return tasks;
            }

            await WaitAsync(started, $"{tasks.Count} of {count} tasks were made for '{words}'.\n{system.Logs()}");
        }
    }

    /// <summary>Waits until so many callbacks of the one task with these words were answered.</summary>
    public static async Task<SimTask> AnsweredAsync(this TestSystem system, string words, int callbacks)
    {
        var started = TimeProvider.System.GetTimestamp();
        while (true)
        {
            var task = Assert.Single(await system.TasksAsync(words));
            if (task.Callbacks.Count >= callbacks)
            {
                return task;
            }

            await WaitAsync(started, $"{task.Callbacks.Count} of {callbacks} callbacks were answered for '{words}'.\n{system.Logs()}");
        }
    }

    /// <summary>Sends a callback as Kie would, or somebody who has the key or not.</summary>
    public static async Task<HttpResponseMessage> CallBackAsync(
        this HttpClient http, Uri address, string taskId, string body, DateTimeOffset? at = null, string key = Key)
    {
        var timestamp = (at ?? TimeProvider.System.GetUtcNow()).ToUnixTimeSeconds().ToString(CultureInfo.InvariantCulture);
        using var request = new HttpRequestMessage(HttpMethod.Post, address) { Content = new StringContent(body, Encoding.UTF8, "application/json") };
        request.Headers.Add("X-Webhook-Timestamp", timestamp);
        request.Headers.Add("X-Webhook-Signature", Generation.ProviderSim.Kie.KieCallbacks.Signature(key, taskId, timestamp));
        return await http.SendAsync(request);
    }

    /// <summary>What a callback says of a task that has succeeded, or is claimed to have.</summary>
    public static string Body(string taskId, string note = "") => JsonSerializer.Serialize(new
    {
        code = 200,
        msg = "Playground task completed successfully.",
        data = new { taskId, state = "success", resultJson = """{"resultUrls":["https://attacker.example/not-what-was-made.png"]}""", note },
    });

    private static async Task WaitAsync(long started, string otherwise)
    {
        Assert.True(TimeProvider.System.GetElapsedTime(started) < TimeSpan.FromSeconds(60), otherwise);
        await Task.Delay(TimeSpan.FromMilliseconds(20), TimeProvider.System, CancellationToken.None);
    }
}

/// <param name="TaskId">Kie's.</param>
/// <param name="CallBackUrl">With our token; null when none was offered.</param>
/// <param name="Callbacks">What was sent, and the status that came back.</param>
internal sealed record SimTask(string TaskId, Uri? CallBackUrl, IReadOnlyList<(string Kind, int Status)> Callbacks);
