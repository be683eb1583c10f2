using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using System.Text.Json;
using System.Text.Json.Serialization;
using Generation.Api.Description;
using Generation.Api.Errors;
using Generation.Api.Identity;
using Generation.Core.Credits;
using Microsoft.AspNetCore.Http.HttpResults;

namespace Generation.Api.Admin;

/// <param name="User">Id or handle.</param>
/// <param name="Amount">Credits, 1 to 1,000,000,000.</param>
/// <param name="Reason">Recorded with the action.</param>
/// <param name="Kind"><c>purchase</c>, <c>bonus</c>, <c>grant</c> or <c>plan</c>; <c>grant</c> without it.</param>
/// <param name="Priority">Lower is drawn first; 100 without it.</param>
/// <param name="ExpiresAt">When what is left of it goes; never without it.</param>
public sealed record GrantBody(
    string User, long Amount, string Reason, [property: AllowedValues("purchase", "bonus", "grant", "plan")] string? Kind = null,
        int? Priority = null, DateTimeOffset? ExpiresAt = null);

/// <param name="User">Id or handle.</param>
/// <param name="Amount">Credits: positive gives, negative takes, all or nothing.</param>
/// <param name="Reason">Recorded with the action.</param>
public sealed record AdjustmentBody(string User, long Amount, string Reason);

/// <param name="Reason">Recorded with the action.</param>
public sealed record ReasonBody(string Reason);

/// <param name="Share">The weight of their work in the order, 0.01 to 100; 1 is the usual.</param>
/// <param name="Reason">Recorded with the action.</param>
public sealed record UserChangeBody(double Share, string Reason);

/// <summary>What an admin action did to an account; the same again for the same idempotency key.</summary>
/// <param name="ActionId">Its audit row.</param>
/// <param name="Action"><c>grant</c>, <c>adjustment</c>, <c>freeze</c>, <c>unfreeze</c> or <c>set_share</c>.</param>
/// <param name="UserId">Whose account.</param>
/// <param name="Reason">As given.</param>
/// <param name="Available">Credits before it.</param>
/// <param name="Reserved">Holds before it.</param>
/// <param name="Frozen">Whether the account is frozen.</param>
public sealed record AdminActionReceipt(
    Guid ActionId, [property: AllowedValues("grant", "adjustment", "freeze", "unfreeze", "set_share")] string Action, Guid UserId, string Reason,
        long Available, long Reserved, bool Frozen)
{
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public long? Amount { get; init; }

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public Guid? LotId { get; init; }

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Kind { get; init; }

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public int? Priority { get; init; }

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public DateTimeOffset? ExpiresAt { get; init; }

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public double? Share { get; init; }
}

/// <param name="Actions">Newest first.</param>
/// <param name="NextCursor">For <c>cursor</c>; null on the last page.</param>
public sealed record AdminActionPage(IReadOnlyList<AdminActionView> Actions, Guid? NextCursor);

/// <summary>
/// What administrators do to accounts. Every admin action wants an <c>Idempotency-Key</c> and a reason, is done once however often it is sent, and
/// leaves an audit row: <c>GET /api/admin/actions</c>.
/// </summary>
public static class CreditAdminApi
{
    private const int MaxPage = 200;
    private const int MaxNameLength = 100;

    public static void MapCreditAdministration(this IEndpointRouteBuilder routes)
    {
        var admin = routes.MapGroup("/api/admin").RequireAuthorization(ApiKeyAuthentication.AdminPolicy);
        admin.MapPost("/credits/grants", GrantAsync)
            .Describe("grantCredits", ApiTags.Admin, "Give credits as a new lot", [.. AdminActionRequest.Refusals, ProblemCodes.UserNotFound])
            .TakesJson<GrantBody>().RequiresIdempotencyKey().Produces<AdminActionReceipt>();
        admin.MapPost("/credits/adjustments", AdjustAsync)
            .Describe("adjustCredits", ApiTags.Admin, "Correct a balance: positive gives, negative takes",
                [.. AdminActionRequest.Refusals, ProblemCodes.UserNotFound, ProblemCodes.AdjustmentExceedsCredits])
            .TakesJson<AdjustmentBody>().RequiresIdempotencyKey().Produces<AdminActionReceipt>();
        admin.MapPost("/users/{user}/freeze", FreezeAsync)
            .Describe("freezeUser", ApiTags.Admin, "A frozen user may read and not spend",
                [.. AdminActionRequest.Refusals, ProblemCodes.UserNotFound])
            .TakesJson<ReasonBody>().RequiresIdempotencyKey().Produces<AdminActionReceipt>();
        admin.MapPost("/users/{user}/unfreeze", UnfreezeAsync)
            .Describe("unfreezeUser", ApiTags.Admin, "End a freeze", [.. AdminActionRequest.Refusals, ProblemCodes.UserNotFound])
            .TakesJson<ReasonBody>().RequiresIdempotencyKey().Produces<AdminActionReceipt>();
        admin.MapGet("/users/{user}", UserAsync)
            .Describe("getUser", ApiTags.Admin, "A user: role, weight in the order, credits", ProblemCodes.NotFound);
        admin.MapPatch("/users/{user}", SetShareAsync)
            .Describe("updateUser", ApiTags.Admin, "Weigh a user's later requests in the order",
                [.. AdminActionRequest.Refusals, ProblemCodes.UserNotFound])
            .TakesJson<UserChangeBody>().RequiresIdempotencyKey().Produces<AdminActionReceipt>();
        admin.MapGet("/actions", ActionsAsync)
            .Describe("listAdminActions", ApiTags.Admin, "Who changed what, and why", ProblemCodes.ValidationFailed, ProblemCodes.NotFound);
    }

    private static Task<Results<Ok<JsonElement>, ProblemHttpResult>> GrantAsync(HttpContext context, CreditAdministration administration,
        TimeProvider time, CancellationToken ct) =>
        DoAsync(context, administration, "grant", user: null, fields =>
        {
            var amount = fields.Whole("amount", 1, CreditAdministration.MaxAmount);
            var kind = fields.Choice("kind", "grant", "purchase", "bonus", "grant", "plan");
            var priority = (int)fields.Whole("priority", 0, 1_000_000, fallback: 100);
            var expiresAt = fields.Future("expiresAt", time.GetUtcNow());
            return adminAction => administration.GrantAsync(adminAction, amount, kind, priority, expiresAt, ct);
        }, ct);

    private static Task<Results<Ok<JsonElement>, ProblemHttpResult>> AdjustAsync(HttpContext context, CreditAdministration administration,
        CancellationToken ct) =>
        DoAsync(context, administration, "adjustment", user: null, fields =>
        {
            var amount = fields.Whole("amount", -CreditAdministration.MaxAmount, CreditAdministration.MaxAmount);
            if (amount == 0 && !fields.Errors.ContainsKey("amount"))
            {
                fields.Wrong("amount", $"must not be 0: positive gives, negative takes", 0);
            }

            return adminAction => administration.AdjustAsync(adminAction, amount, ct);
        }, ct);

    private static Task<Results<Ok<JsonElement>, ProblemHttpResult>> FreezeAsync(string user, HttpContext context,
        CreditAdministration administration, CancellationToken ct) =>
        SetFrozenAsync(user, frozen: true, context, administration, ct);

    private static Task<Results<Ok<JsonElement>, ProblemHttpResult>> UnfreezeAsync(string user, HttpContext context,
        CreditAdministration administration, CancellationToken ct) =>
        SetFrozenAsync(user, frozen: false, context, administration, ct);

    private static Task<Results<Ok<JsonElement>, ProblemHttpResult>> SetFrozenAsync(string user, bool frozen, HttpContext context,
        CreditAdministration administration, CancellationToken ct) =>
        DoAsync(context, administration, frozen ? "freeze" : "unfreeze", user, _ => adminAction =>
            administration.FreezeAsync(adminAction, frozen, ct), ct);

    private static Task<Results<Ok<JsonElement>, ProblemHttpResult>> SetShareAsync(string user, HttpContext context,
        CreditAdministration administration, CancellationToken ct) =>
        DoAsync(context, administration, "set_share", user, fields =>
        {
            var share = fields.Number("share", CreditAdministration.MinShare, CreditAdministration.MaxShare);
            return adminAction => administration.SetShareAsync(adminAction, share, ct);
        }, ct);

    private static async Task<Results<Ok<UserView>, ProblemHttpResult>> UserAsync(string user, CreditAdministration administration,
        CancellationToken ct) =>
        await administration.UserAsync(user, ct) is { } found ? TypedResults.Ok(found) : Problems.NoSuchUser();

    private static async Task<Results<Ok<JsonElement>, ProblemHttpResult>> DoAsync(
        HttpContext context, CreditAdministration administration, string action, string? user, Func<Fields, Func<AdminAction,
            Task<AdminActionResult>>> read, CancellationToken ct)
    {
        var (request, act, refusal) = await AdminActionRequest.ReadAsync(
            context, fields => (Whom: user ?? fields.Text("user", MaxNameLength), Do: read(fields)), ct);
        if (refusal is not null)
        {
            return refusal;
        }

        if (await administration.FindUserAsync(act.Whom, ct) is not { } userId)
        {
            return Problems.Of(ProblemCodes.UserNotFound, $"There is no user '{act.Whom}'. Name one by id or by handle.");
        }

        var result = await act.Do(request!.Of($"{action} {userId}", userId));
        if (result.Outcome == AdminActionOutcome.NotEnough)
        {
            (string, object?)[] balance = [("available", result.Available), ("held", result.Reserved)];
            return result.Reserved > 0
                ? Problems.Of(ProblemCodes.AdjustmentExceedsCredits, $"Only {result.Available} credits are available; {result.Reserved} more are "
                    + $"held by running jobs and cannot be taken. Nothing was changed.", balance)
                : Problems.Of(ProblemCodes.AdjustmentExceedsCredits,
                    $"Only {result.Available} credits are available. Nothing was changed.", balance);
        }

        return AdminActionRequest.Answer(context, result);
    }

    private static async Task<Results<Ok<AdminActionPage>, ProblemHttpResult>> ActionsAsync(CreditAdministration administration,
        [Description("Of one user, by id or handle.")] string? user, [Description("The nextCursor of the page before.")] string? cursor,
            [Description("Rows a page, 1 to 200; 50 without it.")] string? limit, CancellationToken ct)
    {
        var errors = new Dictionary<string, string[]>(StringComparer.Ordinal);
        var count = Paging.Limit(limit, MaxPage, fallback: 50, errors);
        var before = Paging.Cursor(cursor, errors);

        if (errors.Count > 0)
        {
            return Problems.Invalid(errors);
        }

        Guid? userId = null;
        if (user is { Length: > 0 } && (userId = await administration.FindUserAsync(user, ct)) is null)
        {
            return Problems.NoSuchUser();
        }

        var page = await administration.ActionsAsync(userId, before, count + 1, ct);
        var shown = page.Take(count).ToList();
        return TypedResults.Ok(new AdminActionPage(shown, page.Count > count ? shown[^1].ActionId : null));
    }
}
