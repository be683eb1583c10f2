using Generation.Api.Errors;
using Generation.Api.Identity;
using Generation.Core.Credits;

namespace Generation.Api.Admin;

public static class AuditApi
{
    /// <summary><c>GET /api/admin/ledger/audit</c>: all rules over the whole database, now; the answer takes as long as that does.</summary>
    public static void MapLedgerAudit(this IEndpointRouteBuilder routes)
    {
        // One at a time in this process. A second caller is asked to retry instead of sharing the running audit: its snapshot
        // was taken before the request, so a caller who has just repaired something would see the difference again.
        var gate = new SemaphoreSlim(1, 1);
        routes.MapGet("/api/admin/ledger/audit", (LedgerAudit audit, HttpContext context, CancellationToken ct) => AuditAsync(audit, gate, context, ct))
            .RequireAuthorization(ApiKeyAuthentication.AdminPolicy);
    }

    private static async Task<IResult> AuditAsync(LedgerAudit audit, SemaphoreSlim gate, HttpContext context, CancellationToken ct)
    {
        if (!await gate.WaitAsync(TimeSpan.Zero, ct))
        {
            return Problems.RetryLater(context, "audit_running", "An audit is running already. It may take a minute; ask again then.", retryAfterSeconds: 10);
        }

        try
        {
            return TypedResults.Ok(await audit.RunAsync(ct));
        }
        catch (TimeoutException e)
        {
            return Problems.RetryLater(context, "audit_timeout", e.Message, retryAfterSeconds: 60);
        }
        finally
        {
            gate.Release();
        }
    }
}
