using System.ComponentModel;
using Generation.Api.Description;
using Generation.Api.Errors;
using Generation.Api.Events;
using Generation.Api.Identity;
using Generation.Api.Media;
using Generation.Core.Localization;
using Generation.Core.Sessions;
using Microsoft.AspNetCore.Http.HttpResults;

namespace Generation.Api.Generations;

/// <summary>Sessions over HTTP: submit, read, watch, cancel, and the aliases that older clients call.</summary>
public static class GenerationsApi
{
    private const int MaxPage = 100;

    public static void MapGenerations(this IEndpointRouteBuilder routes)
    {
        var group = routes.MapGroup("/api/generations").RequireAuthorization();
        group.MapPost("", SubmitAsync).WithMetadata(new SubmitEndpoint())
            .Describe("submitGeneration", ApiTags.Generations, "Submit a generation", SubmitHandler.Refusals)
            .TakesJson<SubmitBody>().TakesIdempotencyKey().TakesPreferWait().TakesMockOverride();
        group.MapPost("/estimate", EstimateAsync)
            .Describe("estimateGeneration", ApiTags.Generations, "What a generation would cost; nothing is held", Quotes.Refusals)
            .TakesJson<SubmitBody>();
        group.MapGet("", ListAsync)
            .Describe("listGenerations", ApiTags.Generations, "My generations, newest first", ProblemCodes.ValidationFailed);
        group.MapGet("/{sessionId:guid}", GetAsync)
            .Describe("getGeneration", ApiTags.Generations, "Where a generation stands", ProblemCodes.NotFound);
        group.MapGet("/{sessionId:guid}/events", EventStream.StreamAsync)
            .Describe("watchGeneration", ApiTags.Events, "Watch a generation to its end (server-sent events)", ProblemCodes.NotFound)
            .StreamsEvents();
        group.MapPost("/{sessionId:guid}/cancel", CancelAsync)
            .Describe("cancelGeneration", ApiTags.Generations, "Cancel a generation; what is not delivered is not charged", ProblemCodes.NotFound,
                ProblemCodes.AlreadyEnded);

        routes.MapPost("/api/images/{tool}/generate", SubmitByToolAsync).RequireAuthorization().WithMetadata(new SubmitEndpoint())
            .Describe("submitByTool", ApiTags.Generations, "Submit by tool: the parameters beside model and clientKey",
                [.. SubmitHandler.Refusals, ProblemCodes.ToolNotFound])
            .TakesJson<FlatSubmitBody>().TakesIdempotencyKey().TakesPreferWait().TakesMockOverride();
        routes.MapPost("/api/image/generate", SubmitImageAsync).RequireAuthorization().WithMetadata(new SubmitEndpoint())
            .Describe("submitImage", ApiTags.Generations, "Submit a picture: the parameters beside model and clientKey", SubmitHandler.Refusals)
            .TakesJson<FlatSubmitBody>().TakesIdempotencyKey().TakesPreferWait().TakesMockOverride();
    }

    private static async Task<Results<Ok<GenerationResult>, Accepted<AcceptedGeneration>,
        ProblemHttpResult>> SubmitAsync(HttpContext context, SubmitCommandReader reader, SubmitHandler handler,
        SubmitResponder responder, CancellationToken ct)
    {
        var (command, refusal) = await reader.ReadAsync(context, ct);
        return refusal is null ? await AcceptAsync(context, command!, handler, responder, responder.PreferredWait(context), ct) : refusal;
    }

    private static async Task<Results<Ok<EstimateView>, ProblemHttpResult>> EstimateAsync(
        HttpContext context, SubmitCommandReader reader, Quotes quotes, CancellationToken ct)
    {
        var (command, refusal) = await reader.ReadAsync(context, ct);
        return refusal is null ? await quotes.EstimateAsync(context, command!, ct) : refusal;
    }

    private static async Task<Results<Ok<GenerationResult>, Accepted<AcceptedGeneration>,
        ProblemHttpResult>> SubmitByToolAsync(string tool, HttpContext context, SubmitCommandReader reader, SubmitHandler handler,
        SubmitResponder responder, CancellationToken ct)
    {
        var (command, refusal) = await reader.ReadFlatAsync(context, tool, ct);
        return refusal is null ? await AcceptAsync(context, command!, handler, responder, responder.PreferredWait(context) ?? responder.AliasWait,
            ct, isAlias: true) : refusal;
    }

    private static async Task<Results<Ok<GenerationResult>, Accepted<AcceptedGeneration>,
        ProblemHttpResult>> SubmitImageAsync(HttpContext context, SubmitCommandReader reader, SubmitHandler handler,
        SubmitResponder responder, CancellationToken ct)
    {
        var (command, refusal) = await reader.ReadFlatAsync(context, tool: null, ct);
        return refusal is null ? await AcceptAsync(context, command!, handler, responder, responder.PreferredWait(context) ?? responder.AliasWait,
            ct, isAlias: true) : refusal;
    }

    private static async Task<Results<Ok<GenerationResult>, Accepted<AcceptedGeneration>,
        ProblemHttpResult>> AcceptAsync(HttpContext context, SubmitCommand command, SubmitHandler handler, SubmitResponder responder, TimeSpan? wait,
        CancellationToken ct, bool isAlias = false)
    {
        var (accepted, refusal) = await handler.SubmitAsync(context, command, ct);
        return refusal is null ? await responder.AnswerAsync(context, accepted!, wait, ct, isAlias) : refusal;
    }

    private static async Task<Results<Ok<SessionView>, ProblemHttpResult>> GetAsync(Guid sessionId, HttpContext context, SessionReader sessions,
        MediaLinks links, CancellationToken ct) =>
        await sessions.GetAsync(context.Caller().UserId, sessionId, ct) is { } session
            ? TypedResults.Ok(links.Present(session, context))
            : Problems.NoSuchGeneration();

    private static async Task<Results<Ok<GenerationPage>, ProblemHttpResult>> ListAsync(
        HttpContext context, SessionReader sessions, MediaLinks links, [Description("The nextCursor of the page before.")] string? cursor,
        [Description("queued, processing, completed, failed or canceled.")] string? status,
            [Description("Rows a page, 1 to 100; 20 without it.")] string? limit, CancellationToken ct)
    {
        var errors = new Dictionary<string, string[]>(StringComparer.Ordinal);
        var count = Paging.Limit(limit, MaxPage, fallback: 20, errors);
        var before = Paging.Cursor(cursor, errors);

        if (status is not (null or "queued" or "processing" or "completed" or "failed" or "canceled"))
        {
            errors["status"] = [Refusals.Say($"must be queued, processing, completed, failed or canceled")];
        }

        if (errors.Count > 0)
        {
            return Problems.Invalid(errors);
        }

        var page = await sessions.ListAsync(context.Caller().UserId, before, status, count + 1, ct);
        var shown = page.Take(count).Select(s => links.Present(s, context)).ToList();
        return TypedResults.Ok(new GenerationPage(shown, page.Count > count ? shown[^1].SessionId : null));
    }

    private static async Task<Results<Ok<SessionView>, Accepted<SessionView>, ProblemHttpResult>> CancelAsync(
        Guid sessionId, HttpContext context, Cancellation cancellation, SessionReader sessions, MediaLinks links, CancellationToken ct)
    {
        var outcome = await cancellation.CancelAsync(context.Caller().UserId, sessionId, ct);
        if (outcome == CancelOutcome.NotFound || await sessions.GetAsync(context.Caller().UserId, sessionId, ct) is not { } session)
        {
            return Problems.NoSuchGeneration();
        }

        return outcome switch
        {
            CancelOutcome.Canceled => TypedResults.Ok(links.Present(session, context)),
            CancelOutcome.Requested => TypedResults.Accepted((string?)null, links.Present(session, context)),
            _ => Problems.Of(ProblemCodes.AlreadyEnded, $"It has ended already: {session.Status}.", ("sessionStatus", session.Status)),
        };
    }
}
