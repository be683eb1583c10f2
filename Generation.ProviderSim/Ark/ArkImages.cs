using System.Text.Json;
using System.Text.RegularExpressions;
using Generation.ProviderSim.Calls;
using Generation.ProviderSim.Faults;
using Generation.ProviderSim.Files;
using Generation.ProviderSim.Pictures;
using Microsoft.Extensions.Options;

namespace Generation.ProviderSim.Ark;

/// <summary>
/// BytePlus Ark's image endpoint. A call goes through four steps, and the step in which it ends decides who pays: it is read and refused
/// for nothing; a fault may refuse it; the work takes its time whether or not the caller stays; then it is paid, and the reply may still
/// go wrong.
/// </summary>
public sealed partial class ArkImages(
    ArkEntrance entrance, FaultDesk faults, Gates gates, Studio studio, ResultFiles files, RecentPictures recent,
    IOptions<SimOptions> options, TimeProvider time, IHostApplicationLifetime lifetime)
{
    public static void Map(IEndpointRouteBuilder routes) =>
        routes.MapPost("/api/v3/images/generations", (HttpContext http, ArkImages ark) => ark.GenerateAsync(http));

    /// <summary>One picture of a reply, or the error in its place.</summary>
    private sealed record Item(ResultTicket? Ticket, string FileName, ArkError? Error);

    private sealed record Work(HttpContext Http, Call Call, ArkRequest Request, PromptWords Words, Fault? Fault, long Created)
    {
        public List<Item> Items { get; } = [];

        public bool Is(string word) => Fault?.Word == word;
    }

    private async Task GenerateAsync(HttpContext http)
    {
        var call = entrance.Enter(http);
        var (request, error) = await ReadAsync(http.Request, call);
        if (error is null)
        {
            var words = PromptWords.Parse(request!.Prompt);
            var promptKey = Recipe.Hash(request.Prompt);
            var verdict = faults.ForCall(request.Prompt, promptKey, words);
            if (verdict.Fault is { Stage: FaultStage.Refusal } refusal)
            {
                await RefuseAsync(http, call, refusal, request.Model, verdict.RetryAfterSeconds);
                return;
            }

            var work = new Work(http, call, request, words, verdict.Fault, call.At.ToUnixTimeSeconds());
            if (request.Stream)
            {
                await StreamAsync(work, promptKey, verdict.DownloadWords);
            }
            else
            {
                await AnswerAsync(work, promptKey, verdict.DownloadWords);
            }

            return;
        }

        call.Status = error.Status;
        await error.SendAsync(http.Response, call.Id);
    }

    private async Task<(ArkRequest? Request, ArkError? Error)> ReadAsync(HttpRequest http, Call call)
    {
        var (body, error) = await entrance.ReadAsync(http);
        if (error is not null)
        {
            return (null, error);
        }

        call.Model = ArkEntrance.Text(body, "model") ?? "";
        call.Prompt = ArkEntrance.Text(body, "prompt") ?? "";
        return ArkRequest.Read(body);
    }

    internal static async Task RefuseAsync(HttpContext http, Call call, Fault fault, string model, int retryAfterSeconds)
    {
        if (fault.Word == "bad-gateway")
        {
            call.Status = http.Response.StatusCode = StatusCodes.Status502BadGateway;
            http.Response.ContentType = "text/html";
            await http.Response.WriteAsync("<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>");
            return;
        }

        var error = ArkError.For(fault.Word, model) ?? throw new InvalidOperationException($"Ark has no words for the fault {fault.Word}.");
        if (fault.Word == "rate-limit")
        {
            http.Response.Headers.RetryAfter = retryAfterSeconds.ToString();
        }

        call.Status = fault.Word == "error-200" ? 200 : error.Status;
        await error.SendAsync(http.Response, call.Id, call.Status);
    }

    /// <summary>Makes the pictures one after the other, each in its own time. The caller's absence changes nothing: the work is billed.</summary>
    private async IAsyncEnumerable<Item> MakeAsync(Work work, ulong promptKey, string downloadWords)
    {
        var (request, words, call) = (work.Request, work.Words, work.Call);
        var count = request.MaxImages == 1 ? 1 : GroupSize(request);
        var ticketWords = words.ForDownload + downloadWords;
        if (options.Value.PictureBytes > 0 && words.Bytes is null)
        {
            var whole = GreyPicture.File(request.Format, request.Width, request.Height).Length;
            ticketWords += $"[bytes={Math.Max(options.Value.PictureBytes, whole)}]"; // a file that is cut would be fetched again
        }

        for (var index = 0; index < count; index++)
        {
            var occurrence = request.Seed is { } fixedSeed ? (ulong)fixedSeed << 20 : (ulong)faults.Occurrence(promptKey);
            var seed = Dice.Mix(options.Value.Seed) ^ Dice.Mix(occurrence) ^ (ulong)index << 56 ^ request.References;
            var recipe = Recipe.For(words.Text, seed, request.Width, request.Height, request.Watermark, request.Format);
            await Task.Delay(Latency(words, recipe.Seed), time, lifetime.ApplicationStopping);
            if (index == 0 && work.Is("image-error"))
            {
                yield return new Item(null, "", ArkError.ImageModeration);
                continue;
            }

            if (work.Is("image-500"))
            {
                yield return new Item(null, "", ArkError.Internal);
                yield break;
            }

            if (work.Is("moderation-output") || work.Is("empty-data"))
            {
                yield break;
            }

            call.Images++;
            var ticket = new ResultTicket(recipe, promptKey, ticketWords);
            var item = new Item(ticket, $"{ticket.ToId(time.GetUtcNow())}_{index}.{ticket.Extension}", null);
            recent.Add(item.FileName, request.Prompt, call.At);
            yield return item;
        }
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

    /// <summary>In a group the model decides how many: what the prompt says ("three pictures"), else a few; never more than allowed.</summary>
    private static int GroupSize(ArkRequest request)
    {
        string[] numbers = ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];
        if (CountedPictures().Match(request.Prompt) is { Success: true } match)
        {
            var word = match.Groups["count"].Value.ToLowerInvariant();
            var said = int.TryParse(word, out var number) ? number : Array.IndexOf(numbers, word) + 2;
            return Math.Clamp(said, 1, request.MaxImages);
        }

        return 1 + (int)(Recipe.Hash(request.Prompt) % (ulong)Math.Min(request.MaxImages, 4));
    }

    private async Task AnswerAsync(Work work, ulong promptKey, string downloadWords)
    {
        await foreach (var item in MakeAsync(work, promptKey, downloadWords))
        {
            work.Items.Add(item);
        }

        var (http, call, fault) = (work.Http, work.Call, work.Fault);
        var gone = http.RequestAborted;
        if (work.Words.Gate is { } gate && call.Paid)
        {
            await gates.PassAsync(gate, gone);
        }

        switch (fault?.Word)
        {
            case "moderation-output" or "server-error-paid":
                var error = ArkError.For(fault.Word, work.Request.Model)!;
                call.Status = error.Status;
                await error.SendAsync(http.Response, call.Id);
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
        if (fault?.Word is "malformed" or "cut-reply-half")
        {
            using var whole = new MemoryStream();
            await using (var json = new Utf8JsonWriter(whole, ArkError.JsonOptions))
            {
                await WriteReplyAsync(json, work, gone);
            }

            var half = whole.GetBuffer().AsMemory(0, (int)whole.Length / 2);
            http.Response.ContentLength = fault.Word == "malformed" ? half.Length : whole.Length;
            if (fault.Word == "malformed")
            {
                call.Status = StatusCodes.Status200OK;
            }

            await http.Response.Body.WriteAsync(half, gone);
            await http.Response.Body.FlushAsync(gone);
            if (fault.Word == "cut-reply-half")
            {
                http.Abort();
            }

            return;
        }

        call.Status = StatusCodes.Status200OK;
        await using var writer = new Utf8JsonWriter(http.Response.BodyWriter, ArkError.JsonOptions);
        await WriteReplyAsync(writer, work, gone);
    }

    private async Task HangAsync(CancellationToken gone)
    {
        using var end = CancellationTokenSource.CreateLinkedTokenSource(gone, lifetime.ApplicationStopping);
        await Task.Delay(Timeout.InfiniteTimeSpan, time, end.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    private async Task WriteReplyAsync(Utf8JsonWriter json, Work work, CancellationToken gone)
    {
        json.WriteStartObject();
        json.WriteString("model", work.Request.Model);
        json.WriteNumber("created", work.Created);
        json.WriteStartArray("data");
        foreach (var item in work.Items)
        {
            json.WriteStartObject();
            if (item.Error is not null)
            {
                item.Error.WriteTo(json, requestId: null);
            }
            else
            {
                await WritePictureAsync(json, work, item, gone);
            }

            json.WriteEndObject();
        }

        json.WriteEndArray();
        WriteUsage(json, work);
        json.WriteEndObject();
        await json.FlushAsync(gone);
    }

    private async Task WritePictureAsync(Utf8JsonWriter json, Work work, Item item, CancellationToken gone)
    {
        var recipe = item.Ticket!.Recipe;
        if (!work.Request.Base64)
        {
            json.WriteString("url", files.UrlFor(work.Http.Request, work.Request.Model, item.FileName));
        }
        else
        {
            json.WritePropertyName("b64_json");
            var bytes = PromptWords.Parse(item.Ticket.Words).Bytes;
            IEnumerable<ReadOnlyMemory<byte>> pieces =
                bytes is { } length ? GreyPicture.Pieces(recipe.Format, recipe.Width, recipe.Height, length) : [await studio.DrawAsync(recipe)];
            foreach (var piece in pieces)
            {
                json.WriteBase64StringSegment(piece.Span, isFinalSegment: false);
                await json.FlushAsync(gone);
            }

            json.WriteBase64StringSegment([], isFinalSegment: true);
        }

        json.WriteString("size", $"{recipe.Width}x{recipe.Height}");
    }

    private static void WriteUsage(Utf8JsonWriter json, Work work)
    {
        var pixels = work.Items.Where(item => item.Ticket is not null).Sum(item => (long)item.Ticket!.Recipe.Width * item.Ticket.Recipe.Height);
        var tokens = (long)Math.Round(pixels / 256.0, MidpointRounding.AwayFromZero);
        json.WriteStartObject("usage");
        if (work.Is(Fault.AbsurdUsage))
        {
            Fault.WriteAbsurd(json, "generated_images", "-9223372036854775808");
            Fault.WriteAbsurd(json, "output_tokens");
            Fault.WriteAbsurd(json, "total_tokens");
            json.WriteEndObject();
            return;
        }

        json.WriteNumber("generated_images", work.Items.Count(item => item.Ticket is not null));
        json.WriteNumber("output_tokens", tokens);
        json.WriteNumber("total_tokens", tokens);
        json.WriteEndObject();
    }

    [GeneratedRegex(
        @"\b(?<count>two|three|four|five|six|seven|eight|nine|ten|[1-9][0-9]?) (images|pictures|photos|illustrations|panels|scenes|variations)\b",
        RegexOptions.IgnoreCase | RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 1000)]
    private static partial Regex CountedPictures();
}
