using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Threading.Channels;
using Generation.ProviderSim.Ark;
using Generation.ProviderSim.Faults;
using Generation.ProviderSim.Files;
using Generation.ProviderSim.Pictures;
using Microsoft.Extensions.Options;

namespace Generation.ProviderSim.Kie;

/// <summary>
/// Kie's callbacks: one when a task has ended, signed over the task's id and the time, and or what the prompt asks for instead. Nothing
/// is sent twice for a bad answer: whether Kie retries is not documented, so callers must not rely on it.
/// </summary>
public sealed class KieCallbacks : BackgroundService
{
    private const int SentAtOnce = 64;
    private static readonly TimeSpan AnswerTimeout = TimeSpan.FromSeconds(15);
    private static readonly TimeSpan StaleBy = TimeSpan.FromHours(1);

    private readonly KieTasks tasks;
    private readonly FaultDesk faults;
    private readonly Gates gates;
    private readonly ResultFiles files;
    private readonly SimOptions options;
    private readonly TimeProvider time;
    private readonly HttpClient client = new() { Timeout = AnswerTimeout };
    private readonly SemaphoreSlim senders = new(SentAtOnce);
    private readonly Channel<Planned> plans = Channel.CreateUnbounded<Planned>();

    public KieCallbacks(KieTasks tasks, FaultDesk faults, Gates gates, ResultFiles files, IOptions<SimOptions> options, TimeProvider time)
    {
        (this.tasks, this.faults, this.gates, this.files, this.options, this.time) = (tasks, faults, gates, files, options.Value, time);
    }

    /// <param name="Task">Of which.</param>
    /// <param name="Kind">The fault word, or <c>callback</c>.</param>
    /// <param name="Wait">From now on, by the real clock.</param>
    private sealed record Planned(KieTask Task, string Kind, TimeSpan Wait);

    /// <summary>The address of a task's result. It lives shortly and is another one each time.</summary>
    internal string UrlOf(KieTask task) => files.UrlFor(task.FileHost, task.Model.Id.Replace('/', '-'), task.FileName, options.KieUrlLifetimeSeconds);

    /// <summary>
    /// Plans the callbacks of a new task. One that is to come early is sent before this returns, and so before the caller knows the task's id.
    /// </summary>
    internal async Task PlanAsync(KieTask task, CancellationToken gone)
    {
        if (task.CallBackUrl is null)
        {
            return;
        }

        var kind = faults.ForCallback(task.Prompt, Recipe.Hash(task.Prompt), task.Words)?.Word ?? "callback";
        var end = task.EndsAt - task.CreatedAt + TimeSpan.FromMilliseconds(task.Words.CallbackDelayMs ?? 0);
        switch (kind)
        {
            case "callback-none": return;
            case "callback-early":
                await SendAsync(new Planned(task, kind, TimeSpan.Zero), gone);
                return;
            case "callback-duplicate":
                for (var copy = 0; copy < 3; copy++)
                {
                    plans.Writer.TryWrite(new Planned(task, kind, end));
                }

                return;
            case "callback-lying":
                plans.Writer.TryWrite(new Planned(task, kind, TimeSpan.Zero));
                plans.Writer.TryWrite(new Planned(task, "callback", end));
                return;
            default:
                plans.Writer.TryWrite(new Planned(task, kind, end));
                return;
        }
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var running = new List<Task>();
        try
        {
            await foreach (var plan in plans.Reader.ReadAllAsync(stoppingToken))
            {
                running.RemoveAll(task => task.IsCompleted);
                running.Add(CarryOutAsync(plan, stoppingToken));
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            await Task.WhenAll(running).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private async Task CarryOutAsync(Planned plan, CancellationToken stopping)
    {
        await Task.Delay(plan.Wait, time, stopping);
        if (plan.Task.Words.CallbackGate is { } gate && plan.Kind != "callback-lying")
        {
            await gates.PassAsync(gate, stopping);
        }

        await senders.WaitAsync(stopping);
        try
        {
            await SendAsync(plan, stopping);
        }
        finally
        {
            senders.Release();
        }
    }

    private async Task SendAsync(Planned plan, CancellationToken stopping)
    {
        var now = time.GetUtcNow();
        using var request = new HttpRequestMessage(HttpMethod.Post, plan.Task.CallBackUrl) { Content = new ByteArrayContent(Body(plan, now)) };
        request.Content.Headers.ContentType = new("application/json");
        request.Headers.UserAgent.Add(new("kie-sim", "1.0"));
        Sign(request, plan, now);
        var status = 0;
        try
        {
            using var response = await client.SendAsync(request, stopping);
            status = (int)response.StatusCode;
        }
        catch (Exception e) when (e is HttpRequestException or TaskCanceledException && !stopping.IsCancellationRequested)
        {
            // The receiver is unavailable; it is written down as 0.
        }

        tasks.Record(plan.Task, new KieDelivery(plan.Kind, now, status));
    }

    private void Sign(HttpRequestMessage request, Planned plan, DateTimeOffset now)
    {
        if (options.KieWebhookKey.Length == 0 || plan.Kind == "callback-unsigned")
        {
            return;
        }

        var timestamp = (plan.Kind == "callback-stale" ? now - StaleBy : now).ToUnixTimeSeconds().ToString(CultureInfo.InvariantCulture);
        var key = plan.Kind == "callback-forged" ? "not the key" : options.KieWebhookKey;
        request.Headers.Add("X-Webhook-Timestamp", timestamp);
        request.Headers.Add("X-Webhook-Signature", Signature(key, plan.Task.Id, timestamp));
    }

    /// <summary>What Kie signs: the task's id and the time, and nothing of the body.</summary>
    public static string Signature(string key, string taskId, string timestamp) =>
        Convert.ToBase64String(HMACSHA256.HashData(Encoding.UTF8.GetBytes(key), Encoding.UTF8.GetBytes($"{taskId}.{timestamp}")));

    private byte[] Body(Planned plan, DateTimeOffset now)
    {
        var (task, isLie) = (plan.Task, plan.Kind == "callback-lying");
        var isSuccess = isLie || task.Fails is null;
        var body = new MemoryStream();
        using (var json = new Utf8JsonWriter(body, ArkError.JsonOptions))
        {
            json.WriteStartObject();
            json.WriteNumber("code", isSuccess ? 200 : 501);
            json.WriteString("msg", isSuccess ? "Playground task completed successfully." : "Playground task failed.");
            json.WriteStartObject("data");
            KieTasks.Write(
                json, task, isSuccess ? "success" : "fail", isLie ? "https://tempfile.aiquickdraw.com/not-what-was-made.png" : UrlOf(task), now,
                plan.Kind == "callback-snake" ? "task_id" : "taskId");
            json.WriteEndObject();
            json.WriteEndObject();
        }

        return body.ToArray();
    }

    public override void Dispose()
    {
        client.Dispose();
        senders.Dispose();
        base.Dispose();
    }
}
