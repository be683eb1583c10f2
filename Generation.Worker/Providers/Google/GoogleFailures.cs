using System.Globalization;
using System.Text.Json;
using Generation.Core.Providers;
using Generation.Worker.Calls;

namespace Generation.Worker.Providers.Google;

/// <summary>Google's words for a failure: a <c>google.rpc.Status</c>, of a call or of an operation.</summary>
/// <param name="Status">Its canonical name, such as <c>RESOURCE_EXHAUSTED</c>.</param>
/// <param name="Message">For people.</param>
/// <param name="Reason">Of an <c>ErrorInfo</c> among its details.</param>
/// <param name="RetryDelay">Of a <c>RetryInfo</c> among its details.</param>
/// <param name="IsUsedUp">A <c>QuotaFailure</c> among its details is of a day or a month.</param>
public sealed record GoogleError(string Status, string Message, string? Reason = null, TimeSpan? RetryDelay = null, bool IsUsedUp = false)
{
    // google.rpc.Code; an operation's error has the number alone.
    private static readonly string[] Names =
    [
        "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
            "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
    ];

    /// <summary>The error that a body holds, also one inside an array of one; null when it is none of Google's.</summary>
    public static GoogleError? In(string body) => Of(ProviderJson.Child(ProviderJson.Parse(body), "error"));

    /// <summary>An error object; null when it says nothing about itself.</summary>
    public static GoogleError? Of(JsonElement? error)
    {
        var code = ProviderJson.Whole(error, "code");
        var status = ProviderJson.Text(error, "status") is { Length: > 0 } name ? name : code is >= 0 and < 17 ? Names[code.Value] : null;
        if (status is null)
        {
            return null;
        }

        var details = ProviderJson.Items(error, "details").ToList();
        return new GoogleError(
            status, ProviderJson.Text(error, "message") ?? "", details.Select(d => ProviderJson.Text(d, "reason")).FirstOrDefault(r => r is not null),
            details.Select(d => Seconds(ProviderJson.Text(d, "retryDelay"))).FirstOrDefault(d => d is not null),
            details.SelectMany(d => ProviderJson.Items(d, "violations")).Select(v => ProviderJson.Text(v, "quotaId") ?? "")
                .Any(id => id.Contains("PerDay", StringComparison.OrdinalIgnoreCase) || id.Contains("PerMonth", StringComparison.OrdinalIgnoreCase)));
    }

    /// <summary>A duration as Google writes it: <c>12.5s</c>.</summary>
    private static TimeSpan? Seconds(string? text) =>
        text is [.. var number, 's'] && double.TryParse(number, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var seconds)
            && seconds < 1e9 ? TimeSpan.FromSeconds(seconds) : null;
}

/// <summary>
/// Google's errors, sorted. A call that was refused and an operation that failed are not billed; a call that ran into
/// Google's own deadline may have begun an operation.
/// </summary>
public static class GoogleFailures
{
    private const string Key = "Providers:Google:ApiKey and the API's activation in its project";
    private const string Model = "Providers:Google:Models: ids of previews retire";
    private const string Bill = "billing and quota of the key's project";

    /// <summary>An operation that was dropped is made anew, but not at once.</summary>
    private static readonly TimeSpan DroppedRetryDelay = TimeSpan.FromMinutes(1);

    private static readonly Row[] Table =
    [
        new(400, "INVALID_ARGUMENT", FailureKind.InvalidRequest), // also of a bad key and of a refused prompt: see Of
        new(400, "FAILED_PRECONDITION", FailureKind.QuotaExhausted, Bill), // "free tier is not available, enable billing"
        new(400, "OUT_OF_RANGE", FailureKind.InvalidRequest),
        new(401, "UNAUTHENTICATED", FailureKind.Unauthorized, Key),
        new(403, "PERMISSION_DENIED", FailureKind.Unauthorized, Key),
        new(404, "NOT_FOUND", FailureKind.Unauthorized, Model),
        new(409, "ABORTED", FailureKind.Unavailable),
        new(409, "ALREADY_EXISTS", FailureKind.InvalidRequest),
        new(429, "RESOURCE_EXHAUSTED", FailureKind.RateLimited), // or a quota that is used up: see Of
        new(499, "CANCELLED", FailureKind.Unavailable),
        new(500, "INTERNAL", FailureKind.Unavailable),
        new(500, "UNKNOWN", FailureKind.Unavailable),
        new(500, "DATA_LOSS", FailureKind.Unavailable),
        new(501, "UNIMPLEMENTED", FailureKind.Unauthorized, Model),
        new(503, "UNAVAILABLE", FailureKind.Unavailable),
        new(504, "DEADLINE_EXCEEDED", FailureKind.OutcomeUnknown),
    ];

    /// <summary>An answer that is not a success: in Google's words or in somebody else's.</summary>
    /// <param name="response">Its status and headers.</param>
    /// <param name="body">Null when it did not come whole.</param>
    /// <param name="now">For delays that are given as a date.</param>
    /// <param name="createsTask">The call begins an operation: see <see cref="TaskCreation"/>.</param>
    public static Failure OfRefusal(HttpResponseMessage response, string? body, DateTimeOffset now, bool createsTask = false)
    {
        ArgumentNullException.ThrowIfNull(response);
        if (body is null || GoogleError.In(body) is not { } error)
        {
            return GatewayFailures.Of(GoogleOptions.Section, response, body ?? "", null, now, createsTask);
        }

        var failure = Of(error, (int)response.StatusCode);
        failure = createsTask ? TaskCreation.Judge(failure, (int)response.StatusCode) : failure;
        return failure.IsRetryable && failure.RetryAfter is null ? failure with { RetryAfter = GatewayFailures.RetryAfter(response.Headers, now) }
            : failure;
    }

    /// <summary>An operation that is done and has failed.</summary>
    public static Failure OfOperation(GoogleError error)
    {
        ArgumentNullException.ThrowIfNull(error);
        var failure = Of(error, 500);
        return error.Status switch
        {
            // it certainly ended without a video
            "DEADLINE_EXCEEDED" or "CANCELLED" => failure with { Kind = FailureKind.Unavailable, RetryAfter = DroppedRetryDelay },
            "NOT_FOUND" => failure with { Kind = FailureKind.InvalidRequest },
            _ => failure,
        };
    }

    /// <summary>A video that the filter took: not billed, and another try may pass.</summary>
    public static Failure OfFilter(IReadOnlyList<string> reasons)
    {
        ArgumentNullException.ThrowIfNull(reasons);
        return new Failure(FailureKind.ModerationOutput, "google.filtered", GatewayFailures.WithCheck(string.Join(' ', reasons), null));
    }

    /// <summary>An error in Google's words.</summary>
    /// <param name="error">The error.</param>
    /// <param name="status">The HTTP status it came with; decides where its name is not known.</param>
    public static Failure Of(GoogleError error, int status)
    {
        ArgumentNullException.ThrowIfNull(error);
        var row = Array.Find(Table, r => r.Status == error.Status) ?? ByStatus(status);
        row = row.Status switch
        {
            "INVALID_ARGUMENT" when error.Reason is "API_KEY_INVALID" or "API_KEY_EXPIRED" =>
                row with { Kind = FailureKind.Unauthorized, Check = Key },
            "INVALID_ARGUMENT" when IsOfModeration(error.Message) => row with { Kind = FailureKind.ModerationInput },
            // One message stands for the limit of a minute and that of a day; only the details tell them apart.
            "RESOURCE_EXHAUSTED" when error.IsUsedUp || (error.RetryDelay is null
                && error.Message.Contains("exceeded your current quota", StringComparison.OrdinalIgnoreCase))
                || error.RetryDelay > GatewayFailures.MaxRetryAfter => row with { Kind = FailureKind.QuotaExhausted, Check = Bill },
            _ => row,
        };
        var failure = new Failure(row.Kind, error.Reason is null ? error.Status : $"{error.Status}.{error.Reason}", GatewayFailures.WithCheck(
            error.Message, row.Check));
        return failure.IsRetryable ? failure with { RetryAfter = GatewayFailures.Bounded(error.RetryDelay) } : failure;
    }

    /// <summary>There is no code for it: a prompt that is refused is an invalid argument with these words.</summary>
    private static bool IsOfModeration(string message) =>
        message.Contains("usage guidelines", StringComparison.OrdinalIgnoreCase)
        || message.Contains("safety", StringComparison.OrdinalIgnoreCase)
        || message.Contains("Responsible AI", StringComparison.OrdinalIgnoreCase)
        || message.Contains("prohibited", StringComparison.OrdinalIgnoreCase);

    private static Row ByStatus(int status) => status switch
    {
        401 or 403 => new(status, "", FailureKind.Unauthorized, Key),
        404 => new(status, "", FailureKind.Unauthorized, Model),
        408 or 504 => new(status, "", FailureKind.OutcomeUnknown),
        429 => new(status, "", FailureKind.RateLimited),
        < 500 => new(status, "", FailureKind.InvalidRequest),
        _ => new(status, "", FailureKind.Unavailable),
    };

    /// <param name="Http">The status it comes with.</param>
    /// <param name="Status">Google's canonical name.</param>
    /// <param name="Kind">What follows from it.</param>
    /// <param name="Check">For operators: where to look.</param>
    private sealed record Row(int Http, string Status, FailureKind Kind, string? Check = null);
}
