using System.Text.Json;
using Generation.ProviderSim.Calls;
using Generation.ProviderSim.Faults;
using Generation.ProviderSim.Files;
using Generation.ProviderSim.Pictures;
using Microsoft.Extensions.Options;

namespace Generation.ProviderSim.OpenAi;

/// <summary>
/// OpenAI's image endpoint, whole and as a stream. Pictures come as base64 inside the answer, so that the faults of a download are here
/// faults of a picture: it breaks off, drips, never ends, or is something else. The work is paid once it is done, whether or not the
/// caller is still there.
/// </summary>
public sealed class OpenAiImages(
    OpenAiEntrance entrance, FaultDesk faults, Gates gates, Replies replies, Studio studio, RecentPictures recent,
    IOptions<SimOptions> options, TimeProvider time, IHostApplicationLifetime lifetime)
{
    private const int DripBytes = 384; // a multiple of three: base64 of it needs no padding
    private const int PieceBytes = 48 << 10;
    private static readonly TimeSpan DripInterval = TimeSpan.FromMilliseconds(100);

    public static void Map(IEndpointRouteBuilder routes) =>
        routes.MapPost("/v1/images/generations", (HttpContext http, OpenAiImages images) => images.GenerateAsync(http));

    private sealed record Work(HttpContext Http, Call Call, OpenAiImageRequest Request, PromptWords Words, Fault? Fault, Fault? Spoils,
        IReadOnlyList<Recipe> Recipes, long Created)
    {
        public bool Is(string word) => Fault?.Word == word;

        public long Tokens => Recipes.Count * Request.ImageTokens;

        public CancellationToken Gone => Http.RequestAborted;
    }

    private async Task GenerateAsync(HttpContext http)
    {
        var call = entrance.Enter(http);
        var (body, error) = await entrance.ReadAsync(http.Request, takesForms: false);
        if (error is null)
        {
            call.Model = body.TryGetProperty("model", out var model) && model.ValueKind == JsonValueKind.String ? model.GetString()! : "";
            call.Prompt = body.TryGetProperty("prompt", out var prompt) && prompt.ValueKind == JsonValueKind.String ? prompt.GetString()! : "";
        }

        var (request, wrong) = error is null ? OpenAiImageRequest.Read(body) : (null, error);
        if (wrong is not null)
        {
            call.Status = wrong.Status;
            await wrong.SendAsync(http.Response);
            return;
        }

        var words = PromptWords.Parse(request!.Prompt);
        var promptKey = Recipe.Hash(request.Prompt);
        var verdict = faults.ForCall(request.Prompt, promptKey, words);
        if (verdict.Fault is { Stage: FaultStage.Refusal } refusal)
        {
            await OpenAiError.RefuseAsync(http, call, refusal, verdict.RetryAfterSeconds);
            return;
        }

        var spoils = faults.ForDownload(promptKey, PromptWords.Parse(words.ForDownload + verdict.DownloadWords));
        var recipes = Enumerable.Range(0, request.Count).Select(index => Recipe.For(
            words.Text, Dice.Mix(options.Value.Seed) ^ Dice.Mix((ulong)faults.Occurrence(promptKey)) ^ (ulong)index << 56,
            request.Width, request.Height, watermark: false, request.Format)).ToList();
        var work = new Work(http, call, request, words, verdict.Fault, spoils, recipes, call.At.ToUnixTimeSeconds());
        if (request.Stream)
        {
            await StreamAsync(work);
        }
        else
        {
            await AnswerAsync(work);
        }
    }

    private async Task AnswerAsync(Work work)
    {
        var (http, call) = (work.Http, work.Call);
        await Task.Delay(Latency(work), time, lifetime.ApplicationStopping);
        if (work.Fault is { Stage: FaultStage.Outcome } outcome && OpenAiError.For(outcome.Word, work.Request.Model, call.Id) is { } error)
        {
            call.Status = error.Status;
            await error.SendAsync(http.Response);
            return;
        }

        Finish(work);
        if (work.Words.Gate is { } gate && call.Paid)
        {
            await gates.PassAsync(gate, work.Gone);
        }

        if (work.Is("server-error-paid"))
        {
            call.Status = OpenAiError.Internal.Status;
            await OpenAiError.Internal.SendAsync(http.Response);
        }
        else if (work.Fault is { Stage: FaultStage.Reply })
        {
            using var whole = new MemoryStream();
            await using (var json = new Utf8JsonWriter(whole, OpenAiEntrance.JsonOptions))
            {
                await WriteReplyAsync(json, work);
            }

            await replies.SendJsonAsync(http, call, work.Fault, whole.GetBuffer().AsMemory(0, (int)whole.Length));
        }
        else
        {
            call.Status = StatusCodes.Status200OK;
            http.Response.ContentType = "application/json";
            await using var json = new Utf8JsonWriter(http.Response.BodyWriter, OpenAiEntrance.JsonOptions);
            await WriteReplyAsync(json, work);
        }
    }

    private async Task WriteReplyAsync(Utf8JsonWriter json, Work work)
    {
        json.WriteStartObject();
        json.WriteNumber("created", work.Created);
        WriteLook(json, work.Request);
        json.WriteStartArray("data");
        foreach (var recipe in work.Is("empty-data") ? [] : work.Recipes)
        {
            json.WriteStartObject();
            await WritePictureAsync(json, work, await PiecesAsync(work, recipe));
            json.WriteEndObject();
        }

        json.WriteEndArray();
        WriteUsage(json, work, work.Is("empty-data") ? 0 : work.Tokens);
        json.WriteEndObject();
        await json.FlushAsync(work.Gone);
    }

    /// <summary>Previews as the picture becomes clear, then the picture. A caller who has gone stops the events and not the work.</summary>
    private async Task StreamAsync(Work work)
    {
        var (http, call, request) = (work.Http, work.Call, work.Request);
        call.Status = StatusCodes.Status200OK;
        http.Response.ContentType = "text/event-stream; charset=utf-8";
        http.Response.Headers.CacheControl = "no-cache";
        await http.Response.Body.FlushAsync(CancellationToken.None);
        var recipe = work.Recipes[0];
        for (var n = 0; n < request.PartialImages; n++)
        {
            await Task.Delay(Latency(work) / (request.PartialImages + 1), time, lifetime.ApplicationStopping);
            var picture = Bytes(work) is null ? [await studio.SketchAsync(recipe, 32 >> n)] : Grey(request, 8_000);
            var index = n;
            await SendEventAsync(work, "image_generation.partial_image", async json =>
            {
                json.WriteNumber("partial_image_index", index);
                await WriteBase64Async(json, picture, work.Gone);
                WriteMoment(json, work);
            });
        }

        await Task.Delay(Latency(work) / (request.PartialImages + 1), time, lifetime.ApplicationStopping);
        if (work.Fault is { Stage: FaultStage.Outcome, Word: not Fault.AbsurdUsage } outcome)
        {
            var error = OpenAiError.For(outcome.Word, request.Model, call.Id);
            if (error is not null)
            {
                await SendEventAsync(work, "error", json => { error.WriteTo(json); return Task.CompletedTask; });
            }

            return; // empty-data: a stream that ends without a picture
        }

        Finish(work);
        if (work.Words.Gate is { } gate)
        {
            await gates.PassAsync(gate, work.Gone);
        }

        switch (work.Fault?.Word)
        {
            case "server-error-paid":
                await SendEventAsync(work, "error", json =>
                { OpenAiError.Internal.WriteTo(json); return Task.CompletedTask; }); return;
            case "timeout": await replies.HangAsync(http); return;
            case "cut-reply": http.Abort(); return;
            case "malformed":
                await http.Response.WriteAsync(
                    "event: image_generation.completed\ndata: {\"type\":\"image_generation.completed\",\"b64_json\":\"iVBORw0KGgo\n\n", work.Gone);
                return;
        }

        var pieces = await PiecesAsync(work, recipe);
        await SendEventAsync(work, "image_generation.completed", async json =>
        {
            await WritePictureAsync(json, work, pieces, isCut: work.Is("cut-reply-half"));
            WriteMoment(json, work);
            WriteUsage(json, work, work.Tokens + request.PartialImages * OpenAiImageRequest.TokensPerPartial);
        });
    }

    /// <summary>The work is done and billed.</summary>
    private void Finish(Work work)
    {
        if (work.Is("empty-data"))
        {
            return;
        }

        work.Call.Images = work.Recipes.Count;
        foreach (var (recipe, index) in work.Recipes.Select((recipe, index) => (recipe, index)))
        {
            var ticket = new ResultTicket(recipe, 0, "");
            recent.Add($"{ticket.ToId(time.GetUtcNow())}_{index}.{ticket.Extension}", work.Request.Prompt, work.Call.At);
        }
    }

    private TimeSpan Latency(Work work)
    {
        if (work.Words.LatencyMs is { } fixedLatency)
        {
            return TimeSpan.FromMilliseconds(fixedLatency);
        }

        var swing = (new Dice(work.Recipes[0].Seed).Fraction() * 2 - 1) * options.Value.LatencyJitter;
        return TimeSpan.FromMilliseconds(options.Value.LatencyMs * (1 + swing));
    }

    private long? Bytes(Work work) => work.Words.Bytes ?? (options.Value.PictureBytes > 0 ? options.Value.PictureBytes : null);

    private static IEnumerable<ReadOnlyMemory<byte>> Grey(OpenAiImageRequest request, long bytes) =>
        GreyPicture.Pieces(request.Format, request.Width, request.Height, bytes);

    private async Task<IEnumerable<ReadOnlyMemory<byte>>> PiecesAsync(Work work, Recipe recipe) => work.Spoils?.Word switch
    {
        "oversized" => GreyPicture.Endless(recipe.Format, recipe.Width, recipe.Height),
        "html-as-png" or "wrong-type" => [System.Text.Encoding.UTF8.GetBytes(ResultFiles.Page)],
        "zip-as-png" => [ResultFiles.Archive()],
        _ => Bytes(work) is { } bytes ? Grey(work.Request, bytes) : [await studio.DrawAsync(recipe)],
    };

    /// <summary>The field <c>b64_json</c>, with the gate in its middle and the faults that corrupt it.</summary>
    private async Task WritePictureAsync(Utf8JsonWriter json, Work work, IEnumerable<ReadOnlyMemory<byte>> pieces, bool isCut = false)
    {
        var drips = work.Spoils?.Word == "slow-body";
        isCut |= work.Spoils?.Word == "cut-body";
        var hasMiddle = isCut || work.Words.DownloadGate is not null;
        var all = hasMiddle ? pieces.ToList() : pieces; // a middle is asked for of small pictures only
        var half = hasMiddle ? all.Sum(piece => (long)piece.Length) / 2 : long.MaxValue;
        var sent = 0L;
        json.WritePropertyName("b64_json");
        foreach (var part in all.SelectMany(piece => Parts(piece, drips || hasMiddle ? DripBytes : PieceBytes)))
        {
            json.WriteBase64StringSegment(part.Span, isFinalSegment: false);
            await json.FlushAsync(work.Gone);
            // The JSON writer only hands over to the pipe. Without this a picture that never ends would stay here.
            if (work.Request.Stream || work.Fault is not { Stage: FaultStage.Reply })
            {
                await work.Http.Response.BodyWriter.FlushAsync(work.Gone);
            }

            if (drips)
            {
                await Task.Delay(DripInterval, time, work.Gone);
            }

            sent += part.Length;
            if (sent < half)
            {
                continue;
            }

            half = long.MaxValue;
            if (isCut)
            {
                work.Http.Abort();
                throw new OperationCanceledException("The connection was cut in the middle of a picture.");
            }

            await gates.PassAsync(work.Words.DownloadGate!, work.Gone);
        }

        json.WriteBase64StringSegment([], isFinalSegment: true);
    }

    private static async Task WriteBase64Async(Utf8JsonWriter json, IEnumerable<ReadOnlyMemory<byte>> pieces, CancellationToken gone)
    {
        json.WritePropertyName("b64_json");
        foreach (var part in pieces.SelectMany(piece => Parts(piece, PieceBytes)))
        {
            json.WriteBase64StringSegment(part.Span, isFinalSegment: false);
            await json.FlushAsync(gone);
        }

        json.WriteBase64StringSegment([], isFinalSegment: true);
    }

    private static IEnumerable<ReadOnlyMemory<byte>> Parts(ReadOnlyMemory<byte> piece, int length)
    {
        for (var at = 0; at < piece.Length; at += length)
        {
            yield return piece.Slice(at, Math.Min(length, piece.Length - at));
        }
    }

    private static void WriteMoment(Utf8JsonWriter json, Work work)
    {
        json.WriteNumber("created_at", work.Created);
        WriteLook(json, work.Request);
    }

    private static void WriteLook(Utf8JsonWriter json, OpenAiImageRequest request)
    {
        json.WriteString("background", request.Background);
        json.WriteString("output_format", request.Format.Name());
        json.WriteString("quality", request.Quality);
        json.WriteString("size", request.Size);
    }

    private static void WriteUsage(Utf8JsonWriter json, Work work, long imageTokens)
    {
        var textTokens = work.Request.TextTokens;
        json.WriteStartObject("usage");
        if (work.Is(Fault.AbsurdUsage))
        {
            Fault.WriteAbsurd(json, "total_tokens");
            Fault.WriteAbsurd(json, "input_tokens", "-9223372036854775808");
            Fault.WriteAbsurd(json, "output_tokens");
            json.WriteEndObject();
            return;
        }

        json.WriteNumber("total_tokens", textTokens + imageTokens);
        json.WriteNumber("input_tokens", textTokens);
        json.WriteNumber("output_tokens", imageTokens);
        json.WriteStartObject("input_tokens_details");
        json.WriteNumber("text_tokens", textTokens);
        json.WriteNumber("image_tokens", 0);
        json.WriteEndObject();
        json.WriteStartObject("output_tokens_details");
        json.WriteNumber("image_tokens", imageTokens);
        json.WriteNumber("text_tokens", 0);
        json.WriteEndObject();
        json.WriteEndObject();
    }

    /// <summary>Nothing when the caller has gone.</summary>
    private static async Task SendEventAsync(Work work, string type, Func<Utf8JsonWriter, Task> writeFields)
    {
        if (work.Gone.IsCancellationRequested)
        {
            return;
        }

        try
        {
            await work.Http.Response.WriteAsync($"event: {type}\ndata: ", work.Gone);
            await using (var json = new Utf8JsonWriter(work.Http.Response.BodyWriter, OpenAiEntrance.JsonOptions))
            {
                json.WriteStartObject();
                json.WriteString("type", type);
                await writeFields(json);
                json.WriteEndObject();
            }

            await work.Http.Response.WriteAsync("\n\n", work.Gone);
            await work.Http.Response.Body.FlushAsync(work.Gone);
        }
        catch (Exception e) when (e is OperationCanceledException || (e is IOException && work.Gone.IsCancellationRequested))
        {
            // The caller left in the middle of the event, or a fault has cut it.
        }
    }
}
