using System.Globalization;
using Generation.Api.Errors;
using Generation.Api.Identity;
using Generation.Core.Credits;

namespace Generation.Api.Credits;

/// <summary>A user's balance and ledger; an administrator reads everybody's in the same shape.</summary>
public static class CreditsApi
{
    private const int MaxPage = 200;
    private static readonly string[] Types = ["reservation", "usage", "refund", "adjustment", "purchase", "bonus", "expiry"];

    public static void MapCredits(this IEndpointRouteBuilder routes)
    {
        var own = routes.MapGroup("/api/credits").RequireAuthorization();
        own.MapGet("", (CreditReader credits, HttpContext context, CancellationToken ct) => BalanceAsync(credits, context.Caller().UserId, ct));
        own.MapGet("/transactions", (CreditReader credits, HttpContext context, CancellationToken ct) => TransactionsAsync(credits, context.Caller().UserId, context.Request.Query, ct));

        var anybody = routes.MapGroup("/api/admin/users/{user}").RequireAuthorization(ApiKeyAuthentication.AdminPolicy);
        anybody.MapGet("/credits", async (string user, CreditReader credits, CreditAdministration administration, CancellationToken ct) =>
            await administration.FindUserAsync(user, ct) is { } id ? await BalanceAsync(credits, id, ct) : Problems.NotFound("user"));
        anybody.MapGet("/transactions", async (string user, CreditReader credits, CreditAdministration administration, HttpContext context, CancellationToken ct) =>
            await administration.FindUserAsync(user, ct) is { } id ? await TransactionsAsync(credits, id, context.Request.Query, ct) : Problems.NotFound("user"));
    }

    /// <summary>Reads <c>limit</c>; what is wrong goes into <paramref name="errors"/>.</summary>
    internal static int Limit(IQueryCollection query, Dictionary<string, string[]> errors)
    {
        var count = 50;
        if (query["limit"].ToString() is { Length: > 0 } limit
            && (!int.TryParse(limit, NumberStyles.None, CultureInfo.InvariantCulture, out count) || count is < 1 or > MaxPage))
        {
            errors["limit"] = [$"must be a whole number from 1 to {MaxPage}"];
        }

        return count;
    }

    private static async Task<IResult> BalanceAsync(CreditReader credits, Guid userId, CancellationToken ct) =>
        TypedResults.Ok(await credits.BalanceAsync(userId, ct));

    private static async Task<IResult> TransactionsAsync(CreditReader credits, Guid userId, IQueryCollection query, CancellationToken ct)
    {
        var errors = new Dictionary<string, string[]>(StringComparer.Ordinal);
        T? Read<T>(string name, Func<string, T?> parse, string problem)
            where T : struct
        {
            if (query[name].ToString() is not { Length: > 0 } text)
            {
                return null;
            }

            var value = parse(text);
            if (value is null)
            {
                errors[name] = [problem];
            }

            return value;
        }

        string? Word(string name, string[] words)
        {
            var word = query[name].ToString();
            if (word.Length > 0 && !words.Contains(word, StringComparer.Ordinal))
            {
                errors[name] = [$"must be {string.Join(", ", words[..^1])} or {words[^1]}"];
            }

            return word.Length > 0 ? word : null;
        }

        static DateTimeOffset? Time(string text) =>
            DateTimeOffset.TryParse(text, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out var time) ? time : null;

        var count = Limit(query, errors);
        var before = Read<long>("cursor", text => long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var id) ? id : null, "must be the nextCursor of the page before");
        var filter = new TransactionFilter
        {
            Type = Word("type", Types),
            Direction = Word("direction", ["credit", "debit"]),
            SessionId = Read<Guid>("sessionId", text => Guid.TryParse(text, out var id) ? id : null, "must be the id of a generation"),
            Since = Read("since", Time, "must be a time, such as 2026-01-31T00:00:00Z"),
            Until = Read("until", Time, "must be a time, such as 2026-01-31T00:00:00Z"),
        };
        if (errors.Count > 0)
        {
            return Problems.Invalid(errors);
        }

        var page = await credits.TransactionsAsync(userId, filter, before, count + 1, ct);
        var shown = page.Take(count).ToList();
        return TypedResults.Ok(new { transactions = shown, nextCursor = page.Count > count ? shown[^1].TransactionId.ToString(CultureInfo.InvariantCulture) : null });
    }
}
