using System.Text.Json;
using System.Text.RegularExpressions;
using Generation.ProviderSim.Faults;
using Generation.ProviderSim.Files;
using Generation.ProviderSim.Films;
using Generation.ProviderSim.Pictures;
using Microsoft.Extensions.Options;

namespace Generation.ProviderSim.OpenAi;

/// <summary>
/// <c>/v1/videos</c> as OpenAI had it until 2026-09-24 and as gateways still speak it: a video is created, asked for until its progress is
/// 100, and fetched with the key. Remixes, edits and characters are not here. <see cref="SimOptions.OpenAiVideosShutDown"/> makes it what
/// it is at OpenAI today.
/// </summary>
public sealed partial class OpenAiVideos(
    OpenAiEntrance entrance, FilmTasks films, FaultDesk faults, Gates gates, Replies replies, ResultFiles files, Studio studio,
        IOptions<SimOptions> options,
    TimeProvider time)
{
    private const string Route = "/v1/videos";
    private const int MaxPromptChars = 32_000;
    private static readonly string[] SmallSizes = ["720x1280", "1280x720"];
    private static readonly string[] AllSizes = [.. SmallSizes, "1024x1792", "1792x1024"];

    private sealed record VideoRequest(string Prompt, string Model, int Seconds, string Size, ulong Reference)
    {
        public (int Width, int Height) Pixels => (int.Parse(Size[..Size.IndexOf('x', StringComparison.Ordinal)]),
            int.Parse(Size[(Size.IndexOf('x', StringComparison.Ordinal) + 1)..]));
    }

    public static void Map(IEndpointRouteBuilder routes)
    {
        routes.MapPost(Route, (HttpContext http, OpenAiVideos videos) => videos.CreateAsync(http));
        routes.MapGet(Route, (HttpContext http, OpenAiVideos videos) => videos.ListAsync(http));
        routes.MapGet(Route + "/{id}", (string id, HttpContext http, OpenAiVideos videos) => videos.RetrieveAsync(id, http));
        routes.MapGet(Route + "/{id}/content", (string id, HttpContext http, OpenAiVideos videos) => videos.SendContentAsync(id, http));
        routes.MapDelete(Route + "/{id}", (string id, HttpContext http, OpenAiVideos videos) => videos.DeleteAsync(id, http));
    }

    private async Task CreateAsync(HttpContext http)
    {
        var call = entrance.Enter(http);
        var (body, error) = await entrance.ReadAsync(http.Request, takesForms: true);
        if (error is null && options.Value.OpenAiVideosShutDown)
        {
            error = OpenAiError.ShutDown;
        }

        var (request, wrong) = error is null ? Read(body) : (null, error);
        if (wrong is not null)
        {
            call.Status = wrong.Status;
            await wrong.SendAsync(http.Response);
            return;
        }

        (call.Model, call.Prompt) = (request!.Model, request.Prompt);
        var words = PromptWords.Parse(request.Prompt);
        var verdict = faults.ForCall(request.Prompt, Recipe.Hash(request.Prompt), words);
        if (verdict.Fault is { Stage: FaultStage.Refusal } refusal)
        {
            await OpenAiError.RefuseAsync(http, call, refusal, verdict.RetryAfterSeconds);
            return;
        }

        var key = entrance.Key(http.Request).Key;
        var film = films.Begin(call, $"video_{films.NextId()}", key, request.Prompt, verdict, request.Pixels, request.Seconds, request.Reference);
        if (words.Gate is { } gate)
        {
            await gates.PassAsync(gate, http.RequestAborted);
        }

        if (verdict.Fault?.Word == "server-error-paid")
        {
            call.Status = OpenAiError.Internal.Status;
            await OpenAiError.Internal.SendAsync(http.Response);
            return;
        }

        SetPollAfter(http.Response, film);
        await replies.SendJsonAsync(http, call, verdict.Fault, Json(json => Write(json, film, film.CreatedAt)));
    }

    private static (VideoRequest? Request, OpenAiError? Error) Read(JsonElement body)
    {
        var fields = new OpenAiFields(body);
        var prompt = fields.Text("prompt", MaxPromptChars);
        if (fields.Error is null && prompt is not { Length: > 0 })
        {
            fields.Refuse(OpenAiError.Missing("prompt"));
        }

        var model = fields.Text("model") ?? "sora-2";
        if (!Models().IsMatch(model))
        {
            fields.Refuse(OpenAiError.NoModel(model));
        }

        var seconds = fields.Word("seconds", "4", "8", "12") ?? "4";
        var size = fields.Word("size", model.StartsWith("sora-2-pro", StringComparison.Ordinal) ? AllSizes : SmallSizes) ?? SmallSizes[0];
        var reference = 0ul;
        if (fields.Any("input_reference") is { } given)
        {
            if (given.ValueKind == JsonValueKind.Object && given.TryGetProperty("file", out var hash))
            {
                reference = hash.GetUInt64();
            }
            else if (given.ValueKind != JsonValueKind.Object || given.EnumerateObject().Count() != 1)
            {
                fields.Refuse(OpenAiError.WrongType("input_reference", "a file, or an object with image_url or file_id", "something else"));
            }
            else if (given.EnumerateObject().Single() is
            {
                Name: "image_url" or "file_id",
                Value.ValueKind: JsonValueKind.String
            } address)
            {
                reference = Recipe.Hash(address.Value.GetString()!);
            }
            else
            {
                fields.Refuse(OpenAiError.Unknown($"input_reference.{given.EnumerateObject().Single().Name}"));
            }
        }

        return fields.Finish() is { } error ? (null, error) : (new VideoRequest(prompt!, model, int.Parse(seconds), size, reference), null);
    }

    private async Task RetrieveAsync(string id, HttpContext http)
    {
        if (await FindAsync(id, http) is not { } found)
        {
            return;
        }

        var (film, requestId) = found;
        var fault = faults.ForPoll(film.Prompt, film.Ticket.PromptKey, PromptWords.Parse(film.Prompt))?.Word;
        switch (fault)
        {
            case "poll-error" or "poll-rate-limit": await OpenAiError.For(fault, film.Model, requestId)!.SendAsync(http.Response); return;
            case "poll-gateway": await Replies.SendGatewayPageAsync(http); return;
            case "poll-lost": await OpenAiError.NoVideo(id).SendAsync(http.Response); return;
            case "poll-timeout": await replies.HangAsync(http); return;
        }

        SetPollAfter(http.Response, film);
        http.Response.ContentType = "application/json";
        // The response for a cancelled video is not documented; it is a failure with a separate code here.
        var givenUp = fault switch { "poll-expired" => "video_expired", "poll-cancelled" => "video_cancelled", _ => null };
        await http.Response.BodyWriter.WriteAsync(Json(json => Write(json, film, time.GetUtcNow(), givenUp,
            fault == "poll-unknown" ? "pondering" : null)));
    }

    private async Task ListAsync(HttpContext http)
    {
        if (await EnterAsync(http) is not { } caller)
        {
            return;
        }

        var query = http.Request.Query;
        var own = films.List(caller.Key);
        if (query["order"] == "asc")
        {
            own = [.. own.Reverse()];
        }

        var limit = int.TryParse(query["limit"], out var number) ? Math.Clamp(number, 1, 100) : 20;
        var after = query["after"].ToString();
        var rest = after.Length == 0 ? own : [.. own.SkipWhile(film => film.Id != after).Skip(1)];
        var page = rest.Take(limit).ToList();
        var now = time.GetUtcNow();
        http.Response.ContentType = "application/json";
        await http.Response.BodyWriter.WriteAsync(Json(json =>
        {
            json.WriteStartObject();
            json.WriteString("object", "list");
            json.WriteStartArray("data");
            foreach (var film in page)
            {
                Write(json, film, now);
            }

            json.WriteEndArray();
            json.WriteString("first_id", page.FirstOrDefault()?.Id);
            json.WriteString("last_id", page.LastOrDefault()?.Id);
            json.WriteBoolean("has_more", rest.Count > page.Count);
            json.WriteEndObject();
        }));
    }

    /// <summary>The film, or a picture of it: a thumbnail in WebP, a sheet in JPEG.</summary>
    private async Task SendContentAsync(string id, HttpContext http)
    {
        if (await FindAsync(id, http) is not { Film: var film })
        {
            return;
        }

        var now = time.GetUtcNow();
        if (now < film.EndsAt || film.Fails)
        {
            await OpenAiError.NotReady.SendAsync(http.Response);
            return;
        }

        var recipe = film.Ticket.Recipe;
        switch (http.Request.Query["variant"].ToString())
        {
            case "" or "video": await files.SendAsync(http, film.Ticket, isExpired: now >= ExpiresAt(film)); break;
            case "thumbnail":
                await Results.Bytes(await studio.DrawAsync(recipe with { Format = PictureFormat.WebP }), "image/webp")
                .ExecuteAsync(http); break;
            case "spritesheet":
                await Results.Bytes(await studio.DrawAsync(recipe with { Width = recipe.Width * 2 }), "image/jpeg")
                .ExecuteAsync(http); break;
            case var other:
                await OpenAiError.WrongValue("variant", $"'{other}'. Supported values are: 'video', 'thumbnail', and 'spritesheet'.")
                    .SendAsync(http.Response);
                break;
        }
    }

    private async Task DeleteAsync(string id, HttpContext http)
    {
        if (await FindAsync(id, http) is not { Film: var film })
        {
            return;
        }

        films.Remove(film);
        http.Response.ContentType = "application/json";
        await http.Response.BodyWriter.WriteAsync(JsonSerializer.SerializeToUtf8Bytes(new { id, @object = "video.deleted", deleted = true }));
    }

    /// <summary>Key of a call that costs nothing; null when it has been refused.</summary>
    private async Task<(string Key, string RequestId)?> EnterAsync(HttpContext http)
    {
        var requestId = entrance.Name(http);
        var (key, error) = entrance.Key(http.Request);
        if (error is null && options.Value.OpenAiVideosShutDown)
        {
            error = OpenAiError.ShutDown;
        }

        if (error is null)
        {
            return (key, requestId);
        }

        await error.SendAsync(http.Response);
        return null;
    }

    private async Task<(FilmTask Film, string RequestId)?> FindAsync(string id, HttpContext http)
    {
        if (await EnterAsync(http) is not { } caller)
        {
            return null;
        }

        if (films.Find(caller.Key, id) is { } film)
        {
            return (film, caller.RequestId);
        }

        await OpenAiError.NoVideo(id).SendAsync(http.Response);
        return null;
    }

    private DateTimeOffset ExpiresAt(FilmTask film) => film.EndsAt.AddSeconds(options.Value.UrlLifetimeSeconds);

    /// <summary>When to ask again: a quarter of what is left.</summary>
    private void SetPollAfter(HttpResponse response, FilmTask film) =>
        response.Headers["openai-poll-after-ms"] = ((long)Math.Clamp((film.EndsAt - time.GetUtcNow()).TotalMilliseconds / 4, 200, 10_000)).ToString();

    private static ReadOnlyMemory<byte> Json(Action<Utf8JsonWriter> write)
    {
        var bytes = new System.Buffers.ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(bytes, OpenAiEntrance.JsonOptions))
        {
            write(json);
        }

        return bytes.WrittenMemory;
    }

    private void Write(Utf8JsonWriter json, FilmTask film, DateTimeOffset now, string? givenUp = null, string? status = null)
    {
        var isOver = now >= film.EndsAt;
        var fails = givenUp is not null || (isOver && film.Fails);
        json.WriteStartObject();
        json.WriteString("id", film.Id);
        json.WriteString("object", "video");
        json.WriteString("model", film.Model);
        json.WriteString(
            "status", status ?? (fails ? "failed" : isOver ? "completed" : now < film.StartsAt ? "queued" : "in_progress"));
        if (film.Fault?.Word == Fault.AbsurdUsage)
        {
            Fault.WriteAbsurd(json, "progress");
        }
        else
        {
            json.WriteNumber("progress", fails && givenUp is null ? 99 : film.PercentAt(now));
        }

        json.WriteNumber("created_at", film.CreatedAt.ToUnixTimeSeconds());
        Moment("completed_at", isOver && !fails ? film.EndsAt : null);
        Moment("expires_at", isOver && !fails ? ExpiresAt(film) : null);
        json.WriteString("prompt", film.Prompt);
        json.WriteString("size", $"{film.Ticket.Recipe.Width}x{film.Ticket.Recipe.Height}");
        json.WriteString("seconds", film.Ticket.Seconds.ToString());
        json.WriteNull("remixed_from_video_id");
        if (!fails)
        {
            json.WriteNull("error");
        }
        else
        {
            var (code, message) = givenUp is not null ? (givenUp, "The video was given up.")
                : film.Fault!.Word == "image-500" ? ("server_error", "The video could not be generated because of an internal error.")
                : ("moderation_blocked", "Your request was blocked by our moderation system.");
            json.WriteStartObject("error");
            json.WriteString("code", code);
            json.WriteString("message", message);
            json.WriteEndObject();
        }

        json.WriteEndObject();

        void Moment(string name, DateTimeOffset? at)
        {
            if (at is null)
            {
                json.WriteNull(name);
            }
            else
            {
                json.WriteNumber(name, at.Value.ToUnixTimeSeconds());
            }
        }
    }

    [GeneratedRegex(@"^sora-2(-pro)?(-\d{4}-\d\d-\d\d)?$", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Models();
}
