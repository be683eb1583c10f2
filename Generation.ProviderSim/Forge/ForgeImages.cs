using System.Globalization;
using System.Text;
using System.Text.Json;
using Generation.ProviderSim.Calls;
using Generation.ProviderSim.Faults;
using Generation.ProviderSim.Files;
using Generation.ProviderSim.Pictures;
using Microsoft.Extensions.Options;

namespace Generation.ProviderSim.Forge;

/// <summary>
/// <c>POST /sdapi/v1/txt2img</c>: waits for the card, samples, and answers with the pictures themselves. It continues whether or not the
/// caller stays. Nobody bills it; a call counts as paid in the log once it has made a picture, so that work done twice can be seen.
/// </summary>
public sealed class ForgeImages(
    ForgeEntrance entrance, ForgeGpu gpu, FaultDesk faults, Gates gates, Studio studio, CallLog calls, RecentPictures recent,
        IOptions<SimOptions> options, TimeProvider time,
    IHostApplicationLifetime lifetime)
{
    public const string DefaultModel = "sd_xl_base_1.0";

    private long serial;

    public static void Map(IEndpointRouteBuilder routes) => routes.MapPost("/sdapi/v1/txt2img", (HttpContext http, ForgeImages forge) =>
        forge.GenerateAsync(http));

    /// <summary>A finished picture.</summary>
    private sealed record Picture(byte[] Png, long Bytes, long Seed, string Infotext);

    private sealed record Work(HttpContext Http, Call Call, ForgeRequest Request, PromptWords Words, ulong PromptKey, Fault? Fault, ForgeJob Job)
    {
        public (string Name, string Hash) Model => ForgeRequest.FindModel(Request.Model ?? DefaultModel)!.Value;

        public bool Is(string word) => Fault?.Word == word;
    }

    private async Task GenerateAsync(HttpContext http)
    {
        var call = new Call { Id = $"forge-{Interlocked.Increment(ref serial)}", At = time.GetUtcNow() };
        calls.Add(call);
        if (!await entrance.AdmitAsync(http))
        {
            call.Status = http.Response.StatusCode;
            return;
        }

        if (await ReadAsync(http, call) is not { } request)
        {
            return;
        }

        var words = PromptWords.Parse(request.Prompt);
        var promptKey = Recipe.Hash(request.Prompt);
        var fault = faults.ForCall(request.Prompt, promptKey, words).Fault;
        if (fault?.Word == "bad-gateway")
        {
            call.Status = http.Response.StatusCode = StatusCodes.Status502BadGateway;
            http.Response.ContentType = "text/html";
            await http.Response.WriteAsync("<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>");
            return;
        }

        if (fault is { Stage: FaultStage.Refusal, Word: not "overload" } && ForgeError.For(fault.Word) is { } refusal)
        {
            await RefuseAsync(http, call, refusal);
            return;
        }

        var job = new ForgeJob(request.ForceTaskId ?? $"task(txt2img-{Dice.Mix((ulong)serial ^ promptKey):X7})", request, request.Prompt);
        await RunAsync(new Work(http, call, request, words, promptKey, fault, job));
    }

    private async Task RefuseAsync(HttpContext http, Call call, ForgeError error)
    {
        call.Status = error.Status;
        await error.SendAsync(http, entrance.IsBare);
    }

    private async Task<ForgeRequest?> ReadAsync(HttpContext http, Call call)
    {
        ForgeInvalid? invalid;
        ForgeError? error = null;
        ForgeRequest? request = null;
        try
        {
            using var body = await JsonDocument.ParseAsync(http.Request.Body, cancellationToken: http.RequestAborted);
            if (body.RootElement.ValueKind == JsonValueKind.Object)
            {
                (request, invalid, error) = ForgeRequest.Read(body.RootElement);
                call.Prompt = request?.Prompt ?? "";
                call.Model = request?.Model ?? DefaultModel;
            }
            else
            {
                invalid = new ForgeInvalid(["body"], "value is not a valid dict", "type_error.dict");
            }
        }
        catch (JsonException e)
        {
            invalid = new ForgeInvalid(["body", e.BytePositionInLine ?? 0], "Expecting value: line 1 column 1 (char 0)",
                "value_error.jsondecode");
        }

        if (invalid is not null)
        {
            call.Status = StatusCodes.Status422UnprocessableEntity;
            await invalid.SendAsync(http);
        }
        else if (error is not null)
        {
            await RefuseAsync(http, call, error);
        }

        return invalid is null && error is null ? request : null;
    }

    private async Task RunAsync(Work work)
    {
        var place = await gpu.EnterAsync(work.Job, lifetime.ApplicationStopping);
        try
        {
            List<Picture> pictures = [];
            var failed = true;
            try
            {
                if (!work.Is("overload"))
                {
                    pictures = await SampleAsync(work);
                    failed = false;
                }
            }
            finally
            {
                place.Leave(failed);
            }

            if (failed)
            {
                await RefuseAsync(work.Http, work.Call, ForgeError.OutOfMemory);
            }
            else
            {
                await ReplyAsync(work, pictures);
            }
        }
        finally
        {
            place.Answered();
        }
    }

    /// <summary>
    /// Batch after batch, step after step. Halfway through the first it stands at the prompt's gate; interrupted, it gives what there is.
    /// </summary>
    private async Task<List<Picture>> SampleAsync(Work work)
    {
        var (request, words, job) = (work.Request, work.Words, work.Job);
        var pictures = new List<Picture>();
        var firstSeed = request.Seed >= 0 ? request.Seed
            : (long)(Dice.Mix(Dice.Mix(options.Value.Seed) ^ work.PromptKey ^ (ulong)faults.Occurrence(work.PromptKey)) & uint.MaxValue);
        for (var batch = 0; batch < request.Iterations && !job.IsInterrupted; batch++)
        {
            var seeds = Enumerable.Range(batch * request.BatchSize, request.BatchSize).Select(index => firstSeed + index).ToList();
            job.Picture = RecipeOf(work, seeds[0]);
            var pause = Latency(words, job.Picture.Seed) * request.BatchSize / request.Steps;
            for (var step = 0; step < request.Steps && !job.IsInterrupted && !job.IsSkipped; step++)
            {
                if (batch == 0 && step == request.Steps / 2)
                {
                    await StandStillAsync(work);
                }

                if (pause > TimeSpan.Zero)
                {
                    await Task.WhenAny(Task.Delay(pause, time, lifetime.ApplicationStopping), job.Stopped);
                }

                if (!job.IsInterrupted && !job.IsSkipped)
                {
                    job.Step();
                }
            }

            foreach (var seed in seeds)
            {
                pictures.Add(await DrawAsync(work, seed));
            }

            work.Call.Images = pictures.Count;
            var ticket = new ResultTicket(job.Picture, work.PromptKey, "");
            recent.Add($"{ticket.ToId(time.GetUtcNow())}_{batch}.{ticket.Extension}", request.Prompt, work.Call.At);
            job.NextBatch();
        }

        return pictures;
    }

    /// <summary>At a gate, or for good when the card hangs: only an interrupt helps, and the hanging card's caller may give up.</summary>
    private async Task StandStillAsync(Work work)
    {
        using var end = CancellationTokenSource.CreateLinkedTokenSource(lifetime.ApplicationStopping);
        if (work.Words.Gate is { } gate)
        {
            await Task.WhenAny(gates.PassAsync(gate, end.Token), work.Job.Stopped);
        }

        if (work.Is("timeout"))
        {
            using var gone = CancellationTokenSource.CreateLinkedTokenSource(end.Token, work.Http.RequestAborted);
            await Task.WhenAny(Task.Delay(Timeout.InfiniteTimeSpan, time, gone.Token), work.Job.Stopped);
        }

        await end.CancelAsync();
    }

    private static Recipe RecipeOf(Work work, long seed) =>
        Recipe.For(work.Words.Text, (ulong)seed << 20, Math.Max(16, work.Request.Width), Math.Max(16, work.Request.Height), false, PictureFormat.Png);

    private async Task<Picture> DrawAsync(Work work, long seed)
    {
        var bytes = work.Words.Bytes ?? options.Value.PictureBytes;
        var recipe = RecipeOf(work, seed);
        var png = bytes > 0 ? GreyPicture.File(PictureFormat.Png, recipe.Width, recipe.Height)
            : work.Job.Progress < 1 && (work.Job.IsInterrupted || work.Job.IsSkipped) ? Unfinished(recipe, work.Job.Progress)
            : await studio.DrawAsync(recipe);
        var infotext = work.Request.Infotext(work.Words.Text, seed, work.Model);
        png = PngChunks.WithText(png, "parameters", infotext);
        return new Picture(png, Math.Max(bytes, png.Length), seed, infotext);
    }

    /// <summary>A picture that still has so much noise in it as its sampling had before it.</summary>
    internal static byte[] Unfinished(Recipe recipe, double progress)
    {
        using var png = new PictureEncoder(PictureFormat.Png, recipe.Width, recipe.Height);
        return Studio.Paint(recipe, png, (float)(160 * (1 - progress)));
    }

    private TimeSpan Latency(PromptWords words, ulong seed)
    {
        if (words.LatencyMs is { } fixedLatency)
        {
            return TimeSpan.FromMilliseconds(fixedLatency);
        }

        var swing = (new Dice(seed).Fraction() * 2 - 1) * options.Value.LatencyJitter;
        return TimeSpan.FromMilliseconds(options.Value.LatencyMs * (1 + swing));
    }

    private async Task ReplyAsync(Work work, List<Picture> pictures)
    {
        var (http, call) = (work.Http, work.Call);
        var gone = http.RequestAborted;
        switch (work.Fault?.Word)
        {
            case "server-error-paid":
                await RefuseAsync(http, call, ForgeError.Crashed);
                return;
            case "timeout" when !work.Job.IsInterrupted:
            case "cut-reply":
                http.Abort();
                return;
        }

        http.Response.ContentType = "application/json";
        if (work.Fault?.Word is "malformed" or "cut-reply-half")
        {
            using var whole = new MemoryStream();
            await using (var json = new Utf8JsonWriter(whole))
            {
                await WriteAsync(json, work, pictures, gone);
            }

            var half = whole.GetBuffer().AsMemory(0, (int)whole.Length / 2);
            http.Response.ContentLength = work.Is("malformed") ? half.Length : whole.Length;
            if (work.Is("malformed"))
            {
                call.Status = StatusCodes.Status200OK;
            }

            await http.Response.Body.WriteAsync(half, gone);
            await http.Response.Body.FlushAsync(gone);
            if (work.Is("cut-reply-half"))
            {
                http.Abort();
            }

            return;
        }

        call.Status = StatusCodes.Status200OK;
        await using var writer = new Utf8JsonWriter(http.Response.Body); // into the pipe it would pile up: there a flush sends nothing
        await WriteAsync(writer, work, pictures, gone);
    }

    private async Task WriteAsync(Utf8JsonWriter json, Work work, List<Picture> pictures, CancellationToken gone)
    {
        json.WriteStartObject();
        json.WriteStartArray("images");
        if (work.Request.SendImages && !work.Is("empty-data"))
        {
            foreach (var picture in pictures)
            {
                await WritePictureAsync(json, work, picture, gone);
            }
        }

        json.WriteEndArray();
        json.WritePropertyName("parameters");
        work.Request.Echo.WriteTo(json);
        json.WriteString("info", Info(work, pictures));
        json.WriteEndObject();
        await json.FlushAsync(gone);
    }

    private async Task WritePictureAsync(Utf8JsonWriter json, Work work, Picture picture, CancellationToken gone)
    {
        var fault = faults.ForDownload(work.PromptKey, work.Words)?.Word;
        IEnumerable<ReadOnlyMemory<byte>> pieces = fault switch
        {
            "html-as-png" or "wrong-type" => [Encoding.UTF8.GetBytes("<!doctype html><html><body><h1>It works!</h1></body></html>")],
            "zip-as-png" => ["PK\x03\x04\x14\0\0\0\0\0"u8.ToArray()],
            "oversized" => PngChunks.Padded(picture.Png, long.MaxValue),
            _ => PngChunks.Padded(picture.Png, picture.Bytes),
        };
        foreach (var piece in pieces)
        {
            json.WriteBase64StringSegment(piece.Span, isFinalSegment: false);
            await json.FlushAsync(gone);
            gone.ThrowIfCancellationRequested();
        }

        json.WriteBase64StringSegment([], isFinalSegment: true);
    }

    /// <summary>A string with JSON in it.</summary>
    private static string Info(Work work, List<Picture> pictures)
    {
        var request = work.Request;
        var first = pictures.FirstOrDefault();
        return JsonSerializer.Serialize(new Dictionary<string, object?>
        {
            ["prompt"] = request.Prompt,
            ["all_prompts"] = pictures.Select(_ => request.Prompt),
            ["negative_prompt"] = request.NegativePrompt,
            ["all_negative_prompts"] = pictures.Select(_ => request.NegativePrompt),
            ["seed"] = first?.Seed ?? request.Seed,
            ["all_seeds"] = pictures.Select(picture => picture.Seed),
            ["subseed"] = first?.Seed ?? request.Seed,
            ["all_subseeds"] = pictures.Select(picture => picture.Seed),
            ["subseed_strength"] = 0,
            ["width"] = request.Width,
            ["height"] = request.Height,
            ["sampler_name"] = request.Sampler,
            ["cfg_scale"] = request.CfgScale,
            ["steps"] = request.Steps,
            ["batch_size"] = request.BatchSize,
            ["restore_faces"] = false,
            ["face_restoration_model"] = null,
            ["sd_model_name"] = work.Model.Name,
            ["sd_model_hash"] = work.Model.Hash,
            ["sd_vae_name"] = null,
            ["sd_vae_hash"] = null,
            ["seed_resize_from_w"] = -1,
            ["seed_resize_from_h"] = -1,
            ["denoising_strength"] = null,
            ["extra_generation_params"] = new Dictionary<string, string> { ["Schedule type"] = request.Scheduler },
            ["index_of_first_image"] = 0,
            ["infotexts"] = pictures.Select(picture => picture.Infotext),
            ["styles"] = Array.Empty<string>(),
            ["job_timestamp"] = work.Job.StartedAt.ToString("yyyyMMddHHmmss", CultureInfo.InvariantCulture),
            ["clip_skip"] = 1,
            ["is_using_inpainting_conditioning"] = false,
            ["version"] = ForgeRequest.Version,
        });
    }
}
