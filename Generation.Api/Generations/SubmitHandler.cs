using System.Diagnostics;
using System.Text.Json;
using System.Text.Json.Nodes;
using Generation.Api.Admin;
using Generation.Api.Errors;
using Generation.Api.Identity;
using Generation.Api.Overload;
using Generation.Core;
using Generation.Core.Catalog;
using Generation.Core.Credits;
using Generation.Core.Media;
using Generation.Core.Sessions;
using Generation.Core.Settings;
using Generation.Core.Submit;
using Microsoft.AspNetCore.Http.HttpResults;

namespace Generation.Api.Generations;

/// <summary>
/// Handles a submit: read → check → price → one transaction → response. Rejections take precedence in the order 401, replay, 429, 400 (404,
/// 410), 402: repeating an accepted request returns the first response again, also when it would be rejected today. 503 precedes them all.
/// </summary>
public sealed class SubmitHandler(
    ModelRegistry registry, PriceList prices, SubmitWriter writer, SessionReader sessions, CreditReader credits, AppSettings settings,
    Uploads uploads, MockOverrides overrides, RateLimits rates, SubmitOptions submits, ApiOptions options, TimeProvider time)
{
    /// <summary>What a request is refused for before it has a price.</summary>
    public static readonly ProblemCode[] PriceRefusals =
    [
        ProblemCodes.ValidationFailed, ProblemCodes.IdempotencyKeyMismatch, ProblemCodes.ModelNotFound, ProblemCodes.ModelWithoutPrice,
            ProblemCodes.ModelRetired, ProblemCodes.ModelDisabled,
    ];

    /// <summary>What a submit is refused for.</summary>
    public static readonly ProblemCode[] Refusals =
    [
        .. PriceRefusals, ProblemCodes.InsufficientCredits, ProblemCodes.AccountFrozen, ProblemCodes.MockOverrideInvalid,
            ProblemCodes.IdempotencyKeyReused, ProblemCodes.RateLimited,
        ProblemCodes.TooManySessions, ProblemCodes.Overloaded,
    ];

    private const int DisabledRetrySeconds = 60;

    private static readonly JsonElement NoParams = JsonSerializer.SerializeToElement(new { });

    /// <summary>Reads <c>{ model, params, clientKey }</c>.</summary>
    public async Task<(SubmitCommand? Command, ProblemHttpResult? Refusal)> ReadAsync(HttpContext context, CancellationToken ct)
    {
        var (body, refusal) = await JsonBody.ReadAsync(context, options.MaxBodyBytes, ct);
        if (refusal is not null)
        {
            return (null, refusal);
        }

        var errors = new Dictionary<string, string[]>(StringComparer.Ordinal);
        var model = "";
        if (!body.TryGetProperty("model", out var named) || named.ValueKind != JsonValueKind.String
            || named.GetString() is not { Length: > 0 and <= 100 } name)
        {
            errors["model"] = ["is required: the id of a model, see GET /api/models"];
        }
        else
        {
            model = name;
        }

        var given = NoParams;
        if (!body.TryGetProperty("params", out var sent) || sent.ValueKind != JsonValueKind.Object)
        {
            errors["params"] = ["is required: an object with the model's parameters"];
        }
        else
        {
            given = sent;
        }

        foreach (var field in body.EnumerateObject().Where(f => f.Name is not ("model" or "params" or "clientKey")))
        {
            errors[field.Name] = ["is not a field of this request, which has model, params and clientKey"];
        }

        return Frame(context, body, model, given, errors);
    }

    /// <summary>Reads the flat form of the aliases: the parameters beside an optional <c>model</c> and <c>clientKey</c>.</summary>
    public async Task<(SubmitCommand? Command, ProblemHttpResult? Refusal)> ReadFlatAsync(HttpContext context, string? tool, CancellationToken ct)
    {
        var (body, refusal) = await JsonBody.ReadAsync(context, options.MaxBodyBytes, ct);
        if (refusal is not null)
        {
            return (null, refusal);
        }

        var errors = new Dictionary<string, string[]>(StringComparer.Ordinal);
        if (registry.DefaultOf(tool ?? "seedream4") is not { } byDefault)
        {
            return (null, Problems.Of(ProblemCodes.ToolNotFound, $"There is no tool '{tool}'. GET /api/models lists the models with their tools."));
        }

        var model = byDefault.Id;
        if (body.TryGetProperty("model", out var named))
        {
            if (named.ValueKind != JsonValueKind.String)
            {
                errors["model"] = ["must be the id of a model, see GET /api/models; without it the tool's first model is meant"];
            }
            else
            {
                model = named.GetString()!;
                if (tool is not null && registry.Find(model) is { } other && other.Tool != byDefault.Tool)
                {
                    errors["model"] = [$"is not a model of the tool '{byDefault.Tool}'"];
                }
            }
        }

        if (body.TryGetProperty("params", out var nested))
        {
            foreach (var field in body.EnumerateObject().Where(f => f.Name is not ("model" or "params" or "clientKey")))
            {
                errors[field.Name] = ["must stand in params, or the others beside it: not some here and some there"];
            }

            if (nested.ValueKind != JsonValueKind.Object)
            {
                errors["params"] = ["must be an object with the model's parameters"];
            }

            return Frame(context, body, model, nested.ValueKind == JsonValueKind.Object ? nested : NoParams, errors);
        }

        var flat = new JsonObject();
        foreach (var field in body.EnumerateObject().Where(f => f.Name is not ("model" or "clientKey")))
        {
            flat[field.Name] = JsonNode.Parse(field.Value.GetRawText());
        }

        return Frame(context, body, model, JsonSerializer.SerializeToElement(flat), errors);
    }

    /// <summary>
    /// The command that retries a session for its user. Without an idempotency key of the client's, retrying twice makes one session.
    /// </summary>
    public static (SubmitCommand? Command, ProblemHttpResult? Refusal) RetryCommand(
        HttpContext context, Guid user, Guid sessionId, string model, JsonElement given)
    {
        ArgumentNullException.ThrowIfNull(context);
        var errors = new Dictionary<string, string[]>(StringComparer.Ordinal);
        var key = IdempotencyKey.Read(context, errors) ?? $"retry-{sessionId}";
        return errors.Count > 0 ? (null, Problems.Invalid(errors)) : (RetryCommand(user, sessionId, model, given, key), null);
    }

    /// <summary>The command that makes a session again.</summary>
    public static SubmitCommand RetryCommand(Guid user, Guid sessionId, string model, JsonElement given, string key) =>
        new(key, model, given, new Dictionary<string, string[]>(StringComparer.Ordinal)) { UserId = user, RetryOf = sessionId };

    /// <summary>Accepts the request, or returns the problem.</summary>
    public async Task<(Accepted? Accepted, ProblemHttpResult? Refusal)> SubmitAsync(HttpContext context, SubmitCommand command, CancellationToken ct)
    {
        var started = time.GetTimestamp();
        var user = command.UserId ?? context.Caller().UserId;
        var allowance = rates.Take(context.Caller().KeyName);
        allowance.Announce(context.Response.Headers);
        var (request, refusal) = allowance.IsRefused ? (null, TooFast(allowance)) : await CheckAsync(context, user, command, ct);
        if (refusal is not null)
        {
            if (command.HasInvalidKey)
            {
                return (null, refusal);
            }

            return !await sessions.IsKeyKnownAsync(user, command.ClientKey, ct)
                || await sessions.FindByKeyAsync(user, command.ClientKey, ct) is not { } known ? (null, refusal)
                : known.RequestHash.AsSpan().SequenceEqual(command.Fingerprint)
                    ? (new Accepted(known.Session.SessionId, command.ClientKey, known.ReservationId, known.Session.Held, true), null)
                : (null, KeyReused());
        }

        var result = await writer.SubmitAsync(request!, ct);
        Telemetry.SubmitDuration.Record(
            time.GetElapsedTime(started).TotalSeconds, new KeyValuePair<string, object?>("outcome", result.Outcome.ToString().ToLowerInvariant()));
        Activity.Current.SetSession(result.SessionId);
        return result.Outcome switch
        {
            SubmitOutcome.Accepted or SubmitOutcome.Replayed =>
                (new Accepted(result.SessionId, command.ClientKey, result.ReservationId, result.HeldCredits,
                    result.Outcome == SubmitOutcome.Replayed), null),
            SubmitOutcome.Conflict => (null, KeyReused()),
            SubmitOutcome.NotEnoughCredits => (null, await NotEnoughAsync(user, result, ct)),
            SubmitOutcome.NoAccount => (null, await NotEnoughAsync(user, result with { HeldCredits = request!.Price.Credits * request.Outputs }, ct)),
            SubmitOutcome.Frozen => (null, Problems.Of(ProblemCodes.AccountFrozen, "This account is frozen. Write to support.")),
            SubmitOutcome.TooMany => (null, TooMany(context)),
            SubmitOutcome.Overloaded => (null, Overloaded(context)),
            _ => (null, Problems.RetryLater(context, ProblemCodes.DatabaseUnavailable,
                "The database does not answer at the moment. Try again with the same key: it cannot be charged twice.")),
        };
    }

    /// <summary>
    /// Load-shedding middleware, before anything else is done for a request: while submits queue for longer than <c>Submit:StandingWait</c>, new
    /// ones are answered with 503, which costs next to nothing. It applies also to those that would be rejected for another reason.
    /// </summary>
    public static Task ShedAsync(HttpContext context, RequestDelegate next)
    {
        ArgumentNullException.ThrowIfNull(context);
        ArgumentNullException.ThrowIfNull(next);
        return context.GetEndpoint()?.Metadata.GetMetadata<SubmitEndpoint>() is not null
            && context.RequestServices.GetRequiredService<SubmitWriter>().IsOverloaded
            ? Overloaded(context).ExecuteAsync(context)
            : next(context);
    }

    /// <summary>The price of a request, after the same checks as a submit; nothing is held.</summary>
    public async Task<Results<Ok<EstimateView>, ProblemHttpResult>> EstimateAsync(HttpContext context, SubmitCommand command, CancellationToken ct)
    {
        var (quoted, refusal) = await PriceAsync(context, command, ct);
        if (refusal is not null)
        {
            return refusal;
        }

        var (model, quote) = (quoted!.Model, quoted.Quote);
        var balance = await credits.BalanceAsync(context.Caller().UserId, ct);
        return TypedResults.Ok(new EstimateView(
            model.Id, quote.Total,
            [new EstimateItem(model.Kind, quote.Price.Variant, quote.Price.Quality, quote.Price.Credits, quote.Price.Per, quote.Multiplier,
                quote.Outputs, quote.Total)],
            quote.Price.Version, quote.Price.Metering, balance.Available, balance.Available >= quote.Total));
    }

    private static ProblemHttpResult Overloaded(HttpContext context) =>
        Problems.RetryLater(context, ProblemCodes.Overloaded, "Too many requests are waiting already. Nothing was stored; try again.");

    private async Task<(SubmitRequest? Request, ProblemHttpResult? Refusal)> CheckAsync(
        HttpContext context, Guid user, SubmitCommand command, CancellationToken ct)
    {
        var (quoted, refusal) = await PriceAsync(context, command, ct);
        if (refusal is not null)
        {
            return (null, refusal);
        }

        if (!overrides.TryRead(context, out var mock))
        {
            return (null, Problems.Of(ProblemCodes.MockOverrideInvalid, $"The token in {MockOverrides.Header} is not ours, or is over."));
        }

        quoted!.Input["providerModel"] = quoted.Model.ProviderModel;
        return (new SubmitRequest
        {
            UserId = user,
            ClientKey = command.ClientKey,
            RequestHash = command.Fingerprint,
            Model = quoted.Model,
            Params = command.Params.GetRawText(),
            InputSettings = quoted.Input.ToJsonString(),
            Mock = mock ?? await settings.MockModeAsync(ct),
            Outputs = quoted.Quote.Outputs,
            Price = quoted.Quote.PerOutput,
            Lifetime = options.SessionLifetime,
            RetryOf = command.RetryOf,
            TraceParent = Telemetry.CurrentTraceParent,
        }, null);
    }

    /// <summary>Model, parameters and price, or everything that is wrong with them.</summary>
    private async Task<(QuotedRequest? Quoted, ProblemHttpResult? Refusal)> PriceAsync(
        HttpContext context, SubmitCommand command, CancellationToken ct)
    {
        if (command.Errors.ContainsKey("model"))
        {
            return (null, Problems.Invalid(command.Errors)); // without a model there is nothing to hold the parameters against
        }

        if (registry.Find(command.Model) is not { } model)
        {
            return (null, Problems.Of(ProblemCodes.ModelNotFound, $"There is no model '{command.Model}'. GET /api/models lists them."));
        }

        if (model.Lifecycle == ModelLifecycle.Retired)
        {
            return (null, Problems.Of(ProblemCodes.ModelRetired, $"{model.Id} is no longer offered. Use {model.Successor}.", (
                "successor", model.Successor)));
        }

        if ((await settings.DisabledModelsAsync(ct)).Contains(model.Id))
        {
            return (null, Problems.RetryLater(context, ProblemCodes.ModelDisabled,
                $"{model.Id} is switched off at the moment. Try another model, or later.", DisabledRetrySeconds));
        }

        var errors = command.Errors;
        var input = errors.ContainsKey("params") ? [] : model.Validate(command.Params, errors);
        await CheckUploadsAsync(command.UserId ?? context.Caller().UserId, input, errors, ct);
        if (errors.Count > 0)
        {
            return (null, Problems.Invalid(errors));
        }

        if (model.Lifecycle == ModelLifecycle.Deprecated)
        {
            Announce(context.Response.Headers, model);
        }

        return await prices.QuoteAsync(model, input, ct) is { } quote
            ? (new QuotedRequest(model, input, quote), null)
            : (null, Problems.Of(ProblemCodes.ModelWithoutPrice, $"{model.Id} has no price and cannot be sold."));
    }

    /// <summary>Only the user's own uploads are visible.</summary>
    private async Task CheckUploadsAsync(Guid user, JsonObject input, Dictionary<string, string[]> errors, CancellationToken ct)
    {
        var named = Uploads.In(input).ToList();
        if (named.Count == 0)
        {
            return;
        }

        var found = await uploads.FindAsync(user, named.Select(n => n.UploadId), ct);
        foreach (var (parameter, id) in named.Where(n => !found.ContainsKey(n.UploadId)))
        {
            errors[$"params.{parameter}"] = [$"names {Uploads.Scheme}{id}, which is not there, or not yours"];
        }
    }

    /// <summary>The key from the header or the body; both may be sent if they agree.</summary>
    private static (SubmitCommand? Command, ProblemHttpResult? Refusal) Frame(
        HttpContext context, JsonElement body, string model, JsonElement given, Dictionary<string, string[]> errors)
    {
        var header = IdempotencyKey.Read(context, errors) ?? "";
        var field = "";
        if (body.TryGetProperty("clientKey", out var sent))
        {
            field = sent.ValueKind == JsonValueKind.String ? sent.GetString()! : "";
            if (!IdempotencyKey.IsValid(field))
            {
                errors["clientKey"] = [IdempotencyKey.Problem];
            }
        }

        if (header.Length > 0 && field.Length > 0 && header != field)
        {
            return (null, Problems.Of(ProblemCodes.IdempotencyKeyMismatch,
                "The header Idempotency-Key and the field clientKey differ. Send one of them.",
                ("errors", new Dictionary<string, string[]>(StringComparer.Ordinal)
                {
                    ["clientKey"] =
                    ["differs from the header Idempotency-Key"]
                })));
        }

        var chosen = header.Length > 0 ? header : field.Length > 0 ? field : Guid.CreateVersion7().ToString();
        return (new SubmitCommand(chosen, model, given, errors), null);
    }

    private static ProblemHttpResult TooFast(Allowance allowance) => Problems.Of(ProblemCodes.RateLimited,
        $"{(allowance.Policy == "key" ? "This key" : "The service")} takes {allowance.Limit} submits a minute. Nothing was stored; try again in "
            + $"{allowance.ResetSeconds} s.",
        ("limit", allowance.Limit), ("policy", allowance.Policy));

    private ProblemHttpResult TooMany(HttpContext context)
    {
        context.Response.Headers.RetryAfter = "5";
        return Problems.Of(ProblemCodes.TooManySessions,
            $"You have {submits.OutstandingPerUser} generations that have not ended, which is as many as one may have. Nothing was stored; try "
                + "again when some have ended.",
            ("limit", submits.OutstandingPerUser));
    }

    private static ProblemHttpResult KeyReused() => Problems.Of(ProblemCodes.IdempotencyKeyReused,
        "This idempotency key was used for a request with another body. Use a new key for a new request.");

    /// <summary>
    /// The end of a model, where programs look for it: Deprecation (RFC 9745), Sunset (RFC 8594), and a link to the model's successor.
    /// </summary>
    private static void Announce(IHeaderDictionary headers, Model model)
    {
        static DateTimeOffset Midnight(DateOnly day) => new(day.ToDateTime(TimeOnly.MinValue), TimeSpan.Zero);
        if (model.DeprecatedSince is { } since)
        {
            headers["Deprecation"] = $"@{Midnight(since).ToUnixTimeSeconds()}";
        }

        if (model.Sunset is { } lastDay)
        {
            headers["Sunset"] = Midnight(lastDay.AddDays(1)).ToString("R");
        }

        if (model.Successor is { } successor)
        {
            headers.Append("Link", $"</api/models#{Uri.EscapeDataString(successor)}>; rel=\"successor-version\"");
        }
    }

    /// <summary>402 with one code, because a client does the same first, and <c>reason</c>: not_enough (buy more) or held (waiting helps).</summary>
    private async Task<ProblemHttpResult> NotEnoughAsync(Guid user, SubmitResult result, CancellationToken ct)
    {
        if (result.Available + result.Reserved < result.HeldCredits)
        {
            return Problems.Of(ProblemCodes.InsufficientCredits,
                $"This needs {result.HeldCredits} credits; you have "
                    + $"{result.Available}"
                    + $"{(result.Reserved > 0 ? $", and even with the {result.Reserved} that running jobs hold it is not enough" : "")}. "
                    + "Buy more, or ask for less.",
                ("reason", "not_enough"), ("available", result.Available), ("needed", result.HeldCredits), ("held", result.Reserved));
        }

        var holds = await credits.OpenHoldsAsync(user, ct);
        return Problems.Of(ProblemCodes.InsufficientCredits,
            $"This needs {result.HeldCredits} credits; you have {result.Available}, and {result.Reserved} more are held by {holds.RunningJobs} "
                + $"running job{(holds.RunningJobs == 1 ? "" : "s")}. "
            + "What they do not use comes back when they end; wait, cancel one, or buy more.",
            ("reason", "held"), ("available", result.Available), ("needed", result.HeldCredits), ("held", result.Reserved),
                ("runningJobs", holds.RunningJobs), ("earliestRelease", holds.EarliestRelease));
    }

    private sealed record QuotedRequest(Model Model, JsonObject Input, Quote Quote);
}
