using System.Text.Json;
using System.Text.Json.Nodes;
using Generation.Core.Database;
using Generation.Core.Media;
using Generation.Core.Providers;
using Generation.Core.Queue;
using Generation.Core.Realtime;
using Npgsql;
using NpgsqlTypes;

namespace Generation.Core.Sessions;

/// <summary>
/// A session as its holder has it. <paramref name="LeaseToken"/> fences every write. <paramref name="ClaimedAt"/> is the database's clock,
/// like every other time here: compare those with it, and not with the clock of this machine.
/// </summary>
public sealed record ClaimedSession(
    Guid SessionId, Guid UserId, string Model, string Provider, string JobType, Lane Lane, MediaKind Kind, JsonObject Settings, bool Mock,
    int RequestedOutputs, int Attempt, int LostLeases, long LeaseToken, long Version, int Progress,
    DateTimeOffset Deadline, DateTimeOffset CreatedAt, bool CancelRequested, IReadOnlySet<int> StoredOrdinals, IReadOnlyList<ProviderTask> Tasks,
    DateTimeOffset ClaimedAt)
{
    /// <summary>How often a worker held it without any progress, until the lease was revoked.</summary>
    public int TimesStuck { get; init; }

    /// <summary>The trace context of the request that made the session, which everything that is done for it continues.</summary>
    public string? TraceParent { get; init; }

    /// <summary>Expected slot-seconds; 1 where the release before did not say.</summary>
    public double Work { get; init; } = 1;
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

    /// <summary>Why it was rejected, or has failed.</summary>
    public FailureKind? Failure { get; init; }

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

/// <summary>What one renewal says of a session that is still its caller's.</summary>
public enum RenewalResult
{
    Renewed,

    /// <summary>Renewed, and it is to be canceled.</summary>
    CancelRequested,

    /// <summary>Its row is locked by another transaction: not renewed, and not lost.</summary>
    Locked,
}

/// <param name="Sessions">To be worked on.</param>
/// <param name="Unreadable">Claimed, but their rows cannot be read by this version: each is to be failed by its own.</param>
public sealed record ClaimedBatch(IReadOnlyList<ClaimedSession> Sessions, IReadOnlyList<UnreadableSession> Unreadable);

/// <param name="SessionId">Which.</param>
/// <param name="UserId">Whose.</param>
/// <param name="LeaseToken">Of its claim.</param>
/// <param name="Version">Of the session.</param>
/// <param name="Problem">What could not be read.</param>
public sealed record UnreadableSession(Guid SessionId, Guid UserId, long LeaseToken, long Version, Exception Problem);

/// <summary>What became of an output's row.</summary>
/// <param name="Version">Of the session, now.</param>
/// <param name="IsDuplicate">The ordinal had another object, which stays.</param>
/// <param name="ReservationId">The hold of its session; null when nobody asked for it.</param>
public readonly record struct Stored(long Version, bool IsDuplicate, Guid? ReservationId);

/// <summary>
/// Invariant 6, one holder writes: every statement here that changes a session compares the lease token under the row lock, and answers
/// null or false when it has grown. Who gets that answer has lost the session and must stop.
/// </summary>
public sealed class Leases
{
    /// <summary>Outputs a transaction.</summary>
    private const int MaxOutputs = 64;

    /// <summary>How a lease is given up: <c>release_lease.sql</c>.</summary>
    private enum Release
    {
        Suspend,
        Retry,
        Postpone,
        HandBack,
    }

    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web)
    {
        Converters = { new System.Text.Json.Serialization.JsonStringEnumConverter() },
    };

    private readonly NpgsqlDataSource database;
    private readonly NpgsqlDataSource leaseDatabase;
    private readonly ChangeNotifier notifier;
    private readonly TimeProvider time;
    private readonly GroupCommit<StoredOutput, Stored?> outputs;

    /// <param name="database">Shared with everything else of the process.</param>
    /// <param name="notifier">Hears of changes.</param>
    /// <param name="time">The clock.</param>
    /// <param name="leases">For claims and renewals, which never wait for a connection behind other work; else those share.</param>
    public Leases(NpgsqlDataSource database, ChangeNotifier notifier, TimeProvider time, LeaseConnections? leases = null)
    {
        (this.database, this.notifier, this.time) = (database, notifier, time);
        leaseDatabase = leases?.Database ?? database;
        outputs = new GroupCommit<StoredOutput, Stored?>(
            new GroupCommitOptions<StoredOutput>(MaxOutputs)
            {
                Key = output => (output.Session.SessionId, output.Ordinal),
                Owner = output => output.Session.UserId,
            },
            (group, _) => StoreAsync(group), time);
    }

    /// <summary>
    /// Claims those of the sessions that may be worked on now, and removes the outbox rows that led here, whatever became of the claim: a row whose
    /// session is not claimable has nothing left to do. Sessions that are locked elsewhere are dispatched again.
    /// </summary>
    public async Task<ClaimedBatch> ClaimAsync(
        IReadOnlyCollection<Guid> sessionIds, IReadOnlyCollection<long> outboxIds, string worker, TimeSpan lease, CancellationToken ct)
    {
        await using var batch = leaseDatabase.CreateBatch();
        batch.BatchCommands.Add(PlannerSettings.Command(GroupCommit.LockTimeout));
        batch.BatchCommands.Add(SessionLocks.Sessions([.. sessionIds]));
        batch.BatchCommands.Add(new NpgsqlBatchCommand(Sql.Text("Sessions/claim.sql"))
        {
            Parameters = { new() { Value = worker }, new() { Value = lease } },
        });
        batch.BatchCommands.Add(new NpgsqlBatchCommand(Sql.Text("Outbox/release_claimed.sql"))
        {
            Parameters = { new() { Value = outboxIds.ToArray() } },
        });

        var claimed = new List<ClaimedSession>();
        var unreadable = new List<UnreadableSession>();
        await using var reader = await batch.ExecuteReaderAsync(ct);
        await reader.SkipResultsAsync(2, ct); // planner settings, locks
        while (await reader.ReadAsync(ct))
        {
            var (id, user, token) = (reader.Get<Guid>("session_id"), reader.Get<Guid>("user_id"), reader.Get<long>("lease_token"));
            try
            {
                claimed.Add(Map(reader));
            }
            // whatever a row has that this version cannot read is that session's trouble and no other's
            catch (Exception e) when (e is not (NpgsqlException or IOException or TimeoutException or ObjectDisposedException))
            {
                unreadable.Add(new UnreadableSession(id, user, token, reader.Get<long>("version"), e));
            }
        }

        await reader.NextResultAsync(ct);
        while (await reader.ReadAsync(ct))
        {
            if (!await reader.IsDBNullAsync(1, ct))
            {
                Telemetry.PickupDuration.Record(reader.GetDouble(1), new KeyValuePair<string, object?>("lane", reader.GetString(0)));
            }
        }

        await reader.FinishAsync(ct);
        foreach (var session in claimed)
        {
            notifier.Changed(ChangeChannel.SessionChanged, new Change(session.SessionId, session.UserId, session.Version));
        }

        return new ClaimedBatch(claimed, unreadable);
    }

    /// <summary>Renews; the answer holds the sessions that are still the caller's.</summary>
    public async Task<Dictionary<Guid, RenewalResult>> RenewAsync(IReadOnlyList<Renewal> renewals, TimeSpan lease, CancellationToken ct)
    {
        await using var batch = leaseDatabase.CreateBatch();
        batch.Timeout = 5;
        batch.BatchCommands.Add(PlannerSettings.Command(GroupCommit.LockTimeout));
        batch.BatchCommands.Add(new NpgsqlBatchCommand(Sql.Text("Sessions/renew.sql"))
        {
            Parameters = { JsonRows.Parameter(renewals), new() { Value = lease } },
        });
        var held = new Dictionary<Guid, RenewalResult>(renewals.Count);
        await using var reader = await batch.ExecuteReaderAsync(ct);
        await reader.SkipResultsAsync(1, ct);
        while (await reader.ReadAsync(ct))
        {
            held[reader.GetGuid(0)] = reader.GetBoolean(2) ? RenewalResult.Locked
                : reader.GetBoolean(1) ? RenewalResult.CancelRequested : RenewalResult.Renewed;
        }

        return held;
    }

    /// <summary>Waits for a provider, without a lease: claimable again after <paramref name="delay"/>. False when the lease was lost.</summary>
    public Task<bool> SuspendAsync(ClaimedSession session, TimeSpan delay, CancellationToken ct) =>
        ReleaseAsync(session, Release.Suspend, delay, null, null, ct);

    /// <summary>Failed, comes again after <paramref name="delay"/>. False when the lease was lost.</summary>
    public Task<bool> RetryAsync(ClaimedSession session, TimeSpan delay, string errorCode, string errorMessage, CancellationToken ct) =>
        ReleaseAsync(session, Release.Retry, delay, errorCode, errorMessage, ct);

    /// <summary>Nothing was tried: comes again after <paramref name="delay"/>, and it does not count. False when the lease was lost.</summary>
    public Task<bool> PostponeAsync(ClaimedSession session, TimeSpan delay, CancellationToken ct) =>
        ReleaseAsync(session, Release.Postpone, delay, null, null, ct);

    /// <summary>Given back unfinished by a worker that shuts down; does not count as a failure. False when the lease was lost.</summary>
    public Task<bool> HandBackAsync(ClaimedSession session, CancellationToken ct) =>
        ReleaseAsync(session, Release.HandBack, TimeSpan.Zero, null, null, ct);

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
            notifier.Changed(
                ChangeChannel.ImagesAttached,
                new Change(output.Session.SessionId, output.Session.UserId, answer.Version, answer.ReservationId));
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
        await using var batch = database.CreateBatch();
        batch.BatchCommands.Add(PlannerSettings.Command(GroupCommit.LockTimeout));
        var command = new NpgsqlBatchCommand(Sql.Text("Sessions/record_intent.sql"));
        batch.BatchCommands.Add(command);
        command.Parameters.AddWithValue(session.SessionId);
        command.Parameters.AddWithValue(session.LeaseToken);
        command.Parameters.AddWithValue(id);
        command.Parameters.AddWithValue(session.Provider);
        command.Parameters.AddWithValue(firstOrdinal);
        command.Parameters.AddWithValue(outputCount);
        Add(command, NpgsqlDbType.Bytea, callbackTokenHash);
        command.Parameters.AddWithValue(deadline);
        await using (var reader = await batch.ExecuteReaderAsync(ct))
        {
            await reader.SkipResultsAsync(1, ct);
            if (await reader.ReadAsync(ct))
            {
                return reader.GetGuid(0);
            }
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

    /// <summary>
    /// What came of a call. False when the lease was lost: then the result counts for nothing. Of a call that is still an intent, because it is
    /// looked up later, only the code of the failure is kept.
    /// </summary>
    public Task<bool> RecordTaskAsync(
        ClaimedSession session, Guid providerTaskId, ProviderTaskState state, CancellationToken ct,
        string? taskId = null, string? requestId = null, string? result = null, Failure? failure = null) =>
            DataErrors.ExecuteAsync(database, async connection =>
    {
        await using var batch = new NpgsqlBatch(connection);
        batch.BatchCommands.Add(PlannerSettings.Command(GroupCommit.LockTimeout));
        var command = new NpgsqlBatchCommand(Sql.Text("Sessions/record_task.sql"));
        batch.BatchCommands.Add(command);
        command.Parameters.AddWithValue(session.SessionId);
        command.Parameters.AddWithValue(session.LeaseToken);
        command.Parameters.AddWithValue(providerTaskId);
        command.Parameters.AddWithValue(state.Name());
        Add(command, NpgsqlDbType.Text, taskId);
        Add(command, NpgsqlDbType.Text, requestId);
        Add(command, NpgsqlDbType.Jsonb, result);
        Add(command, NpgsqlDbType.Text, failure?.Kind.ToString());
        Add(command, NpgsqlDbType.Text, failure?.ProviderCode);
        Add(command, NpgsqlDbType.Text, failure?.Detail);
        Add(command, NpgsqlDbType.Text, failure?.Answer);
        await using var reader = await batch.ExecuteReaderAsync(ct);
        await reader.SkipResultsAsync(1, ct);
        return await reader.ReadAsync(ct);
    }, ct);

    /// <summary>The callbacks of a task that are not booked yet, the newest first.</summary>
    public async Task<IReadOnlyList<string>> ReadCallbacksAsync(Guid providerTaskId, CancellationToken ct)
    {
        await using var command = database.CreateCommand(
            "SELECT body FROM webhook_inbox WHERE provider_task_id = $1 AND booked_at IS NULL ORDER BY inbox_id DESC LIMIT 5");
        command.Parameters.AddWithValue(providerTaskId);
        var bodies = new List<string>();
        await using var reader = await command.ExecuteReaderAsync(ct);
        while (await reader.ReadAsync(ct))
        {
            bodies.Add(reader.GetString(0));
        }

        return bodies;
    }

    private static ClaimedSession Map(NpgsqlDataReader reader) => new(
        SessionId: reader.Get<Guid>("session_id"),
        UserId: reader.Get<Guid>("user_id"),
        Model: reader.Get<string>("model"),
        Provider: reader.Get<string>("provider"),
        JobType: reader.Get<string>("job_type"),
        Lane: EnumNames.Parse<Lane>(reader.Get<string>("lane")),
        Kind: EnumNames.Parse<MediaKind>(reader.Get<string>("kind")),
        Settings: JsonNode.Parse(reader.Get<string>("input_settings"))!.AsObject(),
        Mock: reader.Get<bool>("mock"),
        RequestedOutputs: reader.Get<int>("requested_outputs"),
        Attempt: reader.Get<int>("attempt"),
        LostLeases: reader.Get<int>("lost_leases"),
        LeaseToken: reader.Get<long>("lease_token"),
        Version: reader.Get<long>("version"),
        Progress: reader.Get<short>("progress"),
        Deadline: reader.Get<DateTimeOffset>("deadline"),
        CreatedAt: reader.Get<DateTimeOffset>("created_at"),
        CancelRequested: reader.Get<bool>("cancel_requested"),
        StoredOrdinals: reader.IsNull("stored_ordinals") ? new HashSet<int>() : reader.Get<int[]>("stored_ordinals").ToHashSet(),
        Tasks: reader.GetText("tasks") is { } tasks ? JsonSerializer.Deserialize<List<ProviderTask>>(tasks, Json)! : [],
        ClaimedAt: reader.Get<DateTimeOffset>("claimed_at"))
    {
        TimesStuck = reader.Get<int>("times_stuck"),
        TraceParent = reader.GetText("traceparent"),
        Work = reader.GetNullable<double>("work") ?? 1,
    };

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
            stored[reader.GetInt64(0) - 1] = new Stored(
                reader.GetInt64(1), reader.GetBoolean(2), await reader.IsDBNullAsync(3) ? null : reader.GetGuid(3));
        }

        await reader.FinishAsync();
        return [.. group.Select((output, i) =>
            locked.Contains(output.Session.SessionId) ? GroupCommit.Done(stored[i]) : GroupCommit.Locked<Stored?>())];
    }, CancellationToken.None);

    private async Task<bool> ReleaseAsync(
        ClaimedSession session, Release how, TimeSpan delay, string? errorCode, string? errorMessage, CancellationToken ct)
    {
        await using var batch = database.CreateBatch();
        batch.BatchCommands.Add(PlannerSettings.Command(GroupCommit.LockTimeout));
        var command = new NpgsqlBatchCommand(Sql.Text("Sessions/release_lease.sql"));
        batch.BatchCommands.Add(command);
        command.Parameters.AddWithValue(session.SessionId);
        command.Parameters.AddWithValue(session.LeaseToken);
        command.Parameters.AddWithValue(how.Name());
        command.Parameters.AddWithValue(delay);
        Add(command, NpgsqlDbType.Text, errorCode);
        Add(command, NpgsqlDbType.Text, errorMessage);
        Add(command, NpgsqlDbType.Text, Telemetry.CurrentTraceParent);
        await using var reader = await batch.ExecuteReaderAsync(ct);
        await reader.SkipResultsAsync(1, ct);
        if (!await reader.ReadAsync(ct))
        {
            return false;
        }

        notifier.Changed(ChangeChannel.SessionChanged, new Change(session.SessionId, session.UserId, reader.GetInt64(2)));
        if (reader.GetBoolean(3))
        {
            notifier.OutboxWritten(session.Lane.Name());
        }

        return true;
    }

    private static void Add(NpgsqlBatchCommand command, NpgsqlDbType type, object? value) =>
        command.Parameters.Add(new NpgsqlParameter { NpgsqlDbType = type, Value = value ?? DBNull.Value });
}
