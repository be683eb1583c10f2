using System.Text.Json;
using System.Text.Json.Nodes;
using Generation.ProviderSim.Calls;
using Generation.ProviderSim.Faults;
using Generation.ProviderSim.Files;
using Generation.ProviderSim.Films;
using Generation.ProviderSim.Pictures;
using Microsoft.Extensions.Options;

namespace Generation.ProviderSim.Google;

/// <summary>
/// Veo on the Gemini API: a long-running operation that says nothing of its progress, and at first nothing of being done, then a file
/// that is fetched with the key over one redirect. A video that the filter took is not billed.
/// </summary>
public sealed class VeoVideos(
    FilmTasks films, FaultDesk faults, Gates gates, Replies replies, ResultFiles files, CallLog calls, IOptions<SimOptions> options,
        TimeProvider time)
{
    private const string VideoResponse = "type.googleapis.com/google.ai.generativelanguage.v1beta.PredictLongRunningResponse";
    private const int MaxBodyBytes = 20 << 20;

    public static void Map(IEndpointRouteBuilder routes)
    {
        routes.MapPost("/v1beta/models/{model}:predictLongRunning", (string model, HttpContext http, VeoVideos veo) => veo.StartAsync(model, http));
        routes.MapGet("/v1beta/models/{model}/operations/{id}", (string model, string id, HttpContext http, VeoVideos veo) =>
            veo.ReportAsync(model, id, http));
        routes.MapGet("/v1beta/files/{id}:download", (string id, HttpContext http, VeoVideos veo) => veo.RedirectAsync(id, http));
        routes.MapGet("/download/v1beta/files/{id}:download", (string id, HttpContext http, VeoVideos veo) => veo.SendAsync(id, http));
    }

    private async Task StartAsync(string model, HttpContext http)
    {
        var call = new Call { Id = films.NextId(), At = time.GetUtcNow(), Model = model };
        calls.Add(call);
        var (request, error) = await ReadAsync(model, http.Request);
        if (error is not null)
        {
            call.Status = error.Status;
            await error.SendAsync(http.Response);
            return;
        }

        call.Prompt = request!.Prompt;
        var words = PromptWords.Parse(request.Prompt);
        var verdict = faults.ForCall(request.Prompt, Recipe.Hash(request.Prompt), words);
        if (verdict.Fault is { Stage: FaultStage.Refusal } refusal)
        {
            await GoogleError.RefuseAsync(http, call, refusal, verdict.RetryAfterSeconds, words.WrapsErrors);
            return;
        }

        var film = films.Begin(call, call.Id[..20], Key(http.Request).Key, request.Prompt, verdict, (request.Width, request.Height), request.Seconds,
            request.Pictures);
        if (words.Gate is { } gate)
        {
            await gates.PassAsync(gate, http.RequestAborted);
        }

        if (verdict.Fault?.Word == "server-error-paid")
        {
            call.Status = StatusCodes.Status500InternalServerError;
            await GoogleError.For("server-error-paid", model)!.SendAsync(http.Response, words.WrapsErrors);
            return;
        }

        await replies.SendJsonAsync(http, call, verdict.Fault, JsonSerializer.SerializeToUtf8Bytes(new { name = NameOf(film) }));
    }

    private async Task<(VeoRequest? Request, GoogleError? Error)> ReadAsync(string model, HttpRequest http)
    {
        if (Key(http).Error is { } refused)
        {
            return (null, refused);
        }

        if (!VeoRequest.IsModel(model))
        {
            return (null, GoogleError.NoModel(model));
        }

        if (!http.HasJsonContentType() || http.ContentLength > MaxBodyBytes)
        {
            return (null, GoogleError.Invalid(
                "Invalid JSON payload received: the content type is not application/json, or the request is larger than 20 MB."));
        }

        try
        {
            using var body = await JsonDocument.ParseAsync(http.Body, cancellationToken: http.HttpContext.RequestAborted);
            return body.RootElement.ValueKind == JsonValueKind.Object
                ? VeoRequest.Read(body.RootElement)
                : (null, GoogleError.Invalid("Invalid JSON payload received. Root element must be a message."));
        }
        catch (JsonException e)
        {
            return (null, GoogleError.Invalid($"Invalid JSON payload received. {e.Message}"));
        }
    }

    private async Task ReportAsync(string model, string id, HttpContext http)
    {
        if (await FindAsync(id, http, GoogleError.NoOperation($"models/{model}/operations/{id}")) is not { } film)
        {
            return;
        }

        var words = PromptWords.Parse(film.Prompt);
        var fault = faults.ForPoll(film.Prompt, film.Ticket.PromptKey, words)?.Word;
        switch (fault)
        {
            case "poll-error" or "poll-rate-limit": await GoogleError.For(fault, model)!.SendAsync(http.Response, words.WrapsErrors); return;
            case "poll-gateway": await Replies.SendGatewayPageAsync(http); return;
            case "poll-lost": await GoogleError.NoOperation(NameOf(film)).SendAsync(http.Response, words.WrapsErrors); return;
            case "poll-timeout": await replies.HangAsync(http); return;
        }

        var operation = new JsonObject { ["name"] = NameOf(film) };
        var now = time.GetUtcNow();
        if (fault is "poll-expired" or "poll-cancelled")
        {
            (operation["done"], operation["error"]) = (true, fault == "poll-expired"
            ? Status(4, "Deadline expired before operation could complete.")
            : Status(1, "The operation was cancelled."));
        }
        else if (now >= film.EndsAt)
        {
            End(operation, film, http.Request);
        }
        else if (film.PercentAt(now) >= 50)
        {
            operation["done"] = false; // and before that it is left out
        }

        http.Response.ContentType = "application/json; charset=UTF-8";
        await http.Response.WriteAsync(operation.ToJsonString(new JsonSerializerOptions { WriteIndented = true }));
    }

    private static void End(JsonObject operation, FilmTask film, HttpRequest request)
    {
        operation["done"] = true;
        switch (film.Fault?.Word)
        {
            case "image-500":
                operation["error"] = Status(13, "Video generation failed due to an internal server issue. Please try again in a few minutes.");
                return;
            case "image-error":
                operation["error"] = Status(3, GoogleError.RefusedPrompt);
                return;
        }

        var response = new JsonObject();
        if (film.Fault?.Word == "moderation-output")
        {
            response["raiMediaFilteredCount"] = 1;
            response["raiMediaFilteredReasons"] = new JsonArray(
                "Sorry, we can't create videos that may violate our safety guidelines. Please remove content that violates them and try again. You "
                    + "have not been charged for this attempt. Support codes: 15236754");
        }
        else if (film.Fault?.Word != "empty-data")
        {
            var uri = $"{request.Scheme}://{request.Host}/v1beta/files/{film.Id}:download?alt=media";
            response["generatedSamples"] = new JsonArray(new JsonObject { ["video"] = new JsonObject { ["uri"] = uri } });
        }

        operation["response"] = new JsonObject { ["@type"] = VideoResponse, ["generateVideoResponse"] = response };
    }

    private async Task RedirectAsync(string id, HttpContext http)
    {
        if (await FindAsync(id, http, GoogleError.NoFile) is not null)
        {
            http.Response.Redirect(
            $"/download{http.Request.Path.ToUriComponent()}{http.Request.QueryString}");
        }
    }

    private async Task SendAsync(string id, HttpContext http)
    {
        if (await FindAsync(id, http, GoogleError.NoFile) is not { } film)
        {
            return;
        }

        var now = time.GetUtcNow();
        if (now < film.EndsAt || film.Fails)
        {
            await GoogleError.NoFile.SendAsync(http.Response);
        }
        else if (http.Request.Query["alt"] != "media")
        {
            await GoogleError.Invalid("Only downloads with alt=media are supported.")
            .SendAsync(http.Response);
        }
        // two days, where Ark has one
        else
        {
            await files.SendAsync(http, film.Ticket, isExpired: now >= film.EndsAt.AddSeconds(2L * options.Value.UrlLifetimeSeconds));
        }
    }

    /// <summary>The film of that id for the caller's key; null when the call has been refused.</summary>
    private async Task<FilmTask?> FindAsync(string id, HttpContext http, GoogleError otherwise)
    {
        var (key, error) = Key(http.Request);
        if (error is null && films.Find(key, id) is { } film)
        {
            return film;
        }

        await (error ?? otherwise).SendAsync(http.Response);
        return null;
    }

    private (string Key, GoogleError? Error) Key(HttpRequest http)
    {
        var keys = options.Value.GoogleKeys;
        if (keys.Length == 0)
        {
            keys = ["sim-google-key"];
        }

        var key = http.Headers["x-goog-api-key"].ToString() is { Length: > 0 } header ? header : http.Query["key"].ToString();
        return key.Length == 0 ? ("", GoogleError.NoKey) : keys.Contains(key) ? (key, null) : ("", GoogleError.BadKey);
    }

    private static string NameOf(FilmTask film) => $"models/{film.Model}/operations/{film.Id}";

    private static JsonObject Status(int code, string message) => new() { ["code"] = code, ["message"] = message };
}
