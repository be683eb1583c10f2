using System.Net.Http.Headers;
using System.Text.Json;
using Generation.Core.Providers;
using Generation.Worker.Calls;

namespace Generation.Worker.Providers.OpenAi;

/// <summary>OpenAI's words for a failure, as they came.</summary>
/// <param name="Code">Stable; null: it has none, and its type decides.</param>
/// <param name="Type">Its class.</param>
/// <param name="Message">For people.</param>
/// <param name="Stage"><c>input</c> or <c>output</c>, where moderation says which.</param>
public sealed record OpenAiError(string? Code, string Type, string Message, string? Stage = null)
{
    /// <summary>The error that a body holds at its top; null when it is none of OpenAI's (a gateway's page, a cut body).</summary>
    public static OpenAiError? In(string body) => ProviderJson.Parse(body) is { } root ? Of(root) : null;

    /// <summary>The <c>error</c> of an object; null without one, or when it says nothing about itself.</summary>
    public static OpenAiError? Of(JsonElement parent)
    {
        if (ProviderJson.Child(parent, "error") is not { } error)
        {
            return null;
        }

        var (code, type) = (ProviderJson.Text(error, "code"), ProviderJson.Text(error, "type"));
        return code is { Length: > 0 } || type is { Length: > 0 }
            ? new OpenAiError(code is { Length: > 0 } ? code : null, type ?? "", ProviderJson.Text(error, "message")
                ?? "", ProviderJson.Text(ProviderJson.Child(error, "moderation_details"), "moderation_stage"))
            : null;
    }
}

/// <summary>
/// OpenAI's errors, sorted. The code decides, then the type, and the status only where neither is known. An error in
/// OpenAI's own words bills nothing.
/// </summary>
public static class OpenAiFailures
{
    private const string Key = "Providers:OpenAi:ApiKey, and whether the organization is verified";
    private const string Model = "Providers:OpenAi:Models: OpenAI shuts down ids every few months";
    private const string Bill = "the organization's credit balance and spend limits";

    private static readonly Row[] Table =
    [
        new("missing_required_parameter", FailureKind.InvalidRequest),
        new("unknown_parameter", FailureKind.InvalidRequest),
        new("invalid_type", FailureKind.InvalidRequest),
        new("invalid_value", FailureKind.InvalidRequest),
        new("string_above_max_length", FailureKind.InvalidRequest),
        new("integer_above_max_value", FailureKind.InvalidRequest),
        new("integer_below_min_value", FailureKind.InvalidRequest),
        new("model_not_found", FailureKind.Unauthorized, Model),

        new("moderation_blocked", FailureKind.ModerationInput), // or of the output: see Of
        new("content_policy_violation", FailureKind.ModerationInput),
        new("image_generation_user_error", FailureKind.InvalidRequest),

        new("invalid_api_key", FailureKind.Unauthorized, Key),
        new("insufficient_quota", FailureKind.QuotaExhausted, Bill), // a code and a type
        new("credit_balance_exhausted", FailureKind.QuotaExhausted, Bill),
        new("organization_usage_limit_exceeded", FailureKind.QuotaExhausted, Bill),
        new("organization_spend_limit_exceeded", FailureKind.QuotaExhausted, Bill),
        new("project_spend_limit_exceeded", FailureKind.QuotaExhausted, Bill),
        new("billing_hard_limit_reached", FailureKind.QuotaExhausted, Bill),

        new("rate_limit_exceeded", FailureKind.RateLimited),
        new("slow_down", FailureKind.RateLimited),
        new("rate_limit_error", FailureKind.RateLimited),
        new("requests", FailureKind.RateLimited),
        new("tokens", FailureKind.RateLimited),

        new("server_error", FailureKind.Unavailable), // a code and a type
        new("server_is_overloaded", FailureKind.Unavailable),
        new("service_unavailable_error", FailureKind.Unavailable),
    ];

    /// <summary>An answer, or an event of one, that holds an error in OpenAI's words.</summary>
    /// <param name="response">Its status and headers.</param>
    /// <param name="error">From the body.</param>
    /// <param name="now">For delays that are given as a date.</param>
    /// <param name="createsTask">The call creates a video: see <see cref="TaskCreation"/>.</param>
    public static Failure Of(HttpResponseMessage response, OpenAiError error, DateTimeOffset now, bool createsTask = false)
    {
        ArgumentNullException.ThrowIfNull(response);
        ArgumentNullException.ThrowIfNull(error);
        var status = (int)response.StatusCode;
        var row = Find(error.Code) ?? Find(error.Type) ?? ByStatus(status);
        var kind = row.Kind == FailureKind.ModerationInput && error.Stage == "output" ? FailureKind.ModerationOutput : row.Kind;
        var failure = new Failure(kind, error.Code ?? $"{error.Type}.{status}", GatewayFailures.WithCheck(error.Message, row.Check))
        {
            RequestId =
            IdOf(response.Headers)
        };
        failure = createsTask ? TaskCreation.Judge(failure, status) : failure;
        return !failure.IsRetryable ? failure : failure with
        {
            // Told not to come again, we do not.
            IsFinal = response.Headers.TryGetValues("x-should-retry", out var should) && should.Contains("false", StringComparer.OrdinalIgnoreCase),
            RetryAfter = GatewayFailures.RetryAfter(response.Headers, now),
        };
    }

    /// <summary>An answer that is not a success: in OpenAI's words or in somebody else's.</summary>
    public static Failure OfRefusal(HttpResponseMessage response, string? body, DateTimeOffset now, bool createsTask = false)
    {
        ArgumentNullException.ThrowIfNull(response);
        return body is not null && OpenAiError.In(body) is { } error
            ? Of(response, error, now, createsTask)
            : GatewayFailures.Of(OpenAiOptions.Section, response, body ?? "", IdOf(response.Headers), now, createsTask);
    }

    /// <summary>Why a video that was taken on was not made. Failed ones are not billed.</summary>
    public static Failure OfVideo(string? code, string message, string? requestId)
    {
        var row = Find(code);
        // The code of moderation does not say which side it was: what a user may try again is the milder of the two.
        var kind = row is null ? FailureKind.Unavailable : row.Kind == FailureKind.ModerationInput ? FailureKind.ModerationOutput : row.Kind;
        return new Failure(kind, code ?? "openai.video_failed", GatewayFailures.WithCheck(message, row?.Check)) { RequestId = requestId };
    }

    /// <summary>OpenAI's name for the call, from <c>x-request-id</c>.</summary>
    public static string? IdOf(HttpResponseHeaders headers)
    {
        ArgumentNullException.ThrowIfNull(headers);
        return headers.TryGetValues("x-request-id", out var ids) && ids.FirstOrDefault() is { Length: > 0 and <= 200 } id ? id : null;
    }

    private static Row? Find(string? word) => word is null ? null : Array.Find(Table, row => row.Word == word);

    /// <summary>
    /// For words that are in no table; <c>invalid_request_error</c> is on purpose none, because it is the type of everything from 400 to 404.
    /// </summary>
    private static Row ByStatus(int status) => status switch
    {
        < 300 => new("", FailureKind.Unavailable), // an error inside a 200 is a picture that was not made
        401 or 403 => new("", FailureKind.Unauthorized, Key),
        402 => new("", FailureKind.QuotaExhausted, Bill),
        404 or 405 => new("", FailureKind.Unauthorized, Model),
        408 or 409 => new("", FailureKind.Unavailable), // OpenAI's own SDK repeats these
        429 => new("", FailureKind.RateLimited),
        < 500 => new("", FailureKind.InvalidRequest),
        _ => new("", FailureKind.Unavailable),
    };

    /// <param name="Word">OpenAI's code, or its type.</param>
    /// <param name="Kind">What follows from it.</param>
    /// <param name="Check">For operators: where to look.</param>
    private sealed record Row(string Word, FailureKind Kind, string? Check = null);
}
