using System.Reflection;

namespace Generation.Api.Errors;

/// <summary>What a client branches on.</summary>
/// <param name="Name">Stable, as it is sent in <c>code</c>.</param>
/// <param name="Status">The HTTP status that it comes with.</param>
public sealed record ProblemCode(string Name, int Status);

/// <summary>Every problem that this API answers with. docs/api.md says what to do about each; a test compares the two.</summary>
public static class ProblemCodes
{
    public static readonly ProblemCode ValidationFailed = new("validation_failed", 400);
    public static readonly ProblemCode MalformedJson = new("malformed_json", 400);
    public static readonly ProblemCode MalformedRequest = new("malformed_request", 400);
    public static readonly ProblemCode IdempotencyKeyMismatch = new("idempotency_key_mismatch", 400);
    public static readonly ProblemCode Unauthorized = new("unauthorized", 401);
    public static readonly ProblemCode InvalidSignature = new("invalid_signature", 401);

    /// <summary>The price is more than is available; <c>reason</c> says whether waiting helps.</summary>
    public static readonly ProblemCode InsufficientCredits = new("insufficient_credits", 402);
    public static readonly ProblemCode AccountFrozen = new("account_frozen", 403);
    public static readonly ProblemCode Forbidden = new("forbidden", 403);
    public static readonly ProblemCode MockOverrideInvalid = new("mock_override_invalid", 403);
    public static readonly ProblemCode UrlExpired = new("url_expired", 403);
    public static readonly ProblemCode UrlNotSigned = new("url_not_signed", 403);
    public static readonly ProblemCode NotFound = new("not_found", 404);
    public static readonly ProblemCode ModelNotFound = new("model_not_found", 404);
    public static readonly ProblemCode ModelWithoutPrice = new("model_without_price", 404);
    public static readonly ProblemCode ToolNotFound = new("tool_not_found", 404);
    public static readonly ProblemCode UserNotFound = new("user_not_found", 404);
    public static readonly ProblemCode MethodNotAllowed = new("method_not_allowed", 405);
    public static readonly ProblemCode AlreadyEnded = new("already_ended", 409);

    /// <summary>An administrator takes more than is available.</summary>
    public static readonly ProblemCode AdjustmentExceedsCredits = new("insufficient_credits", 409);

    /// <summary>An administrator moves a generation in a lane that it is not in.</summary>
    public static readonly ProblemCode LaneMismatch = new("lane_mismatch", 409);
    public static readonly ProblemCode NotRetryable = new("not_retryable", 409);

    /// <summary>An administrator moves a generation that was dispatched, or has ended.</summary>
    public static readonly ProblemCode NotWaiting = new("not_waiting", 409);
    public static readonly ProblemCode TooManyUploads = new("too_many_uploads", 409);
    public static readonly ProblemCode ModelRetired = new("model_retired", 410);
    public static readonly ProblemCode BodyTooLarge = new("body_too_large", 413);
    public static readonly ProblemCode UnsupportedMediaType = new("unsupported_media_type", 415);
    public static readonly ProblemCode IdempotencyKeyReused = new("idempotency_key_reused", 422);
    public static readonly ProblemCode RateLimited = new("rate_limited", 429);
    public static readonly ProblemCode TooManySessions = new("too_many_sessions", 429);
    public static readonly ProblemCode InternalError = new("internal_error", 500);
    public static readonly ProblemCode AuditRunning = new("audit_running", 503);
    public static readonly ProblemCode AuditTimeout = new("audit_timeout", 503);

    /// <summary>Postgres does not answer. The same request with the same idempotency key is safe to repeat.</summary>
    public static readonly ProblemCode DatabaseUnavailable = new("database_unavailable", 503);
    public static readonly ProblemCode MockOverrideUnavailable = new("mock_override_unavailable", 503);
    public static readonly ProblemCode ModelDisabled = new("model_disabled", 503);
    public static readonly ProblemCode Overloaded = new("overloaded", 503);
    public static readonly ProblemCode RedisUnavailable = new("redis_unavailable", 503);
    public static readonly ProblemCode StorageUnavailable = new("storage_unavailable", 503);

    /// <summary>A callback could not be stored.</summary>
    public static readonly ProblemCode Unavailable = new("unavailable", 503);
    public static readonly ProblemCode VoicesNotConfigured = new("voices_not_configured", 503);
    public static readonly ProblemCode VoicesUnavailable = new("voices_unavailable", 503);

    /// <summary>The server itself refused, with whatever status: it has no more to say.</summary>
    public static readonly ProblemCode Refused = new("refused", 400);

    public static IReadOnlyList<ProblemCode> All { get; } =
        [.. typeof(ProblemCodes).GetFields(BindingFlags.Public | BindingFlags.Static).Select(field => field.GetValue(null)).OfType<ProblemCode>()];
}
