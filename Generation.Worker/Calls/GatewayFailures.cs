using System.Net.Http.Headers;
using Generation.Core.Providers;

namespace Generation.Worker.Calls;

/// <summary>
/// Answers that are not the provider's own: a gateway's page, nothing, half of something. A gateway does not know what the provider did
/// with a call that it passed on, so that only what certainly never reached the provider may be sent again.
/// </summary>
internal static class GatewayFailures
{
    /// <summary>A provider that asks for more than this would hold a session past any patience.</summary>
    public static readonly TimeSpan MaxRetryAfter = TimeSpan.FromMinutes(10);

    private const int MaxDetailChars = 500;

    /// <param name="section">Such as <c>Providers:OpenAi</c>; named where a setting is to blame.</param>
    /// <param name="response">Not a success.</param>
    /// <param name="body">Holds no error of the provider's.</param>
    /// <param name="requestId">The provider's, when its headers came.</param>
    /// <param name="now">For delays that are given as a date.</param>
    /// <param name="createsTask">
    /// The call creates a task, which lives on after it: only a gateway that says that it reached nobody is believed that there is none.
    /// </param>
    public static Failure Of(
        string section, HttpResponseMessage response, string body, string? requestId, DateTimeOffset now, bool createsTask = false)
    {
        var status = (int)response.StatusCode;
        var (kind, check) = status switch
        {
            < 400 => (FailureKind.Unauthorized, $"{section}:BaseUrl"), // redirects are not followed: the key would go along
            401 or 403 => (FailureKind.Unauthorized, $"{section}:ApiKey"),
            402 => (FailureKind.QuotaExhausted, "the account's balance"),
            404 or 405 => (FailureKind.Unauthorized, $"{section}:BaseUrl"),
            408 => (FailureKind.OutcomeUnknown, null), // a gateway gave up waiting, for us or for the provider
            429 => (FailureKind.RateLimited, null),
            < 500 => (FailureKind.InvalidRequest, null), // 413 among them
            503 when (createsTask ? HasReachedNobody(body) : !MayHaveBeenPassedOn(body)) => (FailureKind.Unavailable, null),
            521 or 523 => (FailureKind.Unavailable, null), // Cloudflare's: the provider is down or out of reach
            _ => (FailureKind.OutcomeUnknown, (string?)null), // 502 and 504 come from between, when the provider has the call already
        };
        var detail = $"{status} without an error of the provider's ({response.Content.Headers.ContentType?.MediaType ?? "no content type"}).";
        var failure = new Failure(kind, $"http.{status}", WithCheck(detail, check)) { RequestId = requestId };
        return failure.IsRetryable ? failure with { RetryAfter = RetryAfter(response.Headers, now) } : failure;
    }

    /// <summary>The delay in <c>retry-after-ms</c> or <c>Retry-After</c>; null without one. "Now" leaves the pause to us.</summary>
    public static TimeSpan? RetryAfter(HttpResponseHeaders headers, DateTimeOffset now)
    {
        var inMs = headers.TryGetValues("retry-after-ms", out var values) && double.TryParse(values.FirstOrDefault(), out var ms)
            ? TimeSpan.FromMilliseconds(Math.Clamp(ms, 0, int.MaxValue)) : (TimeSpan?)null;
        return Bounded(inMs ?? headers.RetryAfter?.Delta ?? (headers.RetryAfter?.Date is { } date ? date - now : null));
    }

    public static TimeSpan? Bounded(TimeSpan? wait) =>
        wait is not { } delay || delay <= TimeSpan.Zero ? null
        : delay > MaxRetryAfter ? MaxRetryAfter
        : delay;

    /// <summary>A detail of bearable length that says where to look.</summary>
    public static string WithCheck(string detail, string? check) =>
        (detail.Length > MaxDetailChars ? detail[..MaxDetailChars] : detail) + (check is null ? "" : $" (Check {check}.)");

    /// <summary>Envoy's 503 comes both when it found nobody to pass the call to and when it had passed it on and the connection broke.</summary>
    private static bool MayHaveBeenPassedOn(string body) =>
        body.Contains("reset before headers", StringComparison.OrdinalIgnoreCase) && !HasReachedNobody(body);

    private static bool HasReachedNobody(string body) =>
        body.Contains("no healthy upstream", StringComparison.OrdinalIgnoreCase)
        || body.Contains("connection failure", StringComparison.OrdinalIgnoreCase)
        || body.Contains("connection timeout", StringComparison.OrdinalIgnoreCase)
        || body.Contains("overflow", StringComparison.OrdinalIgnoreCase);
}
