using System.Globalization;
using Generation.Api.Description;
using Generation.Api.Errors;
using Generation.Api.Identity;
using Generation.Core.Credits;
using Generation.Core.Localization;
using Microsoft.AspNetCore.Http.HttpResults;

namespace Generation.Api.Credits;

/// <summary>Which rows of a ledger.</summary>
/// <param name="Type">reservation, usage, refund, adjustment, purchase, bonus or expiry.</param>
/// <param name="Direction">credit or debit.</param>
/// <param name="SessionId">Of one generation.</param>
/// <param name="Since">At or after this time.</param>
/// <param name="Until">Before this time.</param>
/// <param name="Cursor">The nextCursor of the page before.</param>
/// <param name="Limit">Rows a page, 1 to 200; 50 without it.</param>
public sealed record TransactionQuery(string? Type, string? Direction, string? SessionId, string? Since, string? Until, string? Cursor,
    string? Limit);

/// <param name="Transactions">Newest first.</param>
/// <param name="NextCursor">For <c>cursor</c>; null on the last page.</param>
public sealed record TransactionPage(IReadOnlyList<TransactionView> Transactions, string? NextCursor);

/// <summary>A user's balance and ledger; an administrator reads everybody's in the same shape.</summary>
public static class CreditsApi
{
    private const int MaxPage = 200;
    private static readonly string[] Types = ["reservation", "usage", "refund", "adjustment", "purchase", "bonus", "expiry"];

    public static void MapCredits(this IEndpointRouteBuilder routes)
    {
        var own = routes.MapGroup("/api/credits").RequireAuthorization();
        own.MapGet("", OwnBalanceAsync)
            .Describe("getCredits", ApiTags.Credits, "What I have, by lot");
        own.MapGet("/transactions", OwnTransactionsAsync)
            .Describe("listTransactions", ApiTags.Credits, "My ledger: every credit that moved, newest first", ProblemCodes.ValidationFailed);

        var anybody = routes.MapGroup("/api/admin/users/{user}").RequireAuthorization(ApiKeyAuthentication.AdminPolicy);
        anybody.MapGet("/credits", BalanceOfAsync)
            .Describe("getCreditsOfUser", ApiTags.Admin, "What a user has, by lot", ProblemCodes.NotFound);
        anybody.MapGet("/transactions", TransactionsOfAsync)
            .Describe("listTransactionsOfUser", ApiTags.Admin, "A user's ledger", ProblemCodes.NotFound, ProblemCodes.ValidationFailed);
    }

    private static async Task<Ok<Balance>> OwnBalanceAsync(CreditReader credits, HttpContext context, CancellationToken ct) =>
        TypedResults.Ok(await credits.BalanceAsync(context.Caller().UserId, ct));

    private static Task<Results<Ok<TransactionPage>, ProblemHttpResult>> OwnTransactionsAsync(
        [AsParameters] TransactionQuery query, CreditReader credits, HttpContext context, CancellationToken ct) =>
        TransactionsAsync(credits, context.Caller().UserId, query, ct);

    private static async Task<Results<Ok<Balance>, ProblemHttpResult>> BalanceOfAsync(string user, CreditReader credits,
        CreditAdministration administration, CancellationToken ct) =>
        await administration.FindUserAsync(user, ct) is { } id ? TypedResults.Ok(await credits.BalanceAsync(id, ct)) : Problems.NoSuchUser();

    private static async Task<Results<Ok<TransactionPage>, ProblemHttpResult>> TransactionsOfAsync(
        string user, [AsParameters] TransactionQuery query, CreditReader credits, CreditAdministration administration, CancellationToken ct) =>
        await administration.FindUserAsync(user, ct) is { } id ? await TransactionsAsync(credits, id, query, ct) : Problems.NoSuchUser();

    private static async Task<Results<Ok<TransactionPage>, ProblemHttpResult>> TransactionsAsync(CreditReader credits, Guid userId,
        TransactionQuery query, CancellationToken ct)
    {
        var errors = new Dictionary<string, string[]>(StringComparer.Ordinal);
        T? Read<T>(string name, string? sent, Func<string, T?> parse, Sentence problem)
            where T : struct
        {
            if (sent is not { Length: > 0 } text)
            {
                return null;
            }

            var value = parse(text);
            if (value is null)
            {
                errors[name] = [problem.ToString()];
            }

            return value;
        }

        string? Word(string name, string? word, string[] words)
        {
            if (word is { Length: > 0 } && !words.Contains(word, StringComparer.Ordinal))
            {
                errors[name] = [Refusals.Say($"must be one of {string.Join(", ", words)}")];
            }

            return word is { Length: > 0 } ? word : null;
        }

        static DateTimeOffset? Time(string text) =>
            DateTimeOffset.TryParse(text, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out var time) ? time : null;

        var count = Paging.Limit(query.Limit, MaxPage, fallback: 50, errors);
        var before = Read<long>("cursor", query.Cursor, text =>
            long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var id) ? id
            : null, $"must be the nextCursor of the page before");
        var filter = new TransactionFilter
        {
            Type = Word("type", query.Type, Types),
            Direction = Word("direction", query.Direction, ["credit", "debit"]),
            SessionId = Read<Guid>("sessionId", query.SessionId, text =>
                Guid.TryParse(text, out var id) ? id : null, $"must be the id of a generation"),
            Since = Read("since", query.Since, Time, $"must be a time, such as 2026-01-31T00:00:00Z"),
            Until = Read("until", query.Until, Time, $"must be a time, such as 2026-01-31T00:00:00Z"),
        };
        if (errors.Count > 0)
        {
            return Problems.Invalid(errors);
        }

        var page = await credits.TransactionsAsync(userId, filter, before, count + 1, ct);
        var shown = page.Take(count).ToList();
        return TypedResults.Ok(new TransactionPage(shown, page.Count > count ? shown[^1].TransactionId.ToString(CultureInfo.InvariantCulture)
            : null));
    }
}
