using System.Globalization;
using System.IO.Enumeration;
using System.Net.Http.Headers;
using System.Text.RegularExpressions;
using Generation.Core.Providers;
using Generation.Worker.Calls;

namespace Generation.Worker.Providers.Ark;

/// <summary>
/// Ark's errors, sorted (images and video share them). The code decides; the status only where the code is
/// not known. What must never be got wrong is whether a call may have been billed: Ark bills a picture that was made, so an error
/// in Ark's own words bills nothing, and an error in somebody else's words after the call was sent says nothing about it.
/// </summary>
public static partial class ArkFailures
{
    private const string Key = "Providers:Ark:ApiKey and the account's rights";
    private const string Model = "Providers:Ark:Models and the models that are activated in Ark's console";
    private const string Address = "Providers:Ark:BaseUrl";
    private const string Bill = "the account's balance and plan in Ark's console";

    // A row is for its code and for every code below it (`InvalidParameter` for `InvalidParameter.size`), unless a longer row fits.
    private static readonly Row[] Table =
    [
        new(400, "MissingParameter", FailureKind.InvalidRequest),
        new(400, "InvalidParameter", FailureKind.InvalidRequest), // .UnsupportedParameter, .TaskTypeConstraint, .TaskTypeMismatch
        new(400, "InvalidImageURL", FailureKind.InvalidRequest),
        new(400, "InvalidEndpoint.ClosedEndpoint", FailureKind.Unauthorized, Model),

        new(400, "SensitiveContentDetected", FailureKind.ModerationInput),
        new(400, "Input*SensitiveContentDetected", FailureKind.ModerationInput), // Text, Image, Video, Audio; .PolicyViolation, .PrivacyInformation
        new(400, "Input*RiskDetection", FailureKind.ModerationInput),
        new(400, "Output*SensitiveContentDetected", FailureKind.ModerationOutput), // .PolicyViolation, .DeepFake
        new(400, "Output*RiskDetection", FailureKind.ModerationOutput),
        new(400, "ContentSecurityDetectionError", FailureKind.Unavailable), // the moderation broke down, not the content

        new(401, "AuthenticationError", FailureKind.Unauthorized, Key),
        new(401, "InvalidAccountStatus", FailureKind.Unauthorized, Key),
        new(403, "AccessDenied", FailureKind.Unauthorized, Key),
        new(403, "OperationDenied", FailureKind.Unauthorized, Model), // .ServiceNotOpen
        new(403, "OperationDenied.ServiceOverdue", FailureKind.QuotaExhausted, Bill),
        new(403, "AccountOverdueError", FailureKind.QuotaExhausted, Bill),

        new(404, "InvalidEndpointOrModel", FailureKind.Unauthorized, Model), // .NotFound, .ModelIDAccessDisabled
        new(404, "ModelNotOpen", FailureKind.Unauthorized, Model),
        new(404, "NotFound", FailureKind.InvalidRequest), // .{Parameter}: something that the request names

        new(429, "RateLimitExceeded", FailureKind.RateLimited), // .EndpointRPMExceeded, .EndpointTPMExceeded
        new(429, "ModelAccount*RateLimitExceeded", FailureKind.RateLimited), // Rpm, Tpm, Ipm (images a minute)
        new(429, "APIAccount*RateLimitExceeded", FailureKind.RateLimited),
        new(429, "AccountRateLimitExceeded", FailureKind.RateLimited),
        new(429, "ServerOverloaded", FailureKind.RateLimited), // these three want to be asked slowly: the outbox's pauses, not the slot's
        new(429, "RequestBurstTooFast", FailureKind.RateLimited),
        new(429, "InflightBatchsizeExceeded", FailureKind.RateLimited),
        new(429, "QuotaExceeded", FailureKind.RateLimited), // three things in one: see Quota
        new(429, "AccountQuotaExceeded", FailureKind.RateLimited), // the same, as plans call it
        new(429, "SetLimitExceeded", FailureKind.QuotaExhausted, Bill), // the cap that the account's owner has set

        new(500, "InternalServiceError", FailureKind.Unavailable),
    ];

    /// <summary>An answer whose body holds an error in Ark's words; also a 200, whose pictures may each have one.</summary>
    /// <param name="response">Its status and headers.</param>
    /// <param name="error">From the body.</param>
    /// <param name="now">For delays that are given as a date.</param>
    /// <param name="createsTask">See <see cref="TaskCreation"/>; a lost task cannot be looked up at Ark.</param>
    public static Failure Of(HttpResponseMessage response, ArkError error, DateTimeOffset now, bool createsTask = false)
    {
        ArgumentNullException.ThrowIfNull(response);
        ArgumentNullException.ThrowIfNull(error);
        var status = (int)response.StatusCode;
        var row = Find(error.Code) ?? ByStatus(status, error.Code);
        if (createsTask && row.Kind == FailureKind.Unavailable)
        {
            // A code that Ark has for a refusal is one also inside of a 200, and one for a breakdown is none.
            var decisive = status < 300 ? row.Status : status;
            row = row with { Kind = TaskCreation.Judge(new Failure(row.Kind, row.Code, ""), decisive).Kind };
        }

        TimeSpan? wait = null;
        if (row.Code is "QuotaExceeded" or "AccountQuotaExceeded")
        {
            (row, wait) = Quota(row, error.Message, now);
        }

        return Finish(row, error.Code, RequestIds().Replace(error.Message, ""), response.Headers, wait, IdOf(response.Headers)
            ?? IdIn(error.Message), now);
    }

    /// <summary>An answer that is not a success, with a body that holds no error of Ark's: a gateway's page, nothing, half of something.</summary>
    public static Failure OfUnrecognized(HttpResponseMessage response, string body, DateTimeOffset now, bool createsTask = false)
    {
        ArgumentNullException.ThrowIfNull(response);
        return GatewayFailures.Of(ArkOptions.Section, response, body, IdOf(response.Headers), now, createsTask);
    }

    /// <summary>Ark's name for the call, from <c>x-request-id</c>.</summary>
    public static string? IdOf(HttpResponseHeaders headers)
    {
        ArgumentNullException.ThrowIfNull(headers);
        return headers.TryGetValues("x-request-id", out var ids) && ids.FirstOrDefault() is { Length: > 0 and <= 200 } id ? id : null;
    }

    private static Failure Finish(Row row, string code, string detail, HttpResponseHeaders headers, TimeSpan? wait, string? requestId,
        DateTimeOffset now)
    {
        var failure = new Failure(row.Kind, code, GatewayFailures.WithCheck(detail, row.Check))
        {
            RequestId = requestId,
        };
        if (!failure.IsRetryable)
        {
            return failure;
        }

        // Told not to come again, we do not: a limit that will not pass is a quota, a breakdown that will not pass is met by this request alone.
        return headers.TryGetValues("x-should-retry", out var should) && should.Contains("false", StringComparer.OrdinalIgnoreCase)
            ? failure with { Kind = row.Kind == FailureKind.RateLimited ? FailureKind.QuotaExhausted : FailureKind.InvalidRequest }
            : failure with { RetryAfter = GatewayFailures.RetryAfter(headers, now) ?? wait };
    }

    private static Row? Find(string code)
    {
        for (var part = code; part.Length > 0; part = part[..Math.Max(part.LastIndexOf('.'), 0)])
        {
            if (Array.Find(Table, row => FileSystemName.MatchesSimpleExpression(row.Code, part, ignoreCase: false)) is { } row)
            {
                return row;
            }
        }

        return null;
    }

    /// <summary>For codes that are in no table.</summary>
    private static Row ByStatus(int status, string code) => status switch
    {
        < 300 => new(status, code, FailureKind.Unavailable), // an error inside a 200 is a picture that was not made
        < 400 => new(status, code, FailureKind.Unauthorized, Address), // redirects are not followed: the key would go along
        401 or 403 => new(status, code, FailureKind.Unauthorized, Key),
        402 => new(status, code, FailureKind.QuotaExhausted, Bill),
        404 or 405 => new(status, code, FailureKind.Unauthorized, Model),
        408 or 409 => new(status, code, FailureKind.Unavailable), // Ark's own SDK repeats these
        429 => new(status, code, FailureKind.RateLimited),
        < 500 => new(status, code, FailureKind.InvalidRequest), // 413 among them
        _ => new(status, code, FailureKind.Unavailable),
    };

    /// <summary>
    /// One code, three meanings: the free quota is used up; a plan's quota for hours, a week or a month is, until a time it names;
    /// or, in the words "The request has exceeded the quota", too many tasks are queued.
    /// </summary>
    private static (Row Row, TimeSpan? Wait) Quota(Row row, string message, DateTimeOffset now)
    {
        var isUsedUp = message.Contains("free", StringComparison.OrdinalIgnoreCase)
            || message.Contains("usage quota", StringComparison.OrdinalIgnoreCase);
        var wait = ResetTime().Match(message) is { Success: true } reset
            && DateTimeOffset.TryParseExact(reset.Groups["time"].Value, "yyyy-MM-dd HH:mm:ss zzz", CultureInfo.InvariantCulture, DateTimeStyles.None,
                out var at)
                ? at - now
                : (TimeSpan?)null;
        return wait is { } soon && soon <= GatewayFailures.MaxRetryAfter ? (row, soon > TimeSpan.Zero ? soon : null)
            : wait is not null || isUsedUp ? (row with { Kind = FailureKind.QuotaExhausted, Check = Bill }, null)
            : (row, null);
    }

    private static string? IdIn(string message) => RequestIds().Match(message).Groups["id"] is { Length: > 0 } id ? id.Value : null;

    [GeneratedRegex(@"\s*\brequest[ _]id\s*[:：]\s*(?<id>[\w-]{0,200})\.?", RegexOptions.IgnoreCase | RegexOptions.CultureInvariant
        | RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex RequestIds();

    [GeneratedRegex(@"reset at (?<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4})", RegexOptions.CultureInvariant
        | RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex ResetTime();

    /// <param name="Status">The status it comes with.</param>
    /// <param name="Code">Ark's code; a star stands for any word.</param>
    /// <param name="Kind">What follows from it.</param>
    /// <param name="Check">For operators: where to look.</param>
    private sealed record Row(int Status, string Code, FailureKind Kind, string? Check = null);
}
