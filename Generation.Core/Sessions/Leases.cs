using System.Text.Json;
using System.Text.Json.Nodes;
using Generation.Core.Database;
using Generation.Core.Realtime;
using Npgsql;
using NpgsqlTypes;

namespace Generation.Core.Sessions;

/// <summary>
/// A session as its holder has it. <paramref name="LeaseToken"/> fences every write. <paramref name="ClaimedAt"/> is the database's clock,
/// like every other time here: compare those with it, and not with the clock of this machine.
/// </summary>
public sealed record ClaimedSession(
    Guid SessionId, Guid UserId, string Model, string Provider, string JobType, string Lane, string Kind, JsonObject Settings, bool Mock,
    int RequestedOutputs, int Attempt, int LostLeases, long LeaseToken, long Version, int Progress,
    DateTimeOffset Deadline, DateTimeOffset CreatedAt, bool CancelRequested, IReadOnlySet<int> StoredOrdinals, IReadOnlyList<ProviderTask> Tasks,
    DateTimeOffset ClaimedAt)
{
    /// <summary>The trace context of the request that made the session, which everything that is done for it continues.</summary>
    public string? TraceParent { get; init; }
}

public enum ProviderTaskState
{
    /// <summary>The call is about to be made, or was; nothing is known of it.</summary>
    Intent,

    /// <summary>The provider has it under a task id.</summary>
    Running,

    /// <summary>The provider delivered; <see cref="ProviderTask.Result"/> says where.</summary>
    Delivered,

    /// <summary>The provider refused for good.</summary>
    Failed,

    /// <summary>The reply was lost and cannot be asked for again.</summary>
    Unknown,

    /// <summary>The provider did not execute it (busy, rate limit); another call may follow.</summary>
    Rejected,
}

/// <summary>A paid call for some outputs of a session.</summary>
public sealed record ProviderTask
{
    public Guid ProviderTaskId { get; init; }

    public int FirstOrdinal { get; init; }

    public int OutputCount { get; init; }

    public ProviderTaskState State { get; init; }

    public string? TaskId { get; init; }

    public string? RequestId { get; init; }

    public DateTimeOffset? Deadline { get; init; }

    /// <summary>What the handler needs to fetch the outputs again: its own shape.</summary>
    public JsonElement? Result { get; init; }

    /// <summary>The name of the failure kind.</summary>
    public string? Failure { get; init; }

    /// <summary>The provider's code.</summary>
    public string? FailureCode { get; init; }

    /// <summary>When the intent was recorded, by the database's clock.</summary>
    public DateTimeOffset CreatedAt { get; init; }

    /// <summary>Whether the provider was given an address to call.</summary>
    public bool TakesCallbacks { get; init; }
}

/// <summary>What one renewal says of a running session.</summary>
/// <param name="SessionId">Which.</param>
/// <param name="LeaseToken">Of the holder.</param>
/// <param name="Progress">Percent.</param>
/// <param name="Phase">What it does.</param>
/// <param name="HasProgress">Whether anything has happened since the last renewal, or a call is under way within its time.</param>
public readonly record struct Renewal(Guid SessionId, long LeaseToken, int Progress, string Phase, bool HasProgress);

/// <summary>What became of an output's row.</summary>
/// <param name="Version">Of the session, now.</param>
/// <param name="IsDuplicate">The ordinal had another object, which stays.</param>
public readonly record struct Stored(long Version, bool IsDuplicate);

/// <summary>
/// Invariant 6, one holder writes: every statement here that changes a session compares the lease token under the row lock, and answers
/// null or false when it has grown. Who gets that answer has lost the session and must stop.
/// </summary>
public sealed class Leases
{
    /// <summary>Outputs a transaction.</summary>
    private const int MaxOutputs = 64;

    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web)
    {
        Converters = { new System.Text.Json.Serialization.JsonStringEnumConverter() },
    };

    private readonly NpgsqlDataSource database;
    private readonly ChangeNotifier notifier;
    private readonly TimeProvider time;
    private readonly GroupCommit<StoredOutput, Stored?> outputs;

    public Leases(NpgsqlDataSource database, ChangeNotifier notifier, TimeProvider time)
    {
        (this.database, this.notifier, this.time) = (database, notifier, time);
        outputs = new GroupCommit<StoredOutput, Stored?>(
            new GroupCommitOptions<StoredOutput>(MaxOutputs) 
            {
                Key = output => (output.Session.SessionId, output.Ordinal),
                Owner = output => output.Session.UserId,
            },
            (group, _) => StoreAsync(group), time);
    }

    /// <summary>
    /// Claims those of the sessions that may be worked on now, and removes the outbox rows that led here, whatever became of the claim:
    /// a row whose session is not claimable has nothing left to say.
    /// </summary>
    public async Task<IReadOnlyList<ClaimedSession>> ClaimAsync(
        IReadOnlyCollection<Guid> sessionIds, IReadOnlyCollection<long> outboxIds, string worker, TimeSpan lease, CancellationToken ct)
    {
        await using var batch = database.CreateBatch();
        batch.BatchCommands.Add(PlannerSettings.Command());
        batch.BatchCommands.Add(new NpgsqlBatchCommand(Sql.Text("Sessions/claim.sql"))
        {
            Parameters = { new() { Value = sessionIds.ToArray() }, new() { Value = worker }, new() { Value = lease } },
        });
        batch.BatchCommands.Add(new NpgsqlBatchCommand(Sql.Text("Outbox/delete_claimed.sql"))
        {
            Parameters =
            { new() { Value = outboxIds.ToArray() } }
        });

        var claimed = new List<ClaimedSession>();
        await using var reader = await batch.ExecuteReaderAsync(ct);
        await reader.NextResultAsync(ct);
        while (await reader.ReadAsync(ct))
        {
            claimed.Add(new ClaimedSession(
                SessionId: reader.GetGuid(0), UserId: reader.GetGuid(1), Model: reader.GetString(2), Provider: reader.GetString(3),
                JobType: reader.GetString(4), Lane: reader.GetString(5), Kind: reader.GetString(6),
                Settings: JsonNode.Parse(reader.GetString(7))!.AsObject(), Mock: reader.GetBoolean(8), RequestedOutputs: reader.GetInt32(9),
                Attempt: reader.GetInt32(11), LostLeases: reader.GetInt32(12), LeaseToken: reader.GetInt64(13), Version: reader.GetInt64(14),
                Progress: reader.GetInt16(15), Deadline: reader.GetFieldValue<DateTimeOffset>(16),
                    CreatedAt: reader.GetFieldValue<DateTimeOffset>(17),
                CancelRequested: reader.GetBoolean(18),
                StoredOrdinals: await reader.IsDBNullAsync(19, ct) ? new HashSet<int>() : reader.GetFieldValue<int[]>(19).ToHashSet(),
                Tasks: await reader.IsDBNullAsync(20, ct) ? [] : JsonSerializer.Deserialize<List<ProviderTask>>(reader.GetString(20), Json)!,
                ClaimedAt: reader.GetFieldValue<DateTimeOffset>(21))
            { TraceParent = await reader.IsDBNullAsync(22, ct) ? null : reader.GetString(22) });
        }

        await reader.NextResultAsync(ct);
        while (await reader.ReadAsync(ct))
        {
            if (!await reader.IsDBNullAsync(1, ct))
            {
                Telemetry.PickupDuration.Record(reader.GetDouble(1), new KeyValuePair<string, object?>("lane", reader.GetString(0)));
            }
        }

        foreach (var session in claimed)
        {
            notifier.Changed(ChangeChannel.SessionChanged, new Change(session.SessionId, session.UserId, session.Version));
        }

        return claimed;
    }

    /// <summary>Renews; the answer holds the sessions that are still the caller's, and whether cancel was asked for them.</summary>
    public async Task<Dictionary<Guid, bool>> RenewAsync(IReadOnlyList<Renewal> renewals, TimeSpan lease, CancellationToken ct)
    {
        await using var batch = database.CreateBatch();
        batch.Timeout = 5;
        batch.BatchCommands.Add(PlannerSettings.Command());
        batch.BatchCommands.Add(new NpgsqlBatchCommand(Sql.Text("Sessions/renew.sql"))
        {
            Parameters =
            {
                JsonRows.Parameter(renewals),
                new() { Value = lease },
            },
        });
        var held = new Dictionary<Guid, bool>(renewals.Count);
        await using var reader = await batch.ExecuteReaderAsync(ct);
        await reader.NextResultAsync(ct);
        while (await reader.ReadAsync(ct))
        {
            held[reader.GetGuid(0)] = reader.GetBoolean(1);
        }

        return held;
    }

    /// <summary>Waits for a provider, without a lease: claimable again after <paramref name="delay"/>. False when the lease was lost.</summary>
    public Task<bool> SuspendAsync(ClaimedSession session, TimeSpan delay, CancellationToken ct) =>
        ReleaseAsync(session, "suspend", delay, null, null, ct);

    /// <summary>Failed, comes again after <paramref name="delay"/>. False when the lease was lost.</summary>
    public Task<bool> RetryAsync(ClaimedSession session, TimeSpan delay, string errorCode, string errorMessage, CancellationToken ct) =>
        ReleaseAsync(session, "retry", delay, errorCode, errorMessage, ct);

    /// <summary>Nothing was tried: comes again after <paramref name="delay"/>, and it does not count. False when the lease was lost.</summary>
    public Task<bool> PostponeAsync(ClaimedSession session, TimeSpan delay, CancellationToken ct) =>
        ReleaseAsync(session, "postpone", delay, null, null, ct);

    /// <summary>Given back unfinished by a worker that shuts down; does not count as a failure. False when the lease was lost.</summary>
    public Task<bool> HandBackAsync(ClaimedSession session, CancellationToken ct) =>
        ReleaseAsync(session, "handback", TimeSpan.Zero, null, null, ct);

    /// <summary>
    /// Records a stored output; null when the lease was lost. An ordinal that was stored before keeps its first object. Safe to repeat.
    /// </summary>
    /// <param name="output">Which.</param>
    /// <param name="ct">Stops waiting, not the commit.</param>
    public async Task<Stored?> StoreMediaAsync(StoredOutput output, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(output);
        var stored = await outputs.WriteAsync(output, ct);
        if (stored is { } answer)
        {
            notifier.Changed(ChangeChannel.ImagesAttached, new Change(output.Session.SessionId, output.Session.UserId, answer.Version));
        }

        return stored;
    }

    /// <summary>
    /// The intent to make a paid call, before it is made. Null when the lease was lost or the call was made before: then it must not be
    /// made (again). Safe to repeat with the same <paramref name="providerTaskId"/>: an intent whose reply was lost is found.
    /// </summary>
    public async Task<Guid?> RecordIntentAsync(
        ClaimedSession session, int firstOrdinal, int outputCount, TimeSpan deadline, byte[]? callbackTokenHash, CancellationToken ct,
        Guid? providerTaskId = null)
    {
        var id = providerTaskId ?? Guid.CreateVersion7(time.GetUtcNow());
        await using var command = database.CreateCommand(Sql.Text("Sessions/record_intent.sql"));
        command.Parameters.AddWithValue(session.SessionId);
        command.Parameters.AddWithValue(session.LeaseToken);
        command.Parameters.AddWithValue(id);
        command.Parameters.AddWithValue(session.Provider);
        command.Parameters.AddWithValue(firstOrdinal);
        command.Parameters.AddWithValue(outputCount);
        Add(command, NpgsqlDbType.Bytea, callbackTokenHash);
        command.Parameters.AddWithValue(deadline);
        if (await command.ExecuteScalarAsync(ct) is Guid recorded)
        {
            return recorded;
        }

        await using var lookup = database.CreateCommand(
            """
            SELECT t.provider_task_id
            FROM provider_tasks AS t
            JOIN generation_sessions AS s USING (session_id)
            WHERE t.provider_task_id = $1 AND t.state = 'intent' AND s.lease_token = $2 AND s.lease_until IS NOT NULL
            """);
        lookup.Parameters.AddWithValue(id);
        lookup.Parameters.AddWithValue(session.LeaseToken);
        return await lookup.ExecuteScalarAsync(ct) as Guid?;
    }

    /// <summary>What came of a call. False when the lease was lost: then the result counts for nothing.</summary>
    public Task<bool> RecordTaskAsync(
        ClaimedSession session, Guid providerTaskId, ProviderTaskState state, CancellationToken ct,
        string? taskId = null, string? requestId = null, string? result = null, string? failure = null, string? failureCode = null) =>
            DataErrors.ExecuteAsync(database, async connection =>
    {
        await using var command = new NpgsqlCommand(Sql.Text("Sessions/record_task.sql"), connection);
        command.Parameters.AddWithValue(session.SessionId);
        command.Parameters.AddWithValue(session.LeaseToken);
        command.Parameters.AddWithValue(providerTaskId);
        command.Parameters.AddWithValue(state.ToString().ToLowerInvariant());
        Add(command, NpgsqlDbType.Text, taskId);
        Add(command, NpgsqlDbType.Text, requestId);
        Add(command, NpgsqlDbType.Jsonb, result);
        Add(command, NpgsqlDbType.Text, failure);
        Add(command, NpgsqlDbType.Text, failureCode);
        return await command.ExecuteScalarAsync(ct) is not null;
    }, ct);

    private Task<IReadOnlyList<GroupAnswer<Stored?>>> StoreAsync(IReadOnlyList<StoredOutput> group) =>
        DataErrors.ExecuteAsync<IReadOnlyList<GroupAnswer<Stored?>>>(database, async connection =>
    {
        await using var batch = connection.CreateBatch();
        batch.BatchCommands.Add(PlannerSettings.Command(GroupCommit.LockTimeout));
        batch.BatchCommands.Add(SessionLocks.Sessions([.. group.Select(o => o.Session.SessionId)]));
        batch.BatchCommands.Add(StoredOutput.Insert(group, areLast: false));

        var stored = new Stored?[group.Count];
        await using var reader = await batch.ExecuteReaderAsync();
        await reader.SkipResultsAsync(1); // planner settings
        var locked = await SessionLocks.ReadAsync(reader, CancellationToken.None);
        await reader.SkipResultsAsync(1);
        while (await reader.ReadAsync())
        {
            stored[reader.GetInt64(0) - 1] = new Stored(reader.GetInt64(1), reader.GetBoolean(2));
        }

        await reader.FinishAsync();
        return [.. group.Select((output, i) => locked.Contains(output.Session.SessionId) ? GroupCommit.Done(stored[i]) : GroupCommit.Locked<Stored?>())];
    }, CancellationToken.None);

    private async Task<bool> ReleaseAsync(
        ClaimedSession session, string how, TimeSpan delay, string? errorCode, string? errorMessage, CancellationToken ct)
    {
        await using var command = database.CreateCommand(Sql.Text("Sessions/release_lease.sql"));
        command.Parameters.AddWithValue(session.SessionId);
        command.Parameters.AddWithValue(session.LeaseToken);
        command.Parameters.AddWithValue(how);
        command.Parameters.AddWithValue(delay);
        Add(command, NpgsqlDbType.Text, errorCode);
        Add(command, NpgsqlDbType.Text, errorMessage);
        Add(command, NpgsqlDbType.Text, Telemetry.CurrentTraceParent);
        await using var reader = await command.ExecuteReaderAsync(ct);
        if (!await reader.ReadAsync(ct))
        {
            return false;
        }

        notifier.Changed(ChangeChannel.SessionChanged, new Change(session.SessionId, session.UserId, reader.GetInt64(2)));
        if (reader.GetBoolean(3))
        {
            notifier.OutboxWritten(session.Lane);
        }

        return true;
    }

    private static void Add(NpgsqlCommand command, NpgsqlDbType type, object? value) =>
        command.Parameters.Add(new NpgsqlParameter { NpgsqlDbType = type, Value = value ?? DBNull.Value });
}
