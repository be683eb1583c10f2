using Generation.Api.Description;
using Generation.Api.Errors;
using Generation.Api.Identity;
using Generation.Core.Credits;
using Microsoft.AspNetCore.Http.HttpResults;

namespace Generation.Api.Admin;

public static class AuditApi
{
    /// <summary><c>GET /api/admin/ledger/audit</c>: all rules over the whole database, now; the answer takes as long as that does.</summary>
    public static void MapLedgerAudit(this IEndpointRouteBuilder routes)
    {
        // One at a time in this process. A second caller is asked to retry instead of sharing the running audit: its snapshot
        // was taken before the request, so a caller who has just repaired something would see the difference again.
        var gate = new SemaphoreSlim(1, 1);
        routes.MapGet("/api/admin/ledger/audit", (LedgerAudit audit, HttpContext context, CancellationToken ct) =>
            AuditAsync(audit, gate, context, ct))
            .RequireAuthorization(ApiKeyAuthentication.AdminPolicy)
            .Describe("auditLedger", ApiTags.Admin, "Check every rule about money, work and media, now", ProblemCodes.AuditRunning,
                ProblemCodes.AuditTimeout);
    }

    private static async Task<Results<Ok<AuditReport>, ProblemHttpResult>> AuditAsync(LedgerAudit audit, SemaphoreSlim gate, HttpContext context,
        CancellationToken ct)
    {
        if (!await gate.WaitAsync(TimeSpan.Zero, ct))
        {
            return Problems.RetryLater(context, ProblemCodes.AuditRunning, $"An audit is running already. It may take a minute; ask again then.",
                retryAfterSeconds: 10);
        }

        try
        {
            return TypedResults.Ok(await audit.RunAsync(ct));
        }
        catch (TimeoutException)
        {
            return Problems.RetryLater(context, ProblemCodes.AuditTimeout,
                $"The audit took longer than it may. Ask again when less is going on.", retryAfterSeconds: 60);
        }
        finally
        {
            gate.Release();
        }
    }
}
