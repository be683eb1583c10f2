using System.Text.Json;
using Generation.ProviderSim.Calls;
using Generation.ProviderSim.Faults;
using Generation.ProviderSim.Files;
using Generation.ProviderSim.Films;
using Generation.ProviderSim.Pictures;
using Microsoft.Extensions.Options;

namespace Generation.ProviderSim.Ark;

/// <summary>
/// BytePlus Ark's video tasks. Creating one is read strictly, may be refused, and is answered at once or not at all; from then on the task
/// runs by the clock, whether or not it is polled. It is billed when it succeeds.
/// </summary>
public sealed class ArkVideos(
    ArkEntrance entrance, VideoTasks tasks, VideoCallbacks callbacks, FaultDesk faults, Gates gates, ResultFiles files, RecentPictures recent,
        IOptions<SimOptions> options,
    TimeProvider time, IHostApplicationLifetime lifetime)
{
    private const string Route = "/api/v3/contents/generations/tasks";

    public static void Map(IEndpointRouteBuilder routes)
    {
        routes.MapPost(Route, (HttpContext http, ArkVideos ark) => ark.CreateAsync(http));
        routes.MapGet(Route, (HttpContext http, ArkVideos ark) => ark.ListAsync(http));
        routes.MapGet(Route + "/{id}", (string id, HttpContext http, ArkVideos ark) => ark.RetrieveAsync(id, http));
        routes.MapDelete(Route + "/{id}", (string id, HttpContext http, ArkVideos ark) => ark.DeleteAsync(id, http));
    }

    private async Task CreateAsync(HttpContext http)
    {
        var call = entrance.Enter(http);
        var (body, error) = await entrance.ReadAsync(http.Request);
        var (request, wrong) = error is null ? ArkVideoRequest.Read(body) : (null, error);
        if (error is null)
        {
            call.Model = ArkEntrance.Text(body, "model") ?? "";
        }

        if (wrong is not null)
        {
            call.Status = wrong.Status;
            await wrong.SendAsync(http.Response, call.Id);
            return;
        }

        call.Prompt = request!.Prompt;
        var words = PromptWords.Parse(request.Prompt);
        var promptKey = Recipe.Hash(request.Prompt);
        var verdict = faults.ForCall(request.Prompt, promptKey, words);
        if (verdict.Fault is { Stage: FaultStage.Refusal } refusal)
        {
            await ArkImages.RefuseAsync(http, call, refusal, request.Model, verdict.RetryAfterSeconds);
            return;
        }

        var task = NewTask(http, call, request, words, promptKey, verdict);
        if (!tasks.Add(task))
        {
            call.Status = ArkError.QueueFull.Status;
            await ArkError.QueueFull.SendAsync(http.Response, call.Id);
            return;
        }

        recent.Add(task.FileName, request.Prompt, call.At);
        callbacks.Watch(task, words);
        await ReplyAsync(http, call, task, words, verdict.Fault);
    }

    private VideoTask NewTask(HttpContext http, Call call, ArkVideoRequest request, PromptWords words, ulong promptKey, FaultDesk.Verdict verdict)
    {
        var occurrence = request.Seed is { } fixedSeed ? (ulong)fixedSeed << 20 : (ulong)faults.Occurrence(promptKey);
        var seed = Dice.Mix(options.Value.Seed) ^ Dice.Mix(occurrence) ^ request.Pictures;
        var ticketWords = words.ForDownload + verdict.DownloadWords;
        if (options.Value.PictureBytes > 0 && words.Bytes is null)
        {
            ticketWords += $"[bytes={options.Value.PictureBytes}]";
        }

        var recipe = Recipe.For(words.Text, seed, request.Width, request.Height, request.Watermark, PictureFormat.Jpeg);
        var ticket = new ResultTicket(recipe, promptKey, ticketWords, (byte)request.Seconds);
        var lastFrame = new ResultTicket(recipe with { Watermark = false, Format = PictureFormat.Png }, promptKey, words.Bytes is null
            && options.Value.PictureBytes == 0 ? "" : "[bytes=1]", (byte)request.Seconds);
        var now = time.GetUtcNow();
        return new VideoTask(
            tasks.NextId(now), entrance.Key(http.Request)!, request, call, now,
            TimeSpan.FromMilliseconds(words.QueuedMs ?? options.Value.VideoQueueMs),
                TimeSpan.FromMilliseconds(words.LatencyMs ?? options.Value.VideoLatencyMs),
            verdict.Fault?.Word switch
            {
                "moderation-output" or "image-error" => ArkError.VideoModeration,
                "image-500" => ArkError.Internal,
                _ => null,
            },
            verdict.Fault?.Word == "empty-data")
        {
            HasAbsurdUsage = verdict.Fault?.Word == Fault.AbsurdUsage,
            FileName = $"{ticket.ToId(now)}_0.{ticket.Extension}",
            LastFrameName = request.LastFrame ? $"{lastFrame.ToId(now)}_0.{lastFrame.Extension}" : null,
            FileHost = files.HostFor(http.Request),
        };
    }

    /// <summary>The task is there and will be paid, whether or not the caller learns its id.</summary>
    private async Task ReplyAsync(HttpContext http, Call call, VideoTask task, PromptWords words, Fault? fault)
    {
        var gone = http.RequestAborted;
        if (words.Gate is { } gate)
        {
            await gates.PassAsync(gate, gone);
        }

        byte[] whole = [.. JsonSerializer.SerializeToUtf8Bytes(task.Request.SafetyIdentifier is { } user
            ? (object)new { id = task.Id, safety_identifier = user }
            : new { id = task.Id })];
        switch (fault?.Word)
        {
            case "server-error-paid":
                call.Status = ArkError.Internal.Status;
                await ArkError.Internal.SendAsync(http.Response, call.Id);
                return;
            case "timeout":
                await HangAsync(gone);
                http.Abort();
                return;
            case "cut-reply":
                http.Abort();
                return;
        }

        http.Response.ContentType = "application/json; charset=utf-8";
        var isCut = fault?.Word == "cut-reply-half";
        var sent = isCut || fault?.Word == "malformed" ? whole.AsMemory(0, whole.Length / 2) : whole;
        http.Response.ContentLength = isCut ? whole.Length : sent.Length;
        if (!isCut)
        {
            call.Status = StatusCodes.Status200OK;
        }

        await http.Response.Body.WriteAsync(sent, gone);
        await http.Response.Body.FlushAsync(gone);
        if (isCut)
        {
            http.Abort();
        }
    }

    private async Task RetrieveAsync(string id, HttpContext http)
    {
        if (await EnterAsync(http, "retrieve", options.Value.VideoReadsPerSecond) is not { } caller)
        {
            return;
        }

        if (tasks.Find(caller.Key, id) is not { } task)
        {
            await ArkError.UnknownTask(id).SendAsync(http.Response, caller.RequestId);
            return;
        }

        var prompt = task.Request.Prompt;
        var status = task.StatusAt(time.GetUtcNow());
        switch (faults.ForPoll(prompt, Recipe.Hash(prompt), PromptWords.Parse(prompt))?.Word)
        {
            case "poll-error": await ArkError.Internal.SendAsync(http.Response, caller.RequestId); return;
            case "poll-gateway":
                http.Response.StatusCode = StatusCodes.Status502BadGateway;
                http.Response.ContentType = "text/html";
                await http.Response.WriteAsync("<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>");
                return;
            case "poll-rate-limit": await ArkError.TooFast.SendAsync(http.Response, caller.RequestId); return;
            case "poll-lost": await ArkError.UnknownTask(id).SendAsync(http.Response, caller.RequestId); return;
            case "poll-timeout":
                await HangAsync(http.RequestAborted);
                http.Abort();
                return;
            case "poll-expired": status = "expired"; break;
            case "poll-unknown": status = "pondering"; break;
            case "poll-cancelled": status = "cancelled"; break;
        }

        http.Response.ContentType = "application/json; charset=utf-8";
        await using var json = new Utf8JsonWriter(http.Response.BodyWriter, ArkError.JsonOptions);
        Write(json, task, status, files, time.GetUtcNow());
    }

    private async Task ListAsync(HttpContext http)
    {
        if (await EnterAsync(http, "list", options.Value.VideoReadsPerSecond == 0 ? 0 : 1) is not { } caller)
        {
            return;
        }

        var query = http.Request.Query;
        int Page(string name, int otherwise) => int.TryParse(query[name], out var number) ? Math.Clamp(number, 1, 500) : otherwise;
        var (page, size) = (Page("page_num", 1), Page("page_size", 20));
        var now = time.GetUtcNow();
        var matching = tasks.List(caller.Key).Where(task =>
            (query["filter.status"] is not [{ Length: > 0 } status] || task.StatusAt(now) == status)
            && (query["filter.model"] is not [{ Length: > 0 } model] || task.Request.Model == model)
            && (query["filter.task_ids"].Count == 0 || query["filter.task_ids"].Contains(task.Id))).ToList();
        http.Response.ContentType = "application/json; charset=utf-8";
        await using var json = new Utf8JsonWriter(http.Response.BodyWriter, ArkError.JsonOptions);
        json.WriteStartObject();
        json.WriteNumber("total", matching.Count);
        json.WriteStartArray("items");
        foreach (var task in matching.Skip((page - 1) * size).Take(size))
        {
            Write(json, task, task.StatusAt(now), files, now);
        }

        json.WriteEndArray();
        json.WriteEndObject();
    }

    private async Task DeleteAsync(string id, HttpContext http)
    {
        if (await EnterAsync(http, "delete", options.Value.VideoReadsPerSecond) is not { } caller)
        {
            return;
        }

        if (tasks.Delete(caller.Key, id) is { } error)
        {
            await error.SendAsync(http.Response, caller.RequestId);
            return;
        }

        http.Response.ContentType = "application/json; charset=utf-8";
        await http.Response.WriteAsync("{}");
    }

    /// <summary>Key and rate of a call that costs nothing; null when it has been refused.</summary>
    private async Task<(string Key, string RequestId)?> EnterAsync(HttpContext http, string operation, int perSecond)
    {
        var requestId = entrance.Name(http);
        var key = entrance.Key(http.Request);
        if (key is not null && tasks.MayAsk(key, operation, perSecond))
        {
            return (key, requestId);
        }

        await (key is null ? ArkError.Authentication : ArkError.TooFast).SendAsync(http.Response, requestId);
        return null;
    }

    private async Task HangAsync(CancellationToken gone)
    {
        using var end = CancellationTokenSource.CreateLinkedTokenSource(gone, lifetime.ApplicationStopping);
        await Task.Delay(Timeout.InfiniteTimeSpan, time, end.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    /// <summary>A task as polls and callbacks show it.</summary>
    internal static void Write(Utf8JsonWriter json, VideoTask task, string status, ResultFiles files, DateTimeOffset now)
    {
        var request = task.Request;
        json.WriteStartObject();
        json.WriteString("id", task.Id);
        json.WriteString("model", request.Model);
        json.WriteString("status", status);
        if (status == "failed")
        {
            task.Fails!.WriteTo(json, requestId: null);
        }

        if (status == "succeeded")
        {
            json.WriteStartObject("content");
            if (!task.IsEmpty)
            {
                json.WriteString("video_url", files.UrlFor(task.FileHost, request.Model, task.FileName));
            }

            if (task.LastFrameName is { } lastFrame)
            {
                json.WriteString("last_frame_url", files.UrlFor(task.FileHost, request.Model, lastFrame));
            }

            json.WriteEndObject();
            json.WriteStartObject("usage");
            if (task.HasAbsurdUsage)
            {
                Fault.WriteAbsurd(json, "completion_tokens");
                Fault.WriteAbsurd(json, "total_tokens", "-9223372036854775808");
            }
            else
            {
                json.WriteNumber("completion_tokens", request.Tokens);
                json.WriteNumber("total_tokens", request.Tokens);
            }

            json.WriteEndObject();
        }

        json.WriteNumber("created_at", task.CreatedAt.ToUnixTimeSeconds());
        var updatedAt = task.CancelledAt ?? (task.EndsAt <= now ? task.EndsAt : task.StartsAt <= now ? task.StartsAt : null) ?? task.CreatedAt;
        json.WriteNumber("updated_at", updatedAt.ToUnixTimeSeconds());
        json.WriteNumber("seed", request.Seed ?? (int)(Recipe.Hash(task.Id) & int.MaxValue));
        json.WriteString("resolution", request.Resolution);
        json.WriteString("ratio", request.Ratio);
        json.WriteNumber("duration", request.Seconds);
        json.WriteNumber("framespersecond", Film.FramesPerSecond);
        json.WriteString("service_tier", "default");
        json.WriteNumber("execution_expires_after", request.ExpiresAfterSeconds);
        if (request.Audio is { } audio)
        {
            json.WriteBoolean("generate_audio", audio);
        }

        json.WriteBoolean("draft", false);
        json.WriteNumber("priority", request.Priority);
        json.WriteEndObject();
    }
}
