using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using System.Globalization;
using System.Text.Json;
using Generation.Api.Description;
using Generation.Api.Errors;
using Generation.Api.Identity;
using Generation.Core.Credits;
using Generation.Core.Ordering;
using Generation.Core.Queue;
using Microsoft.AspNetCore.Http.HttpResults;

namespace Generation.Api.Admin;

/// <param name="Lanes">Each lane.</param>
public sealed record LaneList(IReadOnlyList<LaneView> Lanes);

/// <param name="Waiting">In the order of dispatch.</param>
/// <param name="NextCursor">For <c>cursor</c>; null on the last page.</param>
public sealed record WaitingPage(IReadOnlyList<WaitingView> Waiting, string? NextCursor);

/// <param name="SessionId">The generation to move.</param>
/// <param name="To"><c>front</c> or <c>back</c> of what its user has waiting in the lane.</param>
/// <param name="Reason">Recorded with the action.</param>
public sealed record ReprioritizeBody(Guid SessionId, [property: AllowedValues("front", "back")] string To, string Reason);

/// <summary>What a pause or its end did; the same again for the same idempotency key.</summary>
/// <param name="ActionId">Its audit row.</param>
/// <param name="Action"><c>pause_lane</c> or <c>resume_lane</c>.</param>
/// <param name="Lane">Of which lane.</param>
/// <param name="Paused">Since when and by whom; null after a resume.</param>
/// <param name="Reason">As given.</param>
public sealed record LaneActionReceipt(
    Guid ActionId, [property: AllowedValues("pause_lane", "resume_lane")] string Action, string Lane, LanePause? Paused, string Reason);

/// <summary>Where a generation was moved; the same again for the same idempotency key.</summary>
/// <param name="ActionId">Its audit row.</param>
/// <param name="Action"><c>reprioritize</c>.</param>
/// <param name="UserId">Whose generation.</param>
/// <param name="Lane">In which lane.</param>
/// <param name="SessionId">Which one.</param>
/// <param name="To"><c>front</c> or <c>back</c>.</param>
/// <param name="Rank">Its rank since then; null for one that waits for its time and has had none.</param>
/// <param name="Reason">As given.</param>
public sealed record ReprioritizeReceipt(
    Guid ActionId, [property: AllowedValues("reprioritize")] string Action, Guid UserId, string Lane, Guid SessionId,
    [property: AllowedValues("front", "back")] string To, double? Rank, string Reason);

/// <summary>The lanes for operators: what waits, in which order, and whether it is dispatched.</summary>
public static class QueuesApi
{
    private const int MaxPage = 100;

    public static void MapQueues(this IEndpointRouteBuilder routes)
    {
        var admin = routes.MapGroup("/api/admin/queues").RequireAuthorization(ApiKeyAuthentication.AdminPolicy);
        admin.MapGet("", ListAsync)
            .Describe("listQueues", ApiTags.Admin, "Every lane: what waits and runs, since when, and whether it is paused");
        admin.MapGet("/{lane}/waiting", WaitingAsync)
            .Describe("listWaiting", ApiTags.Admin, "What waits in a lane, in the order of dispatch", ProblemCodes.NotFound,
                ProblemCodes.ValidationFailed);
        admin.MapPost("/{lane}/pause", PauseAsync)
            .Describe("pauseLane", ApiTags.Admin, "Dispatch nothing of a lane; what is under way goes on, and submits are accepted",
                [.. AdminActionRequest.Refusals, ProblemCodes.NotFound])
            .TakesJson<ReasonBody>().RequiresIdempotencyKey().Produces<LaneActionReceipt>();
        admin.MapPost("/{lane}/resume", ResumeAsync)
            .Describe("resumeLane", ApiTags.Admin, "End a pause", [.. AdminActionRequest.Refusals, ProblemCodes.NotFound])
            .TakesJson<ReasonBody>().RequiresIdempotencyKey().Produces<LaneActionReceipt>();
        admin.MapPost("/{lane}/reprioritize", ReprioritizeAsync)
            .Describe("reprioritize", ApiTags.Admin, "Move a generation to the front or the back of its user's own waiting ones",
                [.. AdminActionRequest.Refusals, ProblemCodes.NotFound, ProblemCodes.LaneMismatch, ProblemCodes.NotWaiting])
            .TakesJson<ReprioritizeBody>().RequiresIdempotencyKey().Produces<ReprioritizeReceipt>();
    }

    private static async Task<Ok<LaneList>> ListAsync(QueueReader queues, CancellationToken ct) =>
        TypedResults.Ok(new LaneList(await queues.LanesAsync(ct)));

    private static async Task<Results<Ok<WaitingPage>, ProblemHttpResult>> WaitingAsync(
        string lane, QueueReader queues, [Description("The nextCursor of the page before.")] string? cursor,
        [Description("Rows a page, 1 to 100; 20 without it.")] string? limit, CancellationToken ct)
    {
        if (!IsLane(lane))
        {
            return NoSuchLane(lane);
        }

        var errors = new Dictionary<string, string[]>(StringComparer.Ordinal);
        var count = Paging.Limit(limit, MaxPage, fallback: 20, errors);
        var after = Paging.Cursor(cursor, ReadCursor, errors);
        if (errors.Count > 0)
        {
            return Problems.Invalid(errors);
        }

        var page = await queues.WaitingAsync(lane, after, count + 1, ct);
        var shown = page.Take(count).ToList();
        return TypedResults.Ok(new WaitingPage([.. shown.Select(row => row.View)], page.Count > count ? WriteCursor(shown[^1].Place) : null));
    }

    private static Task<Results<Ok<JsonElement>, ProblemHttpResult>> PauseAsync(string lane, HttpContext context, QueueAdministration queues,
        CancellationToken ct) =>
        SetPausedAsync(lane, paused: true, context, queues, ct);

    private static Task<Results<Ok<JsonElement>, ProblemHttpResult>> ResumeAsync(string lane, HttpContext context, QueueAdministration queues,
        CancellationToken ct) =>
        SetPausedAsync(lane, paused: false, context, queues, ct);

    private static async Task<Results<Ok<JsonElement>, ProblemHttpResult>> SetPausedAsync(string lane, bool paused, HttpContext context,
        QueueAdministration queues, CancellationToken ct)
    {
        if (!IsLane(lane))
        {
            return NoSuchLane(lane);
        }

        var (request, _, refusal) = await AdminActionRequest.ReadAsync(context, _ => lane, ct);
        return refusal is not null ? refusal
            : AdminActionRequest.Answer(
                context, await queues.SetPausedAsync(request!.Of($"{(paused ? "pause_lane" : "resume_lane")} {lane}"), lane, paused, ct));
    }

    private static async Task<Results<Ok<JsonElement>, ProblemHttpResult>> ReprioritizeAsync(string lane, HttpContext context,
        QueueAdministration queues, CancellationToken ct)
    {
        if (!IsLane(lane))
        {
            return NoSuchLane(lane);
        }

        var (request, move, refusal) = await AdminActionRequest.ReadAsync(
            context, fields => (SessionId: fields.SessionId("sessionId"), To: fields.Choice("to", fallback: null, "front", "back")), ct);
        if (refusal is not null)
        {
            return refusal;
        }

        if (await queues.FindAsync(move.SessionId, ct) is not { } session)
        {
            return Problems.Of(ProblemCodes.NotFound, $"There is no generation {move.SessionId}.");
        }

        if (session.Lane != lane)
        {
            return Problems.Of(ProblemCodes.LaneMismatch, $"The generation is in the lane '{session.Lane}'. Move it there.", ("lane", session.Lane));
        }

        var result = await queues.ReprioritizeAsync(
            request!.Of("reprioritize", session.UserId), lane, move.SessionId, move.To == "front", ct);
        return result.Outcome == AdminActionOutcome.NotWaiting
            ? Problems.Of(ProblemCodes.NotWaiting,
                $"The generation does not wait in line: it was dispatched, has ended, or goes on with work that was begun. Nothing was changed.")
            : AdminActionRequest.Answer(context, result);
    }

    private static bool IsLane(string lane) => QueueOptions.Lanes.Contains(lane, StringComparer.Ordinal);

    private static ProblemHttpResult NoSuchLane(string lane) =>
        Problems.Of(ProblemCodes.NotFound, $"There is no lane '{lane}'. GET /api/admin/queues lists them.");

    /// <summary>The rank bit by bit, because a decimal number may stand for its neighbour.</summary>
    private static string WriteCursor(QueuePlace place) => $"{BitConverter.DoubleToInt64Bits(place.Rank):x}-{place.OutboxId:x}-{place.Next:x}";

    private static QueuePlace? ReadCursor(string cursor)
    {
        static bool TryRead(string text, out long number) =>
            long.TryParse(text, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out number);
        return cursor.Split('-') is [var rank, var id, var next]
            && TryRead(rank, out var bits) && BitConverter.Int64BitsToDouble(bits) is var value and >= -1 and < double.PositiveInfinity
            && TryRead(id, out var outboxId) && outboxId >= 0 && TryRead(next, out var position) && position is >= 0 and <= int.MaxValue
            ? new QueuePlace(value, outboxId, position)
            : null;
    }
}
