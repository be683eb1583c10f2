using System.Text.Json;
using Generation.Api.Errors;
using Generation.Core.Outbox;
using Generation.Core.Submit;
using Microsoft.AspNetCore.Http.HttpResults;

namespace Generation.Api.Generations;

/// <summary>A submit request as read from HTTP.</summary>
/// <param name="ClientKey">The idempotency key; made here when the client sent none.</param>
/// <param name="Model">As sent; empty when missing.</param>
/// <param name="Params">As sent; an empty object when missing.</param>
/// <param name="Errors">Errors of the fields around the parameters.</param>
public sealed record SubmitCommand(string ClientKey, string Model, JsonElement Params, Dictionary<string, string[]> Errors)
{
    public byte[] Fingerprint { get; } = Core.Submit.Fingerprint.Of(Model, Params);

    public Priority Priority { get; init; }

    /// <summary>The owner of the session, when that is not the caller.</summary>
    public Guid? UserId { get; init; }

    /// <summary>The session that is retried.</summary>
    public Guid? RetryOf { get; init; }

    /// <summary>The idempotency key is invalid, so no session can have been accepted under it.</summary>
    public bool HasInvalidKey => Errors.ContainsKey("clientKey") || Errors.ContainsKey("Idempotency-Key");

    /// <summary>
    /// The command that retries a session for its user. Without an idempotency key of the client's, retrying twice makes one session.
    /// </summary>
    public static (SubmitCommand? Command, ProblemHttpResult? Refusal) Retry(
        HttpContext context, Guid user, Guid sessionId, string model, JsonElement given)
    {
        ArgumentNullException.ThrowIfNull(context);
        var errors = new Dictionary<string, string[]>(StringComparer.Ordinal);
        var key = IdempotencyKey.Read(context, errors) ?? $"retry-{sessionId}";
        return errors.Count > 0 ? (null, Problems.Invalid(errors)) : (Retry(user, sessionId, model, given, key), null);
    }

    /// <summary>The command that makes a session again.</summary>
    public static SubmitCommand Retry(Guid user, Guid sessionId, string model, JsonElement given, string key) =>
        new(key, model, given, new Dictionary<string, string[]>(StringComparer.Ordinal)) { UserId = user, RetryOf = sessionId };
}

/// <summary>An accepted request, new or replayed.</summary>
public sealed record Accepted(Guid SessionId, string ClientKey, Guid ReservationId, long CreditsHeld, bool Replayed)
{
    /// <summary>What estimates are made from; null of a replay.</summary>
    public OpenJob? Job { get; init; }
}

/// <summary>Endpoint metadata: the endpoint stores a session.</summary>
public sealed class SubmitEndpoint;
