using System.Diagnostics;
using System.Text.Json;
using System.Text.Json.Nodes;
using Generation.Api.Identity;
using Generation.Api.Settings;
using Generation.Core;
using Generation.Core.Catalog;
using Generation.Core.Sessions;
using Generation.Core.Settings;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Http.HttpResults;

namespace Generation.Api.Sessions;

/// <summary>What a client asked for, as far as it could be read.</summary>
/// <param name="ClientKey">The idempotency key; made here when the client sent none.</param>
/// <param name="Model">As sent; empty when missing.</param>
/// <param name="Params">As sent; an empty object when missing.</param>
/// <param name="Errors">What is wrong with the frame around the parameters.</param>
public sealed record Asked(string ClientKey, string Model, JsonElement Params, Dictionary<string, string[]> Errors)
{
    public byte[] Fingerprint { get; } = Core.Sessions.Fingerprint.Of(Model, Params);

    /// <summary>No session can have been accepted under this key, so there is nothing to replay.</summary>
    public bool HasImpossibleKey => Errors.ContainsKey("clientKey") || Errors.ContainsKey("Idempotency-Key");
}

/// <summary>An accepted request, new or replayed.</summary>
public sealed record Accepted(Guid SessionId, string ClientKey, Guid ReservationId, long CreditsHeld, bool Replayed);

/// <summary>
/// The way in: read → check → price → one transaction → answer. Refusals come in the order 401, replay, 400 (404, 410), 402: whoever
/// repeats a request that was accepted gets the first answer again, also when it would be refused today.
/// </summary>
public sealed class Submitting(
    ModelRegistry registry, PriceList prices, SubmitWriter writer, SessionReader sessions, AppSettings settings, MockOverrides overrides,
    ApiOptions options, TimeProvider time)
{
    private const int MaxKeyLength = 200;

    /// <summary>A name that stands twice means one thing to a proxy and another to us: refused.</summary>
    private static readonly JsonDocumentOptions Strict = new() { AllowDuplicateProperties = false };

    private static readonly JsonElement NoParams = JsonSerializer.SerializeToElement(new { });

    /// <summary>Reads <c>{ model, params, clientKey }</c>.</summary>
    public async Task<(Asked? Asked, IResult? Refusal)> ReadAsync(HttpContext context, CancellationToken ct)
    {
        var (body, refusal) = await ReadBodyAsync(context, ct);
        if (refusal is not null)
        {
            return (null, refusal);
        }

        var errors = new Dictionary<string, string[]>(StringComparer.Ordinal);
        var model = "";
        if (!body.TryGetProperty("model", out var named) || named.ValueKind != JsonValueKind.String || named.GetString() is not { Length: > 0 and <= 100 } name)
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
    public async Task<(Asked? Asked, IResult? Refusal)> ReadFlatAsync(HttpContext context, string? tool, CancellationToken ct)
    {
        var (body, refusal) = await ReadBodyAsync(context, ct);
        if (refusal is not null)
        {
            return (null, refusal);
        }

        var errors = new Dictionary<string, string[]>(StringComparer.Ordinal);
        if (registry.DefaultOf(tool ?? "seedream4") is not { } byDefault)
        {
            return (null, Problems.Of(StatusCodes.Status404NotFound, "tool_not_found", $"There is no tool '{tool}'. GET /api/models lists the models with their tools."));
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

    /// <summary>Accepts the request or says why not.</summary>
    public async Task<(Accepted? Accepted, IResult? Refusal)> SubmitAsync(HttpContext context, Asked asked, CancellationToken ct)
    {
        var started = time.GetTimestamp();
        var user = context.Caller().UserId;
        var (request, refusal) = await CheckAsync(context, user, asked, ct);
        if (refusal is not null)
        {
            if (asked.HasImpossibleKey)
            {
                return (null, refusal);
            }

            return await sessions.FindByKeyAsync(user, asked.ClientKey, ct) is not { } known ? (null, refusal)
                : known.RequestHash.AsSpan().SequenceEqual(asked.Fingerprint) ? (new Accepted(known.Session.SessionId, asked.ClientKey, known.ReservationId, known.Session.Held, true), null)
                : (null, KeyReused());
        }

        var result = await writer.SubmitAsync(request!, ct);
        Telemetry.SubmitDuration.Record(
            time.GetElapsedTime(started).TotalSeconds, new KeyValuePair<string, object?>("outcome", result.Outcome.ToString().ToLowerInvariant()));
        Activity.Current?.SetTag("session.id", result.SessionId);
        return result.Outcome switch
        {
            SubmitOutcome.Accepted or SubmitOutcome.Replayed =>
                (new Accepted(result.SessionId, asked.ClientKey, result.ReservationId, result.HeldCredits, result.Outcome == SubmitOutcome.Replayed), null),
            SubmitOutcome.Conflict => (null, KeyReused()),
            SubmitOutcome.NotEnoughCredits => (null, NotEnough(result)),
            SubmitOutcome.NoAccount => (null, NotEnough(result with { HeldCredits = request!.Price.Credits * request.Outputs })),
            SubmitOutcome.Frozen => (null, Problems.Of(StatusCodes.Status403Forbidden, "account_frozen", "This account is frozen. Write to support.")),
            SubmitOutcome.Overloaded => (null, Problems.Later(context, "overloaded", "Too many requests are waiting already. Nothing was stored; try again.")),
            _ => (null, Problems.Later(context, "database_unavailable", "The database does not answer at the moment. Try again with the same key: it cannot be charged twice.")),
        };
    }

    private async Task<(SubmitRequest? Request, IResult? Refusal)> CheckAsync(HttpContext context, Guid user, Asked asked, CancellationToken ct)
    {
        if (asked.Errors.ContainsKey("model"))
        {
            return (null, Problems.Invalid(asked.Errors)); // without a model there is nothing to hold the parameters against
        }

        if (registry.Find(asked.Model) is not { } model)
        {
            return (null, Problems.Of(StatusCodes.Status404NotFound, "model_not_found", $"There is no model '{asked.Model}'. GET /api/models lists them."));
        }

        if (model.Lifecycle == ModelLifecycle.Retired)
        {
            return (null, Problems.Of(StatusCodes.Status410Gone, "model_retired", $"{model.Id} is no longer offered. Use {model.Successor}.", ("successor", model.Successor)));
        }

        var errors = asked.Errors;
        var input = errors.ContainsKey("params") ? [] : model.Validate(asked.Params, errors);
        if (errors.Count > 0)
        {
            return (null, Problems.Invalid(errors));
        }

        if (!overrides.TryRead(context, out var mock))
        {
            return (null, Problems.Of(StatusCodes.Status403Forbidden, "mock_override_invalid", $"The token in {MockOverrides.Header} is not ours, or is over."));
        }

        var resolution = input["size"] is { } size ? SizeParameter.Resolution(size.GetValue<string>()) : null;
        if (await prices.FindAsync(model.Id, resolution, ct) is not { } price)
        {
            return (null, Problems.Of(StatusCodes.Status404NotFound, "model_without_price", $"{model.Id} has no price and cannot be sold."));
        }

        input["providerModel"] = model.ProviderModel;
        return (new SubmitRequest
        {
            UserId = user,
            ClientKey = asked.ClientKey,
            RequestHash = asked.Fingerprint,
            Model = model,
            Params = asked.Params.GetRawText(),
            InputSettings = input.ToJsonString(),
            Mock = mock ?? await settings.MockModeAsync(ct),
            Outputs = Model.Outputs(input),
            Price = price,
            Lifetime = options.SessionLifetime,
            TraceParent = Telemetry.CurrentTraceParent,
        }, null);
    }

    private async Task<(JsonElement Body, IResult? Refusal)> ReadBodyAsync(HttpContext context, CancellationToken ct)
    {
        if (!context.Request.HasJsonContentType())
        {
            return (default, Problems.Of(StatusCodes.Status415UnsupportedMediaType, "unsupported_media_type", "Send JSON, with Content-Type: application/json."));
        }

        if (context.Features.Get<IHttpMaxRequestBodySizeFeature>() is { IsReadOnly: false } limit)
        {
            limit.MaxRequestBodySize = options.MaxBodyBytes;
        }

        JsonElement body;
        try
        {
            using var document = await JsonDocument.ParseAsync(context.Request.Body, Strict, ct);
            body = document.RootElement.Clone();
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException) // the latter: a name with half a surrogate pair
        {
            return (default, Problems.Of(StatusCodes.Status400BadRequest, "malformed_json", $"The body is not valid JSON: {e.Message}"));
        }

        return body.ValueKind != JsonValueKind.Object ? (default, Problems.Of(StatusCodes.Status400BadRequest, "malformed_json", "The body must be a JSON object."))
            : !IsStorable(body) ? (default, Problems.Of(StatusCodes.Status400BadRequest, "malformed_json", "The body has a string with U+0000 or half a surrogate pair in it."))
            : (body, null);
    }

    /// <summary>The key from the header or the body; both may be sent if they agree.</summary>
    private static (Asked? Asked, IResult? Refusal) Frame(HttpContext context, JsonElement body, string model, JsonElement given, Dictionary<string, string[]> errors)
    {
        var header = context.Request.Headers["Idempotency-Key"].ToString();
        var field = body.TryGetProperty("clientKey", out var sent) && sent.ValueKind == JsonValueKind.String ? sent.GetString()! : "";
        foreach (var (name, key, isSent) in new[]
        {
            ("Idempotency-Key", header, context.Request.Headers.ContainsKey("Idempotency-Key")),
            ("clientKey", field, sent.ValueKind != JsonValueKind.Undefined),
        })
        {
            // An empty key is refused, not replaced: who sends it believes to be safe from paying twice.
            if (isSent && (key.Length is 0 or > MaxKeyLength || key.AsSpan().IndexOfAnyExceptInRange(' ', '~') >= 0))
            {
                errors[name] = [$"must be a string of 1 to {MaxKeyLength} printable ASCII characters"];
            }
        }

        if (header.Length > 0 && field.Length > 0 && header != field)
        {
            return (null, Problems.Of(StatusCodes.Status400BadRequest, "idempotency_key_mismatch", "The header Idempotency-Key and the field clientKey differ. Send one of them.",
                ("errors", new Dictionary<string, string[]>(StringComparer.Ordinal) { ["clientKey"] = ["differs from the header Idempotency-Key"] })));
        }

        var chosen = header.Length > 0 ? header : field.Length > 0 ? field : Guid.CreateVersion7().ToString();
        return (new Asked(chosen, model, given, errors), null);
    }

    /// <summary>Whether Postgres can store every string in it: no U+0000, no lone surrogates.</summary>
    private static bool IsStorable(JsonElement value)
    {
        try
        {
            return value.ValueKind switch
            {
                JsonValueKind.Object => value.EnumerateObject().All(f => !f.Name.Contains('\0') && IsStorable(f.Value)),
                JsonValueKind.Array => value.EnumerateArray().All(IsStorable),
                JsonValueKind.String => !value.GetString()!.Contains('\0'),
                _ => true,
            };
        }
        catch (InvalidOperationException)
        {
            return false; // half a surrogate pair: the reader refuses to make a string of it
        }
    }

    private static ProblemHttpResult KeyReused() => Problems.Of(
        StatusCodes.Status422UnprocessableEntity, "idempotency_key_reused",
        "This idempotency key was used for a request with another body. Use a new key for a new request.");

    private static ProblemHttpResult NotEnough(SubmitResult result) => Problems.Of(
        StatusCodes.Status402PaymentRequired, "insufficient_credits",
        result.Available + result.Reserved >= result.HeldCredits
            ? $"This needs {result.HeldCredits} credits; you have {result.Available}, and {result.Reserved} more are held by running jobs. Wait for one to end, or buy more."
            : $"This needs {result.HeldCredits} credits; you have {result.Available}. Buy more, or ask for less.",
        ("available", result.Available), ("needed", result.HeldCredits), ("held", result.Reserved));
}
