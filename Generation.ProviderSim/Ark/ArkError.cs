using System.Text.Encodings.Web;
using System.Text.Json;

namespace Generation.ProviderSim.Ark;

/// <summary>
/// An error as Ark sends it: <c>{"error":{"code","message","param","type"}}</c>, the request id inside the message and in a header.
/// </summary>
/// <param name="Status">HTTP status.</param>
/// <param name="Type">Class of the error, e.g. BadRequest.</param>
/// <param name="Code">Stable code.</param>
/// <param name="Message">Text without the request id.</param>
/// <param name="Param">The parameter at fault; empty: none.</param>
public sealed record ArkError(int Status, string Type, string Code, string Message, string Param = "")
{
    /// <summary>Ampersands in URLs are not escaped, so that a URL copied from a log can be opened.</summary>
    internal static readonly JsonWriterOptions JsonOptions = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    public static readonly ArkError Authentication =
        new(401, "Unauthorized", "AuthenticationError", "the API key or AK/SK in the request is missing or invalid.");

    public static readonly ArkError ImageModeration = new(
        400, "BadRequest", "OutputImageSensitiveContentDetected", "The request failed because the output image may contain sensitive information.");

    public static readonly ArkError VideoModeration = new(
        400, "BadRequest", "OutputVideoSensitiveContentDetected", "The request failed because the output video may contain sensitive information.");

    public static readonly ArkError QueueFull = new(
        429, "TooManyRequests", "QuotaExceeded",
            "The request has exceeded the quota: too many queued tasks. Please wait until some of them have finished.");

    public static readonly ArkError TooFast = new(
        429, "TooManyRequests", "AccountRateLimitExceeded", "The request failed because the requests-per-second limit of this account was exceeded.");

    public static readonly ArkError Internal = new(
        500, "InternalServerError", "InternalServiceError", "The service encountered an unexpected internal error.");

    public static ArkError Missing(string param) =>
        new(400, "BadRequest", $"MissingParameter.{param}", $"The request failed because it is missing the required parameter `{param}`.", param);

    public static ArkError Invalid(string param, string why) => new(
        400, "BadRequest", $"InvalidParameter.{param}", $"The parameter `{param}` specified in the request is not valid: {why}.", param);

    public static ArkError Unsupported(string param, string model) => new(
        400, "BadRequest", "InvalidParameter.UnsupportedParameter",
        $"The parameter `{param}` specified in the request is not supported by model {model}.", param);

    public static ArkError UnknownModel(string model) => new(404, "NotFound", "InvalidEndpointOrModel.NotFound",
        $"The model or endpoint {model} does not exist or you do not have access to it.");

    public static ArkError UnknownTask(string id) => new(404, "NotFound", "NotFound.Task", $"The specified task {id} is not found.", "id");

    /// <summary>How Ark words a fault; null: it is no error of the whole request.</summary>
    public static ArkError? For(string faultWord, string model) => faultWord switch
    {
        "moderation-input" => new(400, "BadRequest", "InputTextSensitiveContentDetected",
            "The request failed because the input text may contain sensitive information."),
        "moderation-output" => ImageModeration,
        "unauthorized" => Authentication,
        "forbidden" => new(403, "Forbidden", "AccessDenied", "The request failed because you do not have access to the requested resource."),
        "overdue" => new(403, "Forbidden", "AccountOverdueError", "The request failed because your account has an overdue balance."),
        "not-found" => UnknownModel(model),
        "rate-limit" or "rate-limit-bare" => new(429, "TooManyRequests", "ModelAccountIpmRateLimitExceeded",
            $"The request failed because the images-per-minute limit of model {model} was exceeded for this account."),
        "overload" => new(429, "TooManyRequests", "ServerOverloaded",
            "The service is currently unable to handle additional requests due to server overload."),
        "quota" => new(429, "TooManyRequests", "SetLimitExceeded",
            $"Your account has reached the set inference limit for the {model} model, and the model service has been paused."),
        "server-error" or "server-error-paid" or "error-200" => Internal,
        _ => null,
    };

    /// <summary>The object inside <c>data[]</c> when one picture fails, or at the top when all do.</summary>
    public void WriteTo(Utf8JsonWriter json, string? requestId)
    {
        json.WriteStartObject("error");
        json.WriteString("code", Code);
        json.WriteString("message", requestId is null ? Message : $"{Message} request id: {requestId}");
        if (requestId is not null)
        {
            json.WriteString("param", Param);
            json.WriteString("type", Type);
        }

        json.WriteEndObject();
    }

    public async Task SendAsync(HttpResponse response, string requestId, int? status = null)
    {
        response.StatusCode = status ?? Status;
        response.ContentType = "application/json; charset=utf-8";
        response.Headers["x-error-code"] = Code;
        await using var json = new Utf8JsonWriter(response.Body, JsonOptions);
        json.WriteStartObject();
        WriteTo(json, requestId);
        json.WriteEndObject();
    }
}
