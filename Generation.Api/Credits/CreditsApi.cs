using Generation.Api.Identity;
using Generation.Core.Credits;

namespace Generation.Api.Credits;

public static class CreditsApi
{
    public static void MapCredits(this IEndpointRouteBuilder routes) => routes.MapGet("/api/credits", BalanceAsync).RequireAuthorization();

    private static async Task<IResult> BalanceAsync(CreditReader credits, HttpContext context, CancellationToken ct) =>
        TypedResults.Ok(await credits.BalanceAsync(context.Caller().UserId, ct));
}
