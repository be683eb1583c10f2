using System.Text.Json;
using Generation.ProviderSim.Calls;
using Generation.ProviderSim.Faults;

namespace Generation.ProviderSim.OpenAi;

/// <summary>An error as OpenAI sends it: <c>{"error":{"message","type","param","code"}}</c>, all four always there.</summary>
/// <param name="Status">HTTP status.</param>
/// <param name="Type">Class of the error.</param>
/// <param name="Code">Stable code; null: none.</param>
/// <param name="Message">For people.</param>
/// <param name="Param">The field at fault; null: none.</param>
public sealed record OpenAiError(int Status, string Type, string? Code, string Message, string? Param = null)
{
    private const string Invalid = "invalid_request_error";
    private const string UserError = "image_generation_user_error";

    /// <summary><c>input</c> or <c>output</c> of an error of moderation; else null.</summary>
    public string? ModerationStage { get; private init; }

    public static readonly OpenAiError NoKey = new(401, Invalid, null,
        "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth (i.e. Authorization: Bearer "
            + "YOUR_KEY).");

    public static readonly OpenAiError BadJson = new(400, Invalid, null,
        "We could not parse the JSON body of your request. The OpenAI API expects a JSON payload.");

    public static readonly OpenAiError TooLarge = new(413, Invalid, null, "The request body is too large.");

    public static readonly OpenAiError Internal = new(500, "server_error", "server_error",
        "The server had an error while processing your request. Sorry about that! You can retry your request, or contact us through our help "
            + "center.");

    /// <summary>What every call of <c>/v1/videos</c> gets since the shut-down; the real words are not known.</summary>
    public static readonly OpenAiError ShutDown = new(404, Invalid, "model_not_found",
        "The Videos API and the models sora-2 and sora-2-pro have been shut down on 2026-09-24, learn more here: "
            + "https://platform.openai.com/docs/deprecations");

    public static readonly OpenAiError NotReady = new(404, Invalid, null, "Video is not ready yet, use GET /v1/videos/{video_id} to check status.");

    public static OpenAiError BadKey(string key) => new(401, Invalid, "invalid_api_key",
        $"Incorrect API key provided: {(key.Length > 8 ? $"{key[..4]}****{key[^4..]}" : "****")}. You can find your API key at "
            + "https://platform.openai.com/account/api-keys.");

    public static OpenAiError Missing(string param) => new(400, Invalid, "missing_required_parameter", $"Missing required parameter: '{param}'.",
        param);

    public static OpenAiError Unknown(string param) => new(400, Invalid, "unknown_parameter", $"Unknown parameter: '{param}'.", param);

    public static OpenAiError WrongType(string param, string wanted, string got) =>
        new(400, Invalid, "invalid_type", $"Invalid type for '{param}': expected {wanted}, but got {got} instead.", param);

    public static OpenAiError WrongValue(string param, string why) =>
        new(400, Invalid, "invalid_value", $"Invalid value for '{param}': {why}", param);

    public static OpenAiError NoModel(string model, int status = 400) => new(status, Invalid, "model_not_found",
        $"The model `{model}` does not exist or you do not have access to it.", status == 400 ? "model" : null);

    public static OpenAiError NoVideo(string id) => new(404, Invalid, null, $"Video with id '{id}' not found.", "video_id");

    public static OpenAiError Moderation(string stage, string requestId) => new(400, UserError, "moderation_blocked",
        "Your request was rejected by the safety system. If you believe this is an error, contact us at help.openai.com and include the request ID "
            + $"{requestId}. safety_violations=[violence].")
    {
        ModerationStage = stage,
    };

    /// <summary>How OpenAI words a fault; null: it is no error of the whole request.</summary>
    public static OpenAiError? For(string faultWord, string model, string requestId) => faultWord switch
    {
        "moderation-input" => Moderation("input", requestId),
        "moderation-output" or "image-error" => Moderation("output", requestId),
        "unauthorized" => BadKey("sk-revoked-key"),
        "forbidden" => new(403, Invalid, null,
            $"Your organization must be verified to use the model `{model}`. Please go to: "
                + "https://platform.openai.com/settings/organization/general and click on Verify Organization."),
        "overdue" => new(429, "insufficient_quota", "credit_balance_exhausted", "You have used up your credit balance. Add credits to continue."),
        "quota" => new(429, "insufficient_quota", "insufficient_quota",
            "You exceeded your current quota, please check your plan and billing details. For more information on this error, read the docs: "
                + "https://platform.openai.com/docs/guides/error-codes/api-errors."),
        "not-found" => NoModel(model, 404),
        "rate-limit" or "rate-limit-bare" or "poll-rate-limit" => new(429, "requests", "rate_limit_exceeded",
            $"Rate limit reached for {model} in organization org-sim on images per min (IPM): Limit 5, Used 5, Requested 1. Please try again in "
                + "12s."),
        "overload" => new(503, "service_unavailable_error", "server_is_overloaded", "The server is currently overloaded. Please try again later."),
        "server-error" or "server-error-paid" or "error-200" or "image-500" or "poll-error" => Internal,
        _ => null,
    };

    /// <summary>Refuses a call in OpenAI's words, or in a gateway's.</summary>
    internal static async Task RefuseAsync(HttpContext http, Call call, Fault fault, int retryAfterSeconds)
    {
        if (fault.Word == "bad-gateway")
        {
            call.Status = StatusCodes.Status502BadGateway;
            await Replies.SendGatewayPageAsync(http);
            return;
        }

        var error = For(fault.Word, call.Model, call.Id) ?? throw new InvalidOperationException($"OpenAI has no words for the fault {fault.Word}.");
        if (fault.Word == "rate-limit")
        {
            http.Response.Headers.RetryAfter = retryAfterSeconds.ToString();
            http.Response.Headers["retry-after-ms"] = (retryAfterSeconds * 1000L).ToString();
        }

        call.Status = fault.Word == "error-200" ? StatusCodes.Status200OK : error.Status;
        await error.SendAsync(http.Response, call.Status);
    }

    /// <summary>The object alone: also inside an event of a stream.</summary>
    public void WriteTo(Utf8JsonWriter json)
    {
        json.WriteStartObject("error");
        json.WriteString("message", Message);
        json.WriteString("type", Type);
        json.WriteString("param", Param);
        json.WriteString("code", Code);
        if (ModerationStage is not null)
        {
            json.WriteStartObject("moderation_details");
            json.WriteString("moderation_stage", ModerationStage);
            json.WriteStartArray("categories");
            json.WriteStringValue("violence");
            json.WriteEndArray();
            json.WriteEndObject();
        }

        json.WriteEndObject();
    }

    public async Task SendAsync(HttpResponse response, int? status = null)
    {
        response.StatusCode = status ?? Status;
        response.ContentType = "application/json";
        await using var json = new Utf8JsonWriter(response.Body, OpenAiEntrance.JsonOptions);
        json.WriteStartObject();
        WriteTo(json);
        json.WriteEndObject();
    }
}
