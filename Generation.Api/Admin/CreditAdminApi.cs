using Generation.Api.Credits;
using Generation.Api.Errors;
using Generation.Api.Identity;
using Generation.Core.Credits;
using Generation.Core.Submit;

namespace Generation.Api.Admin;

/// <summary>
/// What administrators do to credits. Every admin action wants an <c>Idempotency-Key</c> and a reason, is done once however often it is sent, and
/// leaves an audit row: <c>GET /api/admin/actions</c>.
/// </summary>
public static class CreditAdminApi
{
    private const int MaxBodyBytes = 16 << 10;
    private const int MaxKeyLength = 200;
    private const int MaxReasonLength = 1000;
    private const int MaxNameLength = 100;
    private const string KeyHeader = "Idempotency-Key";

    public static void MapCreditAdministration(this IEndpointRouteBuilder routes)
    {
        var admin = routes.MapGroup("/api/admin").RequireAuthorization(ApiKeyAuthentication.AdminPolicy);
        admin.MapPost("/credits/grants", GrantAsync);
        admin.MapPost("/credits/adjustments", AdjustAsync);
        admin.MapPost("/users/{user}/freeze", (string user, HttpContext context, CreditAdministration administration, CancellationToken ct) =>
            FreezeAsync(user, frozen: true, context, administration, ct));
        admin.MapPost("/users/{user}/unfreeze", (string user, HttpContext context, CreditAdministration administration, CancellationToken ct) =>
            FreezeAsync(user, frozen: false, context, administration, ct));
        admin.MapGet("/actions", ActionsAsync);
    }

    private static Task<IResult> GrantAsync(HttpContext context, CreditAdministration administration, TimeProvider time, CancellationToken ct) =>
        DoAsync(context, administration, "grant", user: null, fields =>
        {
            var amount = fields.Whole("amount", 1, CreditAdministration.MaxAmount);
            var kind = fields.Choice("kind", "grant", "purchase", "bonus", "grant", "plan");
            var priority = (int)fields.Whole("priority", 0, 1_000_000, fallback: 100);
            var expiresAt = fields.Future("expiresAt", time.GetUtcNow());
            return adminAction => administration.GrantAsync(adminAction, amount, kind, priority, expiresAt, ct);
        }, ct);

    private static Task<IResult> AdjustAsync(HttpContext context, CreditAdministration administration, CancellationToken ct) =>
        DoAsync(context, administration, "adjustment", user: null, fields =>
        {
            var amount = fields.Whole("amount", -CreditAdministration.MaxAmount, CreditAdministration.MaxAmount);
            if (amount == 0 && !fields.Errors.ContainsKey("amount"))
            {
                fields.Wrong("amount", "must not be 0: positive gives, negative takes", 0);
            }

            return adminAction => administration.AdjustAsync(adminAction, amount, ct);
        }, ct);

    private static Task<IResult> FreezeAsync(string user, bool frozen, HttpContext context, CreditAdministration administration, CancellationToken ct) =>
        DoAsync(context, administration, frozen ? "freeze" : "unfreeze", user, _ => adminAction => administration.FreezeAsync(adminAction, frozen, ct), ct);

    private static async Task<IResult> DoAsync(
        HttpContext context, CreditAdministration administration, string action, string? user, Func<Fields, Func<AdminAction, Task<AdminActionResult>>> read, CancellationToken ct)
    {
        var (body, refusal) = await JsonBody.ReadAsync(context, MaxBodyBytes, ct);
        if (refusal is not null)
        {
            return refusal;
        }

        var fields = new Fields(body);
        var whom = user ?? fields.Text("user", MaxNameLength);
        var act = read(fields);
        var reason = fields.Text("reason", MaxReasonLength);
        fields.RefuseOthers();
        var key = context.Request.Headers[KeyHeader].ToString();
        if (key.Length is 0 or > MaxKeyLength || key.AsSpan().IndexOfAnyExceptInRange(' ', '~') >= 0)
        {
            fields.Wrong(KeyHeader, $"is required, a header of 1 to {MaxKeyLength} printable ASCII characters: with it a request that is sent twice is done once", key);
        }

        if (fields.Errors.Count > 0)
        {
            return Problems.Invalid(fields.Errors);
        }

        if (await administration.FindUserAsync(whom, ct) is not { } userId)
        {
            return Problems.Of(StatusCodes.Status404NotFound, "user_not_found", $"There is no user '{whom}'. Name one by id or by handle.");
        }

        var answer = await act(new AdminAction(key, Fingerprint.Of($"{action} {userId}", body), context.Caller().UserId, userId, reason));
        switch (answer.Outcome)
        {
            case AdminActionOutcome.KeyReused:
                return Problems.Of(StatusCodes.Status422UnprocessableEntity, "idempotency_key_reused", "This idempotency key was used for another request. Use a new key for a new request.");
            case AdminActionOutcome.NotEnough:
                return Problems.Of(
                    StatusCodes.Status409Conflict, "insufficient_credits",
                    $"Only {answer.Available} credits are available{(answer.Reserved > 0 ? $"; {answer.Reserved} more are held by running jobs and cannot be taken" : "")}. Nothing was changed.",
                    ("available", answer.Available), ("held", answer.Reserved));
            case AdminActionOutcome.Replayed:
                context.Response.Headers["Idempotent-Replayed"] = "true";
                break;
        }

        return TypedResults.Ok(answer.Result);
    }

    private static async Task<IResult> ActionsAsync(HttpContext context, CreditAdministration administration, string? user, string? cursor, CancellationToken ct)
    {
        var errors = new Dictionary<string, string[]>(StringComparer.Ordinal);
        var count = CreditsApi.Limit(context.Request.Query, errors);
        Guid? before = Guid.TryParse(cursor, out var last) ? last : null;
        if (cursor is { Length: > 0 } && before is null)
        {
            errors["cursor"] = ["must be the nextCursor of the page before"];
        }

        if (errors.Count > 0)
        {
            return Problems.Invalid(errors);
        }

        Guid? userId = null;
        if (user is { Length: > 0 } && (userId = await administration.FindUserAsync(user, ct)) is null)
        {
            return Problems.NotFound("user");
        }

        var page = await administration.ActionsAsync(userId, before, count + 1, ct);
        var shown = page.Take(count).ToList();
        return TypedResults.Ok(new { actions = shown, nextCursor = page.Count > count ? shown[^1].ActionId : (Guid?)null });
    }
}
