using System.Text.Json;
using System.Text.Json.Nodes;
using Generation.ProviderSim.Calls;
using Generation.ProviderSim.Faults;

namespace Generation.ProviderSim.Google;

/// <summary>An error as Google's APIs send it: <c>{"error":{"code","message","status","details"}}</c>, at times inside an array of one.</summary>
/// <param name="Status">HTTP status, which is also the error's code.</param>
/// <param name="Name">Canonical name, e.g. RESOURCE_EXHAUSTED.</param>
/// <param name="Message">For people.</param>
/// <param name="Reason">Of an <c>ErrorInfo</c> among the details; null: none.</param>
public sealed record GoogleError(int Status, string Name, string Message, string? Reason = null)
{
    private const string Domain = "generativelanguage.googleapis.com";

    /// <summary>Of a <c>RetryInfo</c> among the details.</summary>
    public int? RetryDelaySeconds { get; init; }

    public static readonly GoogleError NoKey = new(403, "PERMISSION_DENIED",
        "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or other form of API consumer "
            + "identity to call this API.");

    /// <summary>Not a 401: a key that is no key is an invalid argument to Google.</summary>
    public static readonly GoogleError BadKey = new(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", "API_KEY_INVALID");

    public static readonly GoogleError NoFile = new(403, "PERMISSION_DENIED", "You do not have permission to access the File or it may not exist.");

    /// <summary>What a prompt that is refused gets, at once or as the end of an operation.</summary>
    public const string RefusedPrompt =
        "The prompt could not be submitted. This prompt contains words that violate Gemini API's usage guidelines. Please rephrase the prompt. If "
            + "you think this was an error, send feedback. Support codes: 58061214";

    public static GoogleError Invalid(string message) => new(400, "INVALID_ARGUMENT", message);

    public static GoogleError NoModel(string model) => new(404, "NOT_FOUND",
        $"models/{model} is not found for API version v1beta, or is not supported for predictLongRunning. Call ListModels to see the list of "
            + "available models and their supported methods.");

    public static GoogleError NoOperation(string name) => new(404, "NOT_FOUND", $"Operation {name} not found.");

    /// <summary>How Google words a fault; null: it is no error of the whole request.</summary>
    public static GoogleError? For(string faultWord, string model) => faultWord switch
    {
        "moderation-input" => Invalid(RefusedPrompt),
        "unauthorized" => new(401, "UNAUTHENTICATED",
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential.",
                "CREDENTIALS_MISSING"),
        "forbidden" => new(403, "PERMISSION_DENIED", "Generative Language API has not been used in project 1234567890 before or it is disabled.",
            "SERVICE_DISABLED"),
        "overdue" => new(400, "FAILED_PRECONDITION",
            "Gemini API free tier is not available in your country. Please enable billing on your project in Google AI Studio."),
        "not-found" => NoModel(model),
        "rate-limit" or "poll-rate-limit" => new(429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota).")
        {
            RetryDelaySeconds =
            1
        },
        "rate-limit-bare" => new(429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."),
        "overload" => new(503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
        "quota" => new(429, "RESOURCE_EXHAUSTED",
            "You exceeded your current quota, please check your plan and billing details. For more information on this error, head to: "
                + "https://ai.google.dev/gemini-api/docs/rate-limits."),
        "server-error" or "server-error-paid" or "error-200" or "poll-error" =>
            new(500, "INTERNAL", "An internal error has occurred. Please retry or report in "
            + "https://developers.generativeai.google/guide/troubleshooting"),
        _ => null,
    };

    /// <summary>Refuses a call in Google's words, or in a gateway's.</summary>
    internal static async Task RefuseAsync(HttpContext http, Call call, Fault fault, int retryAfterSeconds, bool wraps)
    {
        if (fault.Word == "bad-gateway")
        {
            call.Status = StatusCodes.Status502BadGateway;
            await Replies.SendGatewayPageAsync(http);
            return;
        }

        var error = For(fault.Word, call.Model) ?? throw new InvalidOperationException($"Google has no words for the fault {fault.Word}.");
        if (error.RetryDelaySeconds is not null)
        {
            error = error with { RetryDelaySeconds = retryAfterSeconds };
        }

        call.Status = fault.Word == "error-200" ? StatusCodes.Status200OK : error.Status;
        await error.SendAsync(http.Response, wraps, call.Status);
    }

    public async Task SendAsync(HttpResponse response, bool wraps = false, int? status = null)
    {
        response.StatusCode = status ?? Status;
        response.ContentType = "application/json; charset=UTF-8";
        var error = new JsonObject { ["code"] = Status, ["message"] = Message, ["status"] = Name };
        var details = new JsonArray();
        if (Reason is not null)
        {
            details.Add(new JsonObject
            {
                ["@type"] = "type.googleapis.com/google.rpc.ErrorInfo",
                ["reason"] = Reason,
                ["domain"] = Domain,
                ["metadata"] = new JsonObject { ["service"] = Domain },
            });
        }

        if (RetryDelaySeconds is { } seconds)
        {
            details.Add(
            new JsonObject { ["@type"] = "type.googleapis.com/google.rpc.RetryInfo", ["retryDelay"] = $"{seconds}s" });
        }

        if (details.Count > 0)
        {
            error["details"] = details;
        }

        var body = new JsonObject { ["error"] = error };
        await response.WriteAsync(wraps ? new JsonArray(body).ToJsonString(Indented) : body.ToJsonString(Indented));
    }

    private static readonly JsonSerializerOptions Indented = new() { WriteIndented = true };
}
