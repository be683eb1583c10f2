using System.Text.Json;

namespace Generation.Api.Generations;

/// <summary>A submit request as read from HTTP.</summary>
/// <param name="ClientKey">The idempotency key; made here when the client sent none.</param>
/// <param name="Model">As sent; empty when missing.</param>
/// <param name="Params">As sent; an empty object when missing.</param>
/// <param name="Errors">Errors of the fields around the parameters.</param>
public sealed record SubmitCommand(string ClientKey, string Model, JsonElement Params, Dictionary<string, string[]> Errors)
{
    public byte[] Fingerprint { get; } = Core.Submit.Fingerprint.Of(Model, Params);

    /// <summary>The owner of the session, when that is not the caller.</summary>
    public Guid? UserId { get; init; }

    /// <summary>The session that is retried.</summary>
    public Guid? RetryOf { get; init; }

    /// <summary>The idempotency key is invalid, so no session can have been accepted under it.</summary>
    public bool HasInvalidKey => Errors.ContainsKey("clientKey") || Errors.ContainsKey("Idempotency-Key");
}

/// <summary>An accepted request, new or replayed.</summary>
public sealed record Accepted(Guid SessionId, string ClientKey, Guid ReservationId, long CreditsHeld, bool Replayed);

/// <summary>Endpoint metadata: the endpoint stores a session.</summary>
public sealed class SubmitEndpoint;
