using Generation.Api.Identity;
using Generation.Core.Credits;

namespace Generation.Api.Credits;

public static class AuditApi
{
    /// <summary><c>GET /api/admin/ledger/audit</c>: all rules over the whole database, now; the answer takes as long as that does.</summary>
    public static void MapLedgerAudit(this IEndpointRouteBuilder routes)
    {
        // One at a time in this process. Who comes second is told to come again rather than handed the running one: that one is about a
        // moment before the question, and whoever has just mended something would see the damage once more.
        var turn = new SemaphoreSlim(1, 1);
        routes.MapGet("/api/admin/ledger/audit", (LedgerAudit audit, HttpContext context, CancellationToken ct) => AuditAsync(audit, turn, context, ct))
            .RequireAuthorization(ApiKeyAuthentication.AdminPolicy);
    }

    private static async Task<IResult> AuditAsync(LedgerAudit audit, SemaphoreSlim turn, HttpContext context, CancellationToken ct)
    {
        if (!await turn.WaitAsync(TimeSpan.Zero, ct))
        {
            return Problems.Later(context, "audit_running", "An audit is running already. It may take a minute; ask again then.", retryAfterSeconds: 10);
        }

        try
        {
            return TypedResults.Ok(await audit.RunAsync(ct));
        }
        catch (TimeoutException e)
        {
            return Problems.Later(context, "audit_timeout", e.Message, retryAfterSeconds: 60);
        }
        finally
        {
            turn.Release();
        }
    }
}
