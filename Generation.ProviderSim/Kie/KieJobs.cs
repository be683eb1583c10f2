using System.Text;
using System.Text.Json;
using Generation.ProviderSim.Ark;
using Generation.ProviderSim.Calls;
using Generation.ProviderSim.Faults;
using Generation.ProviderSim.Files;
using Generation.ProviderSim.Pictures;
using Microsoft.Extensions.Options;

namespace Generation.ProviderSim.Kie;

/// <summary>
/// Kie's market API: a task is created, goes its way by the clock, and is asked for or says itself when it has ended. Errors come as HTTP
/// 200 with a code in the body; a task is billed when it succeeds.
/// </summary>
public sealed class KieJobs(
    KieTasks tasks, KieCallbacks callbacks, CallLog calls, FaultDesk faults, Gates gates, ResultFiles files, RecentPictures recent,
        IOptions<SimOptions> options,
    TimeProvider time, IHostApplicationLifetime lifetime)
{
    private long requestCount;

    public static void Map(IEndpointRouteBuilder routes)
    {
        routes.MapPost("/api/v1/jobs/createTask", (HttpContext http, KieJobs kie) => kie.CreateAsync(http));
        routes.MapGet("/api/v1/jobs/recordInfo", (HttpContext http, KieJobs kie) => kie.RecordInfoAsync(http));
        routes.MapGet("/api/v1/chat/credit", (HttpContext http, KieJobs kie) => kie.CreditAsync(http));
    }

    private async Task CreateAsync(HttpContext http)
    {
        var call = new Call { Id = $"kie-{Interlocked.Increment(ref requestCount):D8}", At = time.GetUtcNow() };
        calls.Add(call);
        if (await EnterAsync(http) is not { } key)
        {
            call.Status = http.Response.StatusCode == StatusCodes.Status200OK ? KieError.Access.Code : http.Response.StatusCode;
            return;
        }

        var (body, problem) = await ReadAsync(http);
        call.Model = body.ValueKind == JsonValueKind.Object ? ArkEntrance.Text(body, "model") ?? "" : "";
        var model = KieModel.Find(call.Model);
        var input = body.ValueKind == JsonValueKind.Object && body.TryGetProperty("input", out var given) ? given : default;
        problem ??= call.Model.Length == 0 ? "model is required"
            : model is null ? $"The model name you specified is not supported: {call.Model}"
            : model.Check(input);
        if (problem is null && body.TryGetProperty("callBackUrl", out var address)
            && (address.ValueKind != JsonValueKind.String || !Uri.TryCreate(address.GetString(), UriKind.Absolute, out _)))
        {
            problem = "callBackUrl must be a URL";
        }

        if (problem is not null)
        {
            await SendAsync(http, call, KieError.Invalid(problem));
            return;
        }

        var prompt = call.Prompt = ArkEntrance.Text(input, model!.PromptField)!;
        var words = PromptWords.Parse(prompt);
        var verdict = faults.ForCall(prompt, Recipe.Hash(prompt), words);
        if (verdict.Fault is { Stage: FaultStage.Refusal } refusal)
        {
            await RefuseAsync(http, call, refusal, verdict.RetryAfterSeconds);
        }
        else if (!tasks.MayCreate(key))
        {
            await SendAsync(http, call, KieError.TooFast);
        }
        else if (tasks.Balance < model.Credits(input))
        {
            await SendAsync(http, call, KieError.NoCredits);
        }
        else
        {
            var task = NewTask(http, call, key, model, body, input, words, verdict);
            tasks.Add(task);
            if (model.Kind != "audio")
            {
                recent.Add(task.FileName, prompt, call.At);
            }

            await callbacks.PlanAsync(task, http.RequestAborted);
            await ReplyAsync(http, call, task, verdict.Fault);
        }
    }

    private KieTask NewTask(
        HttpContext http, Call call, string key, KieModel model, JsonElement body, JsonElement input, PromptWords words, FaultDesk.Verdict verdict)
    {
        var prompt = call.Prompt;
        var promptKey = Recipe.Hash(prompt);
        var seed = Dice.Mix(options.Value.Seed) ^ Dice.Mix((ulong)faults.Occurrence(promptKey)) ^ Recipe.Hash(input.GetRawText());
        var ticketWords = words.ForDownload + verdict.DownloadWords;
        if (options.Value.PictureBytes > 0 && words.Bytes is null)
        {
            ticketWords += $"[bytes={options.Value.PictureBytes}]";
        }

        var (width, height) = model.Size(input);
        var format = ArkEntrance.Text(input, "output_format") == "png" && !ticketWords.Contains("[bytes=", StringComparison.Ordinal)
            ? PictureFormat.Png : PictureFormat.Jpeg;
        var recipe = Recipe.For(words.Text, seed, width, height, watermark: false, format);
        var ticket = new ResultTicket(recipe, promptKey, ticketWords, (byte)model.Seconds(input), IsSound: model.Kind == "audio");
        var now = time.GetUtcNow();
        var isVideo = model.Kind == "video";
        return new KieTask(
            tasks.NextId(model, now), key, model, body.GetRawText(), ArkEntrance.Text(body, "callBackUrl"), call, prompt, words, now,
            TimeSpan.FromMilliseconds(words.QueuedMs ?? options.Value.KieQueueMs),
            TimeSpan.FromMilliseconds(words.LatencyMs ?? (isVideo ? options.Value.VideoLatencyMs : options.Value.LatencyMs)),
            verdict.Fault?.Word switch
            {
                "moderation-output" => new KieError(422, "CONTENT_POLICY_BLOCKED: the generated content was blocked by the content policy."),
                "image-error" => new KieError(501, "Generation Failed: content generation task failed."),
                "image-500" => KieError.Internal,
                _ => null,
            },
            model.Credits(input))
        {
            FileName = $"{ticket.ToId(now)}_0.{ticket.Extension}",
            FileHost = files.HostFor(http.Request),
            HasAbsurdUsage = verdict.Fault?.Word == Fault.AbsurdUsage,
            ResultFault = verdict.Fault?.Word is "empty-data" or "malformed-result" or "late-result" ? verdict.Fault.Word : null,
        };
    }

    /// <summary>The task is there and will be billed, whether or not the caller learns its id.</summary>
    private async Task ReplyAsync(HttpContext http, Call call, KieTask task, Fault? fault)
    {
        var gone = http.RequestAborted;
        if (task.Words.Gate is { } gate)
        {
            await gates.PassAsync(gate, gone);
        }

        var recordId = task.Model.IsOfOldShape ? $$""","recordId":"{{task.Id[5..]}}" """.TrimEnd() : "";
        var whole = Encoding.UTF8.GetBytes($$$"""{"code":200,"msg":"success","data":{"taskId":"{{{task.Id}}}"{{{recordId}}}}}""");
        switch (fault?.Word)
        {
            case "server-error-paid":
                await SendAsync(http, call, KieError.Internal);
                return;
            case "timeout":
                await HangAsync(gone);
                http.Abort();
                return;
            case "cut-reply":
                http.Abort();
                return;
            case "no-task-id": whole = """{"code":200,"msg":"success","data":{}}"""u8.ToArray(); break;
        }

        call.Status = StatusCodes.Status200OK;
        http.Response.ContentType = "application/json";
        http.Response.ContentLength = fault?.Word == "malformed" ? whole.Length / 2 : whole.Length;
        await http.Response.Body.WriteAsync(fault?.Word is "malformed" or "cut-reply-half" ? whole.AsMemory(0, whole.Length / 2) : whole, gone);
        if (fault?.Word != "cut-reply-half")
        {
            return;
        }

        call.Status = 0;
        await http.Response.Body.FlushAsync(gone);
        http.Abort();
    }

    private async Task RecordInfoAsync(HttpContext http)
    {
        if (await EnterAsync(http) is not { } key)
        {
            return;
        }

        var id = http.Request.Query["taskId"].ToString();
        if (!tasks.MayRead(key))
        {
            await KieError.TooFast.SendAsync(http.Response);
            return;
        }

        if (id.Length == 0 || tasks.Find(key, id) is not { } task)
        {
            await (id.Length == 0 ? KieError.Invalid("taskId is required") : KieError.UnknownTask).SendAsync(http.Response);
            return;
        }

        var now = time.GetUtcNow();
        var state = task.StateAt(now);
        switch (faults.ForPoll(task.Prompt, Recipe.Hash(task.Prompt), task.Words)?.Word)
        {
            case "poll-error": await KieError.Internal.SendAsync(http.Response); return;
            case "poll-gateway": await Gateway().ExecuteAsync(http); return;
            case "poll-rate-limit": await KieError.TooFast.SendAsync(http.Response); return;
            case "poll-lost": await KieError.UnknownTask.SendAsync(http.Response); return;
            case "poll-timeout":
                await HangAsync(http.RequestAborted);
                http.Abort();
                return;
            case "poll-expired": state = "expired"; break;
            case "poll-unknown": state = "pondering"; break;
            case "poll-cancelled": state = "cancelled"; break;
        }

        http.Response.ContentType = "application/json";
        await using var json = new Utf8JsonWriter(http.Response.BodyWriter, ArkError.JsonOptions);
        json.WriteStartObject();
        json.WriteNumber("code", 200);
        json.WriteString(task.Model.IsOfOldShape ? "message" : "msg", "success");
        json.WriteStartObject("data");
        KieTasks.Write(json, task, state, callbacks.UrlOf(task), now);
        json.WriteEndObject();
        json.WriteEndObject();
    }

    private async Task CreditAsync(HttpContext http)
    {
        if (await EnterAsync(http) is null)
        {
            return;
        }

        await http.Response.WriteAsync($$"""{"code":200,"msg":"success","data":{{tasks.Balance}}}""");
    }

    /// <summary>The key of a call; null when it has been refused.</summary>
    private async Task<string?> EnterAsync(HttpContext http)
    {
        if (http.Request.Headers.UserAgent.Count == 0) // what stands in front of Kie takes such a call for a robot's
        {
            http.Response.StatusCode = StatusCodes.Status403Forbidden;
            await http.Response.WriteAsync("error code: 1010");
            return null;
        }

        var keys = options.Value.KieKeys is { Length: > 0 } some ? some : ["sim-kie-key"];
        var authorization = http.Request.Headers.Authorization.ToString();
        if (authorization.StartsWith("Bearer ", StringComparison.Ordinal) && keys.Contains(authorization[7..]))
        {
            return authorization[7..];
        }

        await KieError.Access.SendAsync(http.Response);
        return null;
    }

    private static async Task<(JsonElement Body, string? Problem)> ReadAsync(HttpContext http)
    {
        try
        {
            using var body = await JsonDocument.ParseAsync(http.Request.Body, cancellationToken: http.RequestAborted);
            return body.RootElement.ValueKind == JsonValueKind.Object ? (body.RootElement.Clone(), null)
                : (default, "The request body must be a JSON object");
        }
        catch (JsonException)
        {
            return (default, "The request body is not valid JSON");
        }
    }

    private static async Task RefuseAsync(HttpContext http, Call call, Fault fault, int retryAfterSeconds)
    {
        if (fault.Word == "bad-gateway")
        {
            call.Status = StatusCodes.Status502BadGateway;
            await Gateway().ExecuteAsync(http);
            return;
        }

        if (fault.Word == "rate-limit")
        {
            http.Response.Headers.RetryAfter = $"{retryAfterSeconds}";
        }

        await SendAsync(http, call, KieError.For(fault.Word, call.Model));
    }

    /// <summary>The call log shows the code in the body as the call's status.</summary>
    private static Task SendAsync(HttpContext http, Call call, KieError error)
    {
        call.Status = error.Code;
        return error.SendAsync(http.Response);
    }

    private static IResult Gateway() => Results.Content(
        "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>", "text/html", statusCode: 502);

    private async Task HangAsync(CancellationToken gone)
    {
        using var end = CancellationTokenSource.CreateLinkedTokenSource(gone, lifetime.ApplicationStopping);
        await Task.Delay(Timeout.InfiniteTimeSpan, time, end.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }
}
