using System.ComponentModel;
using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using Generation.Api.Description;
using Generation.Api.Errors;
using Generation.Api.Identity;
using Generation.Core;
using Generation.Core.Credits;
using Generation.Core.Localization;
using Generation.Core.Sessions;
using Microsoft.AspNetCore.Http.HttpResults;

namespace Generation.Api.Generations;

/// <summary>
/// What has failed, tried again: always as a new session (<c>retryOf</c>) at today's price with a new hold, so that an end stays an end.
/// A user retries a session of theirs; an operator lists the dead letters and redrives one, some by a filter, or all.
/// </summary>
public static class RetriesApi
{
    private const int MaxPage = 100;
    private const int MaxRedrive = 500;

    public static void MapRetries(this IEndpointRouteBuilder routes)
    {
        routes.MapPost("/api/generations/{sessionId:guid}/retry", RetryAsync).RequireAuthorization().WithMetadata(new SubmitEndpoint())
            .Describe("retryGeneration", ApiTags.Generations, "Try again what failed or was canceled, as a new generation",
                [.. SubmitHandler.Refusals, ProblemCodes.NotFound, ProblemCodes.NotRetryable])
            .TakesIdempotencyKey().TakesPreferWait().TakesMockOverride();
        var admin = routes.MapGroup("/api/admin/dead-letters").RequireAuthorization(ApiKeyAuthentication.AdminPolicy);
        admin.MapGet("", ListAsync)
            .Describe("listDeadLetters", ApiTags.Admin, "Generations that failed for good", ProblemCodes.ValidationFailed);
        admin.MapPost("/redrive", RedriveAsync)
            .Describe("redriveDeadLetters", ApiTags.Admin, "Make dead letters again, as new generations", ProblemCodes.ValidationFailed)
            .TakesJson<RedriveBody>();
    }

    private static async Task<Results<Ok<GenerationResult>, Accepted<AcceptedGeneration>, ProblemHttpResult>> RetryAsync(
        Guid sessionId, HttpContext context, SessionReader sessions, SubmitHandler handler, SubmitResponder responder, CancellationToken ct)
    {
        var user = context.Caller().UserId;
        if (await sessions.GetAsync(user, sessionId, ct) is not { } session)
        {
            return Problems.NoSuchGeneration();
        }

        if (session.Status is not ("failed" or "canceled"))
        {
            return Problems.Of(ProblemCodes.NotRetryable, $"Only what failed or was canceled can be retried; it is {session.Status}.",
                ("sessionStatus", session.Status));
        }

        var (command, refusal) = SubmitCommand.Retry(context, user, sessionId, session.Model, session.Params);
        if (refusal is not null)
        {
            return refusal;
        }

        LinkTo(Activity.Current, session.TraceParent);
        var (accepted, refused) = await handler.SubmitAsync(context, command!, ct);
        return refused is null ? await responder.AnswerAsync(context, accepted!, responder.PreferredWait(context), ct) : refused;
    }

    private static async Task<Results<Ok<DeadLetterPage>, ProblemHttpResult>> ListAsync(
        DeadLetters dead, [Description("Their error code.")] string? code, string? model, string? provider,
            [Description("Failed before this time: the nextBefore of the page before.")] string? before,
        [Description("Rows a page, 1 to 100; 50 without it.")] string? limit, [Description("true: only those that were not redriven.")] string? open,
            CancellationToken ct)
    {
        var errors = new Dictionary<string, string[]>(StringComparer.Ordinal);
        var count = Paging.Limit(limit, MaxPage, fallback: 50, errors);

        DateTimeOffset moment = default;
        if (before is not null && !DateTimeOffset.TryParse(before, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out moment))
        {
            errors["before"] = [Refusals.Say($"must be a time, such as 2030-01-31T00:00:00Z: the failedAt of the last one of the page before")];
        }

        if (open is not (null or "true" or "false"))
        {
            errors["open"] = [Refusals.Say($"must be true or false")];
        }

        if (errors.Count > 0)
        {
            return Problems.Invalid(errors);
        }

        var page = await dead.ListAsync(
            new DeadLetterFilter
            {
                Code = code,
                Model = model,
                Provider = provider,
                Before = before is null ? null
                : moment,
                OnlyOpen = open == "true"
            }, count + 1, ct);
        var shown = page.Take(count).ToList();
        return TypedResults.Ok(new DeadLetterPage(shown, page.Count > count ? shown[^1].FailedAt : null));
    }

    /// <summary>Body: <c>{"sessionIds": […]}</c>, <c>{"filter": {code, model, provider, before}}</c> or <c>{"all": true}</c>.</summary>
    private static async Task<Results<Ok<RedriveResult>, ProblemHttpResult>> RedriveAsync(
        HttpContext context, DeadLetters dead, SubmitHandler handler, CreditAdministration administration, ApiOptions options,
        ILogger<DeadLetters> log, CancellationToken ct)
    {
        var (body, refusal) = await JsonBody.ReadAsync(context, options.MaxBodyBytes, ct);
        if (refusal is not null)
        {
            return refusal;
        }

        var (filter, errors) = Read(body);
        if (errors.Count > 0)
        {
            return Problems.Invalid(errors);
        }

        var found = await dead.ListAsync(filter!, MaxRedrive + 1, ct);
        await administration.RecordAsync(context.Caller().UserId, "redrive", $"Redrive of {Math.Min(found.Count, MaxRedrive)} dead letters.",
            JsonSerializer.SerializeToElement(new { request = body, sessionIds = found.Take(MaxRedrive).Select(letter => letter.SessionId) }), ct);
        var results = await Task.WhenAll(found.Take(MaxRedrive).Select(letter => RedriveOneAsync(context, handler, letter, ct)));
        var redriven = results.Count(r => r.NewSessionId is not null && !r.Replayed);
        log.LogWarning("Administrator {Admin} redrove {Count} of {Found} dead letters", context.Caller().UserId, redriven, results.Length);
        return TypedResults.Ok(new RedriveResult(redriven, results, filter!.SessionIds?.Except(found.Select(f => f.SessionId)).ToList() ?? [],
            found.Count > MaxRedrive));
    }

    /// <summary>One key a dead letter: redriven twice, it is made again once.</summary>
    private static async Task<RedrivenLetter> RedriveOneAsync(HttpContext context, SubmitHandler handler, DeadLetter letter, CancellationToken ct)
    {
        using var span = StartRedrive(letter.TraceParent);
        var command = SubmitCommand.Retry(letter.UserId, letter.SessionId, letter.Model, letter.Params, $"redrive-{letter.SessionId}");
        var (accepted, refused) = await handler.SubmitAsync(context, command, ct);
        var problem = refused?.ProblemDetails;
        if (problem is not null)
        {
            span.SetFailed(problem.Extensions["code"] as string ?? "refused");
        }

        return new RedrivenLetter(
            letter.SessionId, accepted?.SessionId, accepted?.Replayed ?? false, problem?.Extensions["code"] as string, problem?.Detail);
    }

    /// <summary>
    /// Each of those that are made again by one request has a trace of its own, as if its user had sent it; with links to the request and to the
    /// trace of the session before.
    /// </summary>
    private static Activity? StartRedrive(string? traceParent)
    {
        var request = Activity.Current;
        Activity.Current = null; // a root
        var span = Telemetry.Source.StartActivity("redrive", ActivityKind.Producer);
        if (span is null)
        {
            Activity.Current = request;
        }
        else if (request is not null)
        {
            span.AddLink(new ActivityLink(request.Context));
        }

        LinkTo(span, traceParent);
        return span;
    }

    /// <summary>From the trace of the new session to that of the one before.</summary>
    private static void LinkTo(Activity? span, string? traceParent)
    {
        if (Telemetry.ParseTraceParent(traceParent) is var before && before != default)
        {
            span?.AddLink(new ActivityLink(before));
        }
    }

    private static (DeadLetterFilter? Filter, Dictionary<string, string[]> Errors) Read(JsonElement body)
    {
        var errors = new Dictionary<string, string[]>(StringComparer.Ordinal);
        var ways = body.EnumerateObject().Select(f => f.Name).ToList();
        if (ways is not ["sessionIds"] and not ["filter"] and not ["all"])
        {
            errors["sessionIds"] = [Refusals.Say($"give one of sessionIds (a list), filter (an object) and all (true)")];
            return (null, errors);
        }

        if (body.TryGetProperty("sessionIds", out var list))
        {
            var ids = list.ValueKind == JsonValueKind.Array && list.GetArrayLength() is >= 1 and <= MaxRedrive
                ? list.EnumerateArray().Select(v => v.ValueKind == JsonValueKind.String && v.TryGetGuid(out var id) ? id : Guid.Empty).ToList()
                : [];
            if (ids.Count == 0 || ids.Contains(Guid.Empty))
            {
                errors["sessionIds"] = [Refusals.Say($"must be a list of 1 to {MaxRedrive} session ids")];
            }

            return (new DeadLetterFilter { SessionIds = ids }, errors);
        }

        if (body.TryGetProperty("all", out var all))
        {
            if (all.ValueKind != JsonValueKind.True)
            {
                errors["all"] = [Refusals.Say($"must be true")];
            }

            return (new DeadLetterFilter { OnlyOpen = true }, errors);
        }

        var filter = body.GetProperty("filter");
        if (filter.ValueKind != JsonValueKind.Object || !filter.EnumerateObject().Any())
        {
            errors["filter"] = [Refusals.Say($"must be an object with code, model, provider or before; to mean all say \"all\": true")];
            return (null, errors);
        }

        foreach (var field in filter.EnumerateObject())
        {
            var isGood = field.Name switch
            {
                "code" or "model" or "provider" => field.Value.ValueKind == JsonValueKind.String,
                "before" => field.Value.ValueKind == JsonValueKind.String && field.Value.TryGetDateTimeOffset(out _),
                _ => false,
            };
            if (!isGood)
            {
                errors[$"filter.{field.Name}"] = [Refusals.Say($"is not a field of the filter (code, model, provider, before), or not of its type")];
            }
        }

        string? Text(string name) => filter.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;
        return (new DeadLetterFilter
        {
            Code = Text("code"),
            Model = Text("model"),
            Provider = Text("provider"),
            Before = filter.TryGetProperty("before", out var moment) && errors.Count == 0 ? moment.GetDateTimeOffset() : null,
            OnlyOpen = true,
        }, errors);
    }
}
