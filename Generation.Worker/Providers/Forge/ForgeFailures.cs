using Generation.Core.Providers;

namespace Generation.Worker.Providers.Forge;

/// <summary>
/// A WebUI's errors, sorted. Nothing here is billed and everything may be made twice, so that a missing response is no worse
/// than a refusal: there is no unknown outcome. What must be told apart is what would fail again (the request, our settings) from what
/// may go better later.
/// </summary>
/// <remarks>
/// There are two dialects. AUTOMATIC1111 says <c>{"error": exception, "detail", "body", "errors": its text}</c>; Forge does not install that
/// handler, so that FastAPI speaks: <c>{"detail"}</c> for what was foreseen, and the plain words "Internal Server Error" for the rest, which
/// then cannot be told apart any more.
/// </remarks>
public static class ForgeFailures
{
    /// <summary>A proxy that asks for more than this would hold a session past any patience.</summary>
    private static readonly TimeSpan MaxRetryAfter = TimeSpan.FromMinutes(10);

    private const int MaxDetailChars = 500;

    private const string Auth = "Providers:Forge:ApiAuth, and the WebUI's --api-auth";
    private const string Address = "Providers:Forge:Endpoints, and that the WebUI was started with --api";
    private const string Checkpoint = "Providers:Forge:Models, and the checkpoints of the WebUI";

    // The first row that fits decides. Words are looked for in the exception's type, its text and the detail; empty fits all.
    private static readonly Row[] Table =
    [
        new(400, "Sampler not found", "forge.sampler_not_found", FailureKind.InvalidRequest),
        new(404, "Sampler not found", "forge.sampler_not_found", FailureKind.InvalidRequest), // AUTOMATIC1111's status for it
        new(404, "Init image not found", "forge.init_image_not_found", FailureKind.InvalidRequest),
        new(404, "Model not found", "forge.model_not_found", FailureKind.Unauthorized, Checkpoint),
        new(404, "", "forge.no_route", FailureKind.Unauthorized, Address),
        new(405, "", "forge.no_route", FailureKind.Unauthorized, Address),
        new(401, "", "forge.unauthorized", FailureKind.Unauthorized, Auth),
        new(403, "", "forge.forbidden", FailureKind.Unauthorized, Auth), // of a proxy before it
        new(422, "Script", "forge.script_not_found", FailureKind.InvalidRequest),
        new(422, "", "forge.validation", FailureKind.InvalidRequest),
        new(413, "", "forge.too_large", FailureKind.InvalidRequest),

        // Taken by a picture of this size, or by something else that uses the card: not a sign that the WebUI is unavailable, and better asked
        // again after a pause than in the slot.
        new(500, "OutOfMemory", "forge.out_of_memory", FailureKind.RateLimited),
        new(500, "out of memory", "forge.out_of_memory", FailureKind.RateLimited),
        new(500, "model '", "forge.model_not_found", FailureKind.Unauthorized, Checkpoint), // RuntimeError: model 'x' not found
        new(500, "", "forge.exception", FailureKind.Unavailable),
        new(408, "", "forge.gateway", FailureKind.Unavailable),
        new(429, "", "forge.gateway_busy", FailureKind.RateLimited),
        new(502, "", "forge.gateway", FailureKind.Unavailable),
        new(503, "", "forge.gateway", FailureKind.Unavailable),
        new(504, "", "forge.gateway", FailureKind.Unavailable),
    ];

    /// <summary>An answer that is not a success.</summary>
    /// <param name="response">Its status and headers.</param>
    /// <param name="body">As it came; null when it did not come whole.</param>
    /// <param name="now">For delays that are given as a date.</param>
    public static Failure Of(HttpResponseMessage response, string? body, DateTimeOffset now)
    {
        ArgumentNullException.ThrowIfNull(response);
        var status = (int)response.StatusCode;
        var said = ForgeError.In(body);
        var words = said is null ? body ?? "" : $"{said.Exception} {said.Detail} {said.Text}";
        var row = Array.Find(Table, r => r.Status == status && words.Contains(r.Words, StringComparison.OrdinalIgnoreCase)) ?? status switch
        {
            // redirects are not followed: the password would go along
            < 400 => new Row(status, "", $"http.{status}", FailureKind.Unauthorized, Address),
            < 500 => new Row(status, "", $"http.{status}", FailureKind.InvalidRequest),
            _ => new Row(status, "", $"http.{status}", FailureKind.Unavailable),
        };
        var detail = said is null ? $"{status} without words of a WebUI ({response.Content.Headers.ContentType?.MediaType ?? "no content type"})."
            : $"{status} {words.Trim()}";
        detail = detail.Length > MaxDetailChars ? detail[..MaxDetailChars] : detail;
        var failure = new Failure(row.Kind, row.Code, row.Check is null ? detail : $"{detail} (Check {row.Check}.)");
        return failure.IsRetryable ? failure with { RetryAfter = RetryAfter(response, now) } : failure;
    }

    private static TimeSpan? RetryAfter(HttpResponseMessage response, DateTimeOffset now)
    {
        var header = response.Headers.RetryAfter;
        var wait = header?.Delta ?? (header?.Date - now);
        return wait is null || wait <= TimeSpan.Zero ? null : wait > MaxRetryAfter ? MaxRetryAfter : wait;
    }

    /// <param name="Status">HTTP status.</param>
    /// <param name="Words">Some of what it says.</param>
    /// <param name="Code">Ours: a WebUI has none.</param>
    /// <param name="Kind">What follows from it.</param>
    /// <param name="Check">What an operator should look at.</param>
    private sealed record Row(int Status, string Words, string Code, FailureKind Kind, string? Check = null);
}
