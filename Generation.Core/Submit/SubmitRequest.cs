using System.Buffers;
using System.Security.Cryptography;
using System.Text.Json;
using Generation.Core.Outbox;

namespace Generation.Core.Submit;

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

    public Priority Priority { get; init; }

    /// <summary>What its duration depends on beside the model; see <see cref="Providers.JobVariant"/>.</summary>
    public string Variant { get; init; } = "";

    /// <summary>Slot-seconds that are expected.</summary>
    public double Work => Model.TypicalSeconds * Outputs;

    /// <summary>W3C trace context of the request, which the session keeps.</summary>
    public string? TraceParent { get; init; }
}

/// <summary>Which of a user's own requests come first; between users, shares decide.</summary>
public enum Priority
{
    /// <summary>Somebody waits for it.</summary>
    Interactive,

    /// <summary>Nobody does: it gets a quarter of the user's share.</summary>
    Batch,
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

    /// <summary>Another transaction has the account; nothing was stored.</summary>
    AccountBusy,

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
    SubmitOutcome Outcome, Guid SessionId = default, Guid ReservationId = default, long HeldCredits = 0, long Available = 0, long Reserved = 0)
{
    /// <summary>The outbox row of a session that was accepted now; null for any other outcome.</summary>
    public QueuePlace? Place { get; init; }
}

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
