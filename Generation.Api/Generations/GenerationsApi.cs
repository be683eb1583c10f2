using System.Globalization;
using Generation.Api.Errors;
using Generation.Api.Events;
using Generation.Api.Identity;
using Generation.Api.Media;
using Generation.Core.Sessions;

namespace Generation.Api.Generations;

/// <summary>Sessions over HTTP: submit, read, watch, cancel, and the aliases that older clients call.</summary>
public static class GenerationsApi
{
    private const int MaxPage = 100;

    public static void MapGenerations(this IEndpointRouteBuilder routes)
    {
        var group = routes.MapGroup("/api/generations").RequireAuthorization();
        group.MapPost("", SubmitAsync).WithMetadata(new SubmitEndpoint());
        group.MapPost("/estimate", EstimateAsync);
        group.MapGet("", ListAsync);
        group.MapGet("/{sessionId:guid}", GetAsync);
        group.MapGet("/{sessionId:guid}/events", EventStream.StreamAsync);
        group.MapPost("/{sessionId:guid}/cancel", CancelAsync);

        routes.MapPost("/api/images/{tool}/generate", SubmitByToolAsync).RequireAuthorization().WithMetadata(new SubmitEndpoint());
        routes.MapPost("/api/image/generate", SubmitImageAsync).RequireAuthorization().WithMetadata(new SubmitEndpoint());
    }

    private static async Task<IResult> SubmitAsync(HttpContext context, SubmitHandler handler, SubmitResponder responder, CancellationToken ct)
    {
        var (command, refusal) = await handler.ReadAsync(context, ct);
        return refusal ?? await AcceptAsync(context, command!, handler, responder, responder.PreferredWait(context), ct);
    }

    private static async Task<IResult> EstimateAsync(HttpContext context, SubmitHandler handler, CancellationToken ct)
    {
        var (command, refusal) = await handler.ReadAsync(context, ct);
        return refusal ?? await handler.EstimateAsync(context, command!, ct);
    }

    private static async Task<IResult> SubmitByToolAsync(string tool, HttpContext context, SubmitHandler handler, SubmitResponder responder, CancellationToken ct)
    {
        var (command, refusal) = await handler.ReadFlatAsync(context, tool, ct);
        return refusal ?? await AcceptAsync(context, command!, handler, responder, responder.PreferredWait(context) ?? responder.AliasWait, ct);
    }

    private static async Task<IResult> SubmitImageAsync(HttpContext context, SubmitHandler handler, SubmitResponder responder, CancellationToken ct)
    {
        var (command, refusal) = await handler.ReadFlatAsync(context, tool: null, ct);
        return refusal ?? await AcceptAsync(context, command!, handler, responder, responder.PreferredWait(context) ?? responder.AliasWait, ct);
    }

    private static async Task<IResult> AcceptAsync(HttpContext context, SubmitCommand command, SubmitHandler handler, SubmitResponder responder, TimeSpan? wait, CancellationToken ct)
    {
        var (accepted, refusal) = await handler.SubmitAsync(context, command, ct);
        return refusal ?? await responder.AnswerAsync(context, accepted!, wait, ct);
    }

    private static async Task<IResult> GetAsync(Guid sessionId, HttpContext context, SessionReader sessions, MediaLinks links, CancellationToken ct) =>
        await sessions.GetAsync(context.Caller().UserId, sessionId, ct) is { } session
            ? TypedResults.Ok(links.Present(session, context))
            : Problems.NotFound("generation");

    private static async Task<IResult> ListAsync(
        HttpContext context, SessionReader sessions, MediaLinks links, string? cursor, string? status, string? limit, CancellationToken ct)
    {
        var errors = new Dictionary<string, string[]>(StringComparer.Ordinal);
        var count = 20;
        if (limit is not null && (!int.TryParse(limit, NumberStyles.None, CultureInfo.InvariantCulture, out count) || count is < 1 or > MaxPage))
        {
            errors["limit"] = [$"must be a whole number from 1 to {MaxPage}"];
        }

        Guid? before = null;
        if (cursor is not null)
        {
            before = Guid.TryParse(cursor, out var id) ? id : null;
            if (before is null)
            {
                errors["cursor"] = ["must be the nextCursor of the page before"];
            }
        }

        if (status is not (null or "queued" or "processing" or "completed" or "failed" or "canceled"))
        {
            errors["status"] = ["must be queued, processing, completed, failed or canceled"];
        }

        if (errors.Count > 0)
        {
            return Problems.Invalid(errors);
        }

        var page = await sessions.ListAsync(context.Caller().UserId, before, status, count + 1, ct);
        var shown = page.Take(count).Select(s => links.Present(s, context)).ToList();
        return TypedResults.Ok(new { generations = shown, nextCursor = page.Count > count ? shown[^1].SessionId : (Guid?)null });
    }

    private static async Task<IResult> CancelAsync(
        Guid sessionId, HttpContext context, Cancellation cancellation, SessionReader sessions, MediaLinks links, CancellationToken ct)
    {
        var outcome = await cancellation.CancelAsync(context.Caller().UserId, sessionId, ct);
        if (outcome == CancelOutcome.NotFound || await sessions.GetAsync(context.Caller().UserId, sessionId, ct) is not { } session)
        {
            return Problems.NotFound("generation");
        }

        return outcome switch
        {
            CancelOutcome.Canceled => TypedResults.Ok(links.Present(session, context)),
            CancelOutcome.Requested => TypedResults.Json(links.Present(session, context), statusCode: StatusCodes.Status202Accepted),
            _ => Problems.Of(StatusCodes.Status409Conflict, "already_ended", $"It has ended already: {session.Status}.", ("sessionStatus", session.Status)),
        };
    }
}
