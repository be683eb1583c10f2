using System.Buffers;
using System.Security.Cryptography;
using System.Text.Json;

namespace Generation.Core.Sessions;

/// <summary>Section <c>Submit</c>: how many requests may wait for the group commit, and for how long.</summary>
public sealed class SubmitOptions
{
    public const string Section = "Submit";

    /// <summary>
    /// Requests that may wait in one Api; default 10,000, a second or two of work. Beyond it requests get 503 immediately instead of a long
    /// wait; too small a value rejects a burst that would have been written in time.
    /// </summary>
    public int QueueLength { get; set; } = 10_000;

    /// <summary>
    /// The longest wait while the queue stands; default 100 ms. Once requests have been queueing for half a second without a break, those that
    /// would wait longer than this get 503 immediately, so that the others keep their latency. A burst may wait longer.
    /// </summary>
    public TimeSpan StandingWait { get; set; } = TimeSpan.FromMilliseconds(100);

    /// <summary>The longest that a request waits for its answer, in the queue and in the database; default 5 s. Then it gets 503.</summary>
    public TimeSpan Patience { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>
    /// Whole seconds that one batch may take in the database; default 3. Then it is rolled back and all who wait get 503; must be less
    /// than <see cref="Patience"/>.
    /// </summary>
    public int StatementTimeoutSeconds { get; set; } = 3;

    /// <summary>How long submits are rejected after the database was found unavailable; default 1 s. Then the next request tries it.</summary>
    public TimeSpan Pause { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>Sessions that one user may have open; default 2,000. One more is refused with 429 until some have ended.</summary>
    public long OutstandingPerUser { get; set; } = 2_000;

    public string? Problem() =>
        OutstandingPerUser < 1 ? "Submit:OutstandingPerUser must be at least 1." :
        QueueLength is < 1 or > 1_000_000 ? "Submit:QueueLength must be from 1 to 1000000."
        : StatementTimeoutSeconds < 1 ? "Submit:StatementTimeoutSeconds must be at least 1."
        : Patience.TotalSeconds <= StatementTimeoutSeconds ? "Submit:Patience must be longer than Submit:StatementTimeoutSeconds."
        : StandingWait <= TimeSpan.Zero ? "Submit:StandingWait must be longer than 0."
        : Pause < TimeSpan.Zero ? "Submit:Pause must not be negative."
        : null;
}

/// <summary>A validated and priced request, on its way into the database.</summary>
public sealed record SubmitRequest
{
    public required Guid UserId { get; init; }

    public required string ClientKey { get; init; }

    /// <summary>See <see cref="Fingerprint"/>.</summary>
    public required byte[] RequestHash { get; init; }

    public required Catalog.Model Model { get; init; }

    /// <summary>As sent, as JSON.</summary>
    public required string Params { get; init; }

    /// <summary>What the handler gets, as JSON.</summary>
    public required string InputSettings { get; init; }

    public required bool Mock { get; init; }

    public required int Outputs { get; init; }

    public required Catalog.Price Price { get; init; }

    /// <summary>From now to the session's deadline.</summary>
    public required TimeSpan Lifetime { get; init; }

    public Guid? RetryOf { get; init; }

    /// <summary>W3C trace context of the request, which the session keeps.</summary>
    public string? TraceParent { get; init; }
}

public enum SubmitOutcome
{
    /// <summary>Committed: session, hold and outbox row are there.</summary>
    Accepted,

    /// <summary>The same key and the same body were accepted before; the answer names that session.</summary>
    Replayed,

    /// <summary>The same key came with another body.</summary>
    Conflict,

    /// <summary>Not enough credits available.</summary>
    NotEnoughCredits,

    /// <summary>The user has as many open sessions as one may have.</summary>
    TooMany,

    /// <summary>The account is frozen.</summary>
    Frozen,

    /// <summary>The user has no credit account.</summary>
    NoAccount,

    /// <summary>Too many are waiting already, or it waited too long; nothing was stored, and nothing will be.</summary>
    Overloaded,

    /// <summary>The database did not answer; whether it committed is not known. The same key asks again safely.</summary>
    Unavailable,
}

/// <param name="Outcome">What became of the request.</param>
/// <param name="SessionId">Of the new session, or of the one replayed.</param>
/// <param name="ReservationId">Its hold.</param>
/// <param name="HeldCredits">What the hold took; for <see cref="SubmitOutcome.NotEnoughCredits"/> what it would have taken.</param>
/// <param name="Available">Credits available after this request.</param>
/// <param name="Reserved">Credits held by the user's open sessions after this request.</param>
public readonly record struct SubmitResult(
    SubmitOutcome Outcome, Guid SessionId = default, Guid ReservationId = default, long HeldCredits = 0, long Available = 0, long Reserved = 0);

public static class Fingerprint
{
    /// <summary>
    /// SHA-256 of the canonical JSON of <c>{model, params}</c> as sent: keys sorted, no insignificant space, numbers and strings as
    /// written. Two bodies with the same meaning to the API have the same fingerprint; defaults are not filled in first, so that a
    /// later change of a default does not turn a replay into a conflict.
    /// </summary>
    public static byte[] Of(string model, JsonElement parameters)
    {
        var buffer = new ArrayBufferWriter<byte>(512);
        using (var writer = new Utf8JsonWriter(buffer))
        {
            writer.WriteStartObject();
            writer.WriteString("model", model);
            writer.WritePropertyName("params");
            WriteCanonical(writer, parameters);
            writer.WriteEndObject();
        }

        return SHA256.HashData(buffer.WrittenSpan);
    }

    private static void WriteCanonical(Utf8JsonWriter writer, JsonElement value)
    {
        switch (value.ValueKind)
        {
            case JsonValueKind.Object:
                writer.WriteStartObject();
                foreach (var field in value.EnumerateObject().OrderBy(f => f.Name, StringComparer.Ordinal))
                {
                    writer.WritePropertyName(field.Name);
                    WriteCanonical(writer, field.Value);
                }

                writer.WriteEndObject();
                break;
            case JsonValueKind.Array:
                writer.WriteStartArray();
                foreach (var item in value.EnumerateArray())
                {
                    WriteCanonical(writer, item);
                }

                writer.WriteEndArray();
                break;
            default:
                value.WriteTo(writer);
                break;
        }
    }
}
