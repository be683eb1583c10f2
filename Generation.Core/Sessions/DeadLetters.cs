using System.ComponentModel.DataAnnotations;
using System.Text.Json;
using System.Text.Json.Serialization;
using Generation.Core.Database;
using Npgsql;
using NpgsqlTypes;

namespace Generation.Core.Sessions;

/// <summary>A session that failed for a reason that was not the user's.</summary>
public sealed record DeadLetter
{
    public required Guid SessionId { get; init; }

    public required Guid UserId { get; init; }

    public required string User { get; init; }

    public required string Model { get; init; }

    public required string Provider { get; init; }

    [AllowedValues("image", "video", "gpu")]
    public required string Lane { get; init; }

    /// <summary>The stable code.</summary>
    public required string Reason { get; init; }

    /// <summary>What the user was told.</summary>
    public string? LastError { get; init; }

    public required int Attempts { get; init; }

    public required int LostLeases { get; init; }

    public required DateTimeOffset CreatedAt { get; init; }

    public required DateTimeOffset FailedAt { get; init; }

    public required int RequestedOutputs { get; init; }

    /// <summary>All of what was held went back.</summary>
    public required long ReleasedCredits { get; init; }

    public Guid? RetryOf { get; init; }

    /// <summary>The session that was made from it since.</summary>
    public Guid? RedrivenAs { get; init; }

    /// <summary>The trace of the session, as in its own view.</summary>
    public string? TraceId => Telemetry.TraceIdOf(TraceParent);

    [JsonIgnore]
    public string? TraceParent { get; init; }

    /// <summary>The last 30 calls and events, oldest first.</summary>
    public JsonElement? History { get; init; }

    /// <summary>As the user sent them.</summary>
    public required JsonElement Params { get; init; }
}

/// <summary>Which dead letters; null is any.</summary>
public sealed record DeadLetterFilter
{
    public string? Code { get; init; }

    public string? Model { get; init; }

    public string? Provider { get; init; }

    public DateTimeOffset? Before { get; init; }

    public IReadOnlyList<Guid>? SessionIds { get; init; }

    /// <summary>Leaves out those of which a new session was made.</summary>
    public bool OnlyOpen { get; init; }
}

/// <summary>Reads what has failed for good, for operators.</summary>
public sealed class DeadLetters(NpgsqlDataSource database)
{
    public async Task<IReadOnlyList<DeadLetter>> ListAsync(DeadLetterFilter filter, int limit, CancellationToken ct)
    {
        await using var command = database.CreateCommand(Sql.Text("Sessions/dead_letters.sql"));
        void Add(NpgsqlDbType type, object? value) => command.Parameters.Add(
            new NpgsqlParameter { NpgsqlDbType = type, Value = value ?? DBNull.Value });
        Add(NpgsqlDbType.Text, filter.Code);
        Add(NpgsqlDbType.Text, filter.Model);
        Add(NpgsqlDbType.Text, filter.Provider);
        Add(NpgsqlDbType.TimestampTz, filter.Before?.ToUniversalTime());
        Add(NpgsqlDbType.Array | NpgsqlDbType.Uuid, filter.SessionIds?.ToArray());
        Add(NpgsqlDbType.Boolean, filter.OnlyOpen);
        Add(NpgsqlDbType.Integer, limit);
        var found = new List<DeadLetter>();
        await using var reader = await command.ExecuteReaderAsync(ct);
        while (await reader.ReadAsync(ct))
        {
            found.Add(new DeadLetter
            {
                SessionId = reader.GetGuid(0),
                UserId = reader.GetGuid(1),
                User = reader.GetString(2),
                Model = reader.GetString(3),
                Provider = reader.GetString(4),
                Lane = reader.GetString(5),
                Reason = reader.GetString(6),
                LastError = await reader.IsDBNullAsync(7, ct) ? null : reader.GetString(7),
                Attempts = reader.GetInt32(8),
                LostLeases = reader.GetInt32(9),
                CreatedAt = reader.GetFieldValue<DateTimeOffset>(10),
                FailedAt = reader.GetFieldValue<DateTimeOffset>(11),
                RequestedOutputs = reader.GetInt32(12),
                ReleasedCredits = reader.GetInt64(13),
                RetryOf = await reader.IsDBNullAsync(14, ct) ? null : reader.GetGuid(14),
                RedrivenAs = await reader.IsDBNullAsync(15, ct) ? null : reader.GetGuid(15),
                History = await reader.IsDBNullAsync(16, ct) ? null : JsonSerializer.Deserialize<JsonElement>(reader.GetString(16)),
                Params = JsonSerializer.Deserialize<JsonElement>(reader.GetString(17)),
                TraceParent = await reader.IsDBNullAsync(18, ct) ? null : reader.GetString(18),
            });
        }

        return found;
    }
}
