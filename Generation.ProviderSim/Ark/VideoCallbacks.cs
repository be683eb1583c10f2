using System.Text.Json;
using System.Threading.Channels;
using Generation.ProviderSim.Faults;
using Generation.ProviderSim.Files;
using Generation.ProviderSim.Pictures;

namespace Generation.ProviderSim.Ark;

/// <summary>
/// Ark's callbacks: one for each state that a task comes to, unsigned, with what a question would be answered. Whoever does not answer a
/// terminal one with 2xx within five seconds gets it up to three times more.
/// </summary>
public sealed class VideoCallbacks(VideoTasks tasks, FaultDesk faults, Gates gates, ResultFiles files, TimeProvider time) : BackgroundService
{
    private const int Retries = 3;
    private static readonly TimeSpan AnswerTimeout = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan RetryPause = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan Look = TimeSpan.FromMilliseconds(50);

    private readonly Channel<(VideoTask Task, PromptWords Words, string? Fault)> wanted =
        Channel.CreateUnbounded<(VideoTask, PromptWords, string?)>();
    private readonly HttpClient client = new(new SocketsHttpHandler { AllowAutoRedirect = false }) { Timeout = Timeout.InfiniteTimeSpan };

    /// <summary>Follows a new task to its end, if it is to be called back.</summary>
    internal void Watch(VideoTask task, PromptWords words)
    {
        if (task.Request.CallbackUrl is null)
        {
            return;
        }

        var fault = faults.ForCallback(task.Request.Prompt, Recipe.Hash(task.Request.Prompt), words)?.Word;
        if (fault != "callback-none")
        {
            wanted.Writer.TryWrite((task, words, fault));
        }
    }

    public override void Dispose()
    {
        client.Dispose();
        base.Dispose();
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var watching = new List<Task>();
        try
        {
            await foreach (var (task, words, fault) in wanted.Reader.ReadAllAsync(stoppingToken))
            {
                watching.RemoveAll(watch => watch.IsCompleted);
                watching.Add(WatchAsync(task, words, fault, stoppingToken));
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            await Task.WhenAll(watching).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private async Task WatchAsync(VideoTask task, PromptWords words, string? fault, CancellationToken ct)
    {
        var held = new List<string>();
        for (var told = 0; ;)
        {
            // There is no timer: reading brings the task up to date. A cancelled one, or one that was deleted, is not called back.
            if (tasks.Find(task.Key, task.Id) is not { CancelledAt: null })
            {
                return;
            }

            var status = task.StatusAt(time.GetUtcNow());
            string[] way = status switch
            {
                "queued" => ["queued"],
                "running" => ["queued", "running"],
                "expired" => ["queued", "expired"],
                _ =>
                ["queued", "running", status]
            };
            for (; told < way.Length; told++)
            {
                if (fault == "callback-disordered")
                {
                    held.Insert(0, way[told]);
                }
                else
                {
                    await TellAsync(task, way[told], words, fault == "callback-duplicate" ? 3 : 1, ct);
                }
            }

            if (status is "queued" or "running")
            {
                await Task.Delay(Look, time, ct);
                continue;
            }

            foreach (var late in held)
            {
                await TellAsync(task, late, words, 1, ct);
            }

            return;
        }
    }

    private async Task TellAsync(VideoTask task, string status, PromptWords words, int copies, CancellationToken ct)
    {
        var isEnd = status is "succeeded" or "failed";
        if (isEnd)
        {
            await Task.Delay(TimeSpan.FromMilliseconds(words.CallbackDelayMs ?? 0), time, ct);
            if (words.CallbackGate is { } name)
            {
                await gates.PassAsync(name, ct);
            }
        }

        for (var copy = 0; copy < copies; copy++)
        {
            for (var retried = 0; !await PostAsync(task, status, ct) && isEnd && retried < Retries; retried++)
            {
                await Task.Delay(
                RetryPause, time, ct);
            }
        }
    }

    private async Task<bool> PostAsync(VideoTask task, string status, CancellationToken ct)
    {
        using var body = new MemoryStream();
        await using (var json = new Utf8JsonWriter(body, ArkError.JsonOptions))
        {
            ArkVideos.Write(json, task, status, files, time.GetUtcNow());
        }

        using var request = new HttpRequestMessage(HttpMethod.Post, task.Request.CallbackUrl) { Content = new ByteArrayContent(body.ToArray()) };
        request.Content.Headers.ContentType = new("application/json");
        using var limit = new CancellationTokenSource(AnswerTimeout, time);
        using var timeout = CancellationTokenSource.CreateLinkedTokenSource(ct, limit.Token);
        try
        {
            using var response = await client.SendAsync(request, timeout.Token);
            return response.IsSuccessStatusCode;
        }
        catch (Exception e) when (e is HttpRequestException or OperationCanceledException && !ct.IsCancellationRequested)
        {
            return false; // the receiver is unavailable, or slow
        }
    }
}
