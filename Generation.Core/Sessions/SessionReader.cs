using System.ComponentModel.DataAnnotations;
using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using Generation.Core.Database;
using Generation.Core.Localization;
using Generation.Core.Media;
using Generation.Core.Outbox;
using Generation.Core.Providers;
using Npgsql;

namespace Generation.Core.Sessions;

/// <summary>A picture in place of one that could not be made. It is not an output: it was not sold, and nothing was charged.</summary>
public sealed record PlaceholderView
{
    public string? Url { get; init; }

    public string ContentType { get; init; } = MockSamples.Placeholder.ContentType;

    public int Width { get; init; } = MockSamples.Placeholder.Width!.Value;

    public int Height { get; init; } = MockSamples.Placeholder.Height!.Value;
}

/// <summary>A stored output as users see it. The URL is signed when it is shown, not when it is read.</summary>
public sealed record MediaView
{
    public required Guid MediaId { get; init; }

    public required int Ordinal { get; init; }

    [AllowedValues("image", "video", "audio")]
    public required string Kind { get; init; }

    public required string ContentType { get; init; }

    public required long Bytes { get; init; }

    public int? Width { get; init; }

    public int? Height { get; init; }

    public double? DurationSeconds { get; init; }

    /// <summary>Hex.</summary>
    public required string Sha256 { get; init; }

    public string? Url { get; init; }

    public DateTimeOffset? UrlExpiresAt { get; init; }

    /// <summary>A still picture of a video, where one was asked for; signed like <see cref="Url"/>.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? PosterUrl { get; init; }

    [JsonIgnore(Condition = JsonIgnoreCondition.Always)]
    public string ObjectKey { get; init; } = "";

    [JsonIgnore(Condition = JsonIgnoreCondition.Always)]
    public string? PosterKey { get; init; }

    /// <summary>The session's version when it was attached.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.Always)]
    public long Version { get; init; }
}

public sealed record ErrorView(string Code, string Message, bool Retryable);

/// <summary>What an ended session cost: <c>held + extra = captured + released + adjusted</c>, each of them a row of the ledger.</summary>
/// <param name="Held">Credits taken when the session was accepted.</param>
/// <param name="Captured">Paid.</param>
/// <param name="Extra">Of what was paid, what the hold did not cover; only with the policy <c>ChargeAvailable</c>.</param>
/// <param name="Released">Given back because nothing was delivered.</param>
/// <param name="Adjusted">Given back because less was delivered than asked for, or it cost less than expected.</param>
/// <param name="PriceVersion">The price row it was sold at.</param>
/// <param name="ProviderUsage">What the provider counted, in its own words.</param>
/// <param name="Summary">A sentence for the user.</param>
public sealed record Receipt(
    long Held, long Captured, long Extra, long Released, long Adjusted, long PriceVersion, JsonElement? ProviderUsage, string Summary);

public sealed record SessionView
{
    public required Guid SessionId { get; init; }

    [JsonIgnore]
    public Guid UserId { get; init; }

    public required string ClientKey { get; init; }

    public required string Model { get; init; }

    public required string Tool { get; init; }

    [AllowedValues("image", "video", "audio")]
    public required string Kind { get; init; }

    /// <summary><c>queued</c>, <c>processing</c>, <c>completed</c>, <c>failed</c> or <c>canceled</c>.</summary>
    [AllowedValues("queued", "processing", "completed", "failed", "canceled")]
    public required string Status { get; init; }

    public required string Phase { get; init; }

    public required int Progress { get; init; }

    /// <summary>Grows with every change; the id of events.</summary>
    public required long Version { get; init; }

    /// <summary>Jobs of the same lane that will be taken first; null when it does not wait, or that is not known.</summary>
    public long? QueuePosition { get; init; }

    /// <summary>Until its first output; null when that is not known.</summary>
    public int? EtaSeconds { get; init; }

    /// <summary>Where it stands in its queue, while it is open.</summary>
    public QueueView? Queue { get; init; }

    /// <summary>What estimates are made from; null when it has ended.</summary>
    [JsonIgnore]
    public OpenJob? OpenJob { get; init; }

    /// <summary>Failures so far.</summary>
    public required int Attempt { get; init; }

    [JsonIgnore]
    public long LeaseToken { get; init; }

    /// <summary>Credits that were held for it.</summary>
    [JsonIgnore]
    public long Held { get; init; }

    public required int RequestedOutputs { get; init; }

    public required JsonElement Params { get; init; }

    public bool Mock { get; init; }

    public Guid? RetryOf { get; init; }

    public bool CancelRequested { get; init; }

    public required DateTimeOffset CreatedAt { get; init; }

    public DateTimeOffset? StartedAt { get; init; }

    public DateTimeOffset? CompletedAt { get; init; }

    public ErrorView? Error { get; init; }

    public required IReadOnlyList<MediaView> Media { get; init; }

    /// <summary>Only of a session that failed because its provider was unavailable, and had asked for it.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public PlaceholderView? Placeholder { get; init; }

    /// <summary>Outputs that did not come: <c>[{ordinal, code, message}]</c>.</summary>
    public JsonElement? FailedOutputs { get; init; }

    public Receipt? Receipt { get; init; }

    /// <summary>Of its first picture or video, <c>WIDTHxHEIGHT</c> in pixels; null before the end, and where nothing has a size.</summary>
    public string? Resolution => Sized is { } media ? $"{media.Width}x{media.Height}" : null;

    /// <summary>Width to height of the same, such as <c>16:9</c>.</summary>
    public string? AspectRatio => Sized is { } media ? MediaShape.RatioOf(media.Width!.Value, media.Height!.Value) : null;

    private MediaView? Sized => HasEnded ? Media.FirstOrDefault(media => media is { Width: > 0, Height: > 0 }) : null;

    /// <summary>
    /// Where everything that was done for it can be seen, from the request to its end; null for a session of before traces were kept.
    /// </summary>
    public string? TraceId => Telemetry.TraceIdOf(TraceParent);

    [JsonIgnore]
    public string? TraceParent { get; init; }

    [JsonIgnore]
    public bool HasEnded => CompletedAt is not null;
}

/// <summary>
/// What users read about their sessions. A user's read runs as <c>generation_reader</c> with <c>app.user_id</c> set for its transaction:
/// row-level security is the second lock behind the WHERE.
/// </summary>
public sealed class SessionReader(NpgsqlDataSource database, TimeProvider time, LanePositions? positions = null)
{
    /// <summary>Keys a statement.</summary>
    private const int MaxKeys = 256;

    /// <summary>
    /// Where several ask at once, more come, and who is to be refused can wait: a statement for every two of them would take the processor from who
    /// is not.
    /// </summary>
    private static readonly TimeSpan Gathering = TimeSpan.FromMilliseconds(10);

    private const string ReadPath = "Sessions/read.sql";
    private static readonly CompositeFormat Read = CompositeFormat.Parse(Sql.Text(ReadPath));
    private static readonly string ReadOne = Where("s.session_id = $1");
    private static readonly string ReadByKey = Where("s.client_key = $1 AND s.user_id = $2");
    private static readonly string ReadMany = Where("s.session_id = ANY ($1)");
    private static readonly string ReadNewer = Where(
        "s.session_id = ANY (ARRAY(SELECT n.session_id FROM unnest($1::uuid[], $2::bigint[]) AS k (session_id, version) "
        + "JOIN generation_sessions AS n ON n.session_id = ANY (ARRAY[k.session_id]) AND n.version > k.version))");
    private static readonly string ReadPage = Where(
        "s.user_id = $1 AND ($2::uuid IS NULL OR s.session_id < $2) AND ($3::text IS NULL OR s.status = $3) ORDER BY s.session_id DESC LIMIT $4");

    private readonly QueuePlaces places = new(database, positions, time);

    private readonly GroupCommit<(Guid UserId, string ClientKey), bool> knownKeys = new(
        new GroupCommitOptions<(Guid UserId, string ClientKey)>(MaxKeys),
        async (asked, _) =>
        {
            await Task.Delay(asked.Count > 1 ? Gathering : TimeSpan.Zero, time, CancellationToken.None);
            return [.. (await AreKnownAsync(database, asked)).Select(GroupCommit.Done)];
        },
        time);

    /// <summary>One session of the user, or null: somebody else's is not there.</summary>
    public async Task<SessionView?> GetAsync(Guid userId, Guid sessionId, CancellationToken ct)
    {
        var (session, position) = await ReadOneAsync(userId, sessionId, ct);
        return session is null ? null : await places.ShowExactlyAsync(session, position, ct);
    }

    private async Task<(SessionView? Session, QueuePlaces.Position? Position)> ReadOneAsync(Guid userId, Guid sessionId, CancellationToken ct)
    {
        await using var batch = database.CreateBatch();
        batch.BatchCommands.Add(PlannerSettings.Command());
        batch.BatchCommands.Add(QueuePlaces.PositionCommand(sessionId));
        ActAs(batch, userId);
        batch.BatchCommands.Add(new NpgsqlBatchCommand(ReadOne) { Parameters = { new() { Value = sessionId } } });
        await using var reader = await batch.ExecuteReaderAsync(ct);
        await reader.SkipResultsAsync(1, ct);
        var position = await QueuePlaces.ReadPositionAsync(reader, ct);
        await reader.SkipResultsAsync(2, ct);
        return await reader.ReadAsync(ct) ? (Map(reader), position) : default;
    }

    /// <summary>
    /// Whether a session was accepted under a client key. Those who ask at the same time are answered by one statement: in a flood every
    /// refusal asks, and must cost next to nothing.
    /// </summary>
    public Task<bool> IsKeyKnownAsync(Guid userId, string clientKey, CancellationToken ct) => knownKeys.WriteAsync((userId, clientKey), ct);

    /// <summary>The session of a client key, for a replay.</summary>
    public async Task<(SessionView Session, byte[] RequestHash, Guid ReservationId)?> FindByKeyAsync(
        Guid userId, string clientKey, CancellationToken ct)
    {
        await using var batch = database.CreateBatch();
        ActAs(batch, userId);
        batch.BatchCommands.Add(new NpgsqlBatchCommand(ReadByKey) { Parameters = { new() { Value = clientKey }, new() { Value = userId } } });
        batch.BatchCommands.Add(new NpgsqlBatchCommand(
            """
            SELECT s.request_hash, v.reservation_id
            FROM generation_sessions AS s
            JOIN credit_reservations AS v USING (session_id)
            WHERE s.client_key = $1 AND s.user_id = $2
            """)
        { Parameters = { new() { Value = clientKey }, new() { Value = userId } } });

        await using var reader = await batch.ExecuteReaderAsync(ct);
        await reader.NextResultAsync(ct);
        if (!await reader.ReadAsync(ct))
        {
            return null;
        }

        var session = Map(reader);
        await reader.NextResultAsync(ct);
        return await reader.ReadAsync(ct) ? (session, reader.GetFieldValue<byte[]>(0), reader.GetGuid(1)) : null;
    }

    private static async Task<IReadOnlyList<bool>> AreKnownAsync(NpgsqlDataSource database, IReadOnlyList<(Guid UserId, string ClientKey)> asked)
    {
        await using var batch = database.CreateBatch();
        batch.BatchCommands.Add(PlannerSettings.Command());
        batch.BatchCommands.Add(new NpgsqlBatchCommand(
            """
            SELECT coalesce(k.known, false)
            FROM unnest($1::uuid[], $2::text[]) WITH ORDINALITY AS a (user_id, client_key, n)
            LEFT JOIN LATERAL (SELECT true AS known FROM generation_sessions AS s WHERE s.user_id = a.user_id
                AND s.client_key = a.client_key LIMIT 1) AS k ON true
            ORDER BY a.n
            """)
        { Parameters = { new() { Value = asked.Select(a => a.UserId).ToArray() }, new() { Value = asked.Select(a => a.ClientKey).ToArray() } } });
        var known = new List<bool>(asked.Count);
        await using var reader = await batch.ExecuteReaderAsync();
        await reader.NextResultAsync();
        while (await reader.ReadAsync())
        {
            known.Add(reader.GetBoolean(0));
        }

        return known;
    }

    /// <summary>A page of the user's sessions, newest first; <paramref name="before"/> is the last id of the page before.</summary>
    public async Task<IReadOnlyList<SessionView>> ListAsync(Guid userId, Guid? before, string? status, int limit, CancellationToken ct) =>
        await places.ShowAsync(await ReadPageAsync(userId, before, status, limit, ct), ct);

    private async Task<IReadOnlyList<SessionView>> ReadPageAsync(Guid userId, Guid? before, string? status, int limit, CancellationToken ct)
    {
        await using var batch = database.CreateBatch();
        ActAs(batch, userId);
        batch.BatchCommands.Add(new NpgsqlBatchCommand(ReadPage)
        {
            Parameters =
            {
                new() { Value = userId },
                new() { Value = (object?)before ?? DBNull.Value, NpgsqlDbType = NpgsqlTypes.NpgsqlDbType.Uuid },
                new() { Value = (object?)status ?? DBNull.Value, NpgsqlDbType = NpgsqlTypes.NpgsqlDbType.Text },
                new() { Value = limit },
            },
        });
        await using var reader = await batch.ExecuteReaderAsync(ct);
        await reader.NextResultAsync(ct);
        return await MapAllAsync(reader, ct);
    }

    /// <summary>Where an output of the user is stored, or null: somebody else's is not there.</summary>
    public async Task<string?> FindMediaKeyAsync(Guid userId, Guid mediaId, CancellationToken ct)
    {
        await using var batch = database.CreateBatch();
        ActAs(batch, userId);
        batch.BatchCommands.Add(new NpgsqlBatchCommand("SELECT object_key FROM media WHERE media_id = $1")
        {
            Parameters =
            { new() { Value = mediaId } }
        });
        await using var reader = await batch.ExecuteReaderAsync(ct);
        await reader.NextResultAsync(ct);
        return await reader.ReadAsync(ct) ? reader.GetString(0) : null;
    }

    /// <summary>Those of the sessions that have a newer version than the one given beside them; of any users, like <see cref="ReadAsync"/>.</summary>
    public Task<IReadOnlyList<SessionView>> ReadNewerAsync(IReadOnlyList<Guid> sessionIds, IReadOnlyList<long> versions, CancellationToken ct) =>
        ReadListAsync(new NpgsqlBatchCommand(ReadNewer)
        {
            Parameters =
            { new() { Value = sessionIds.ToArray() }, new() { Value = versions.ToArray() } }
        }, sessionIds, ct);

    /// <summary>Where sessions of any users wait; those that do not are not in it.</summary>
    public async Task<IReadOnlyDictionary<Guid, QueuePlace>> ReadPlacesAsync(IReadOnlyCollection<Guid> sessionIds, CancellationToken ct) =>
        await places.ReadAsync(sessionIds, ct);

    /// <summary>Sessions of any users, for the feed of a process whose watchers have been checked one by one.</summary>
    public Task<IReadOnlyList<SessionView>> ReadAsync(IReadOnlyCollection<Guid> sessionIds, CancellationToken ct) =>
        ReadListAsync(new NpgsqlBatchCommand(ReadMany) { Parameters = { new() { Value = sessionIds.ToArray() } } }, sessionIds, ct);

    /// <summary>With their places, and without estimates, which a watcher gets every second.</summary>
    private async Task<IReadOnlyList<SessionView>> ReadListAsync(NpgsqlBatchCommand command, IEnumerable<Guid> sessionIds, CancellationToken ct)
    {
        await using var batch = database.CreateBatch();
        batch.BatchCommands.Add(PlannerSettings.Command()); // every change of every session that is watched is read here
        batch.BatchCommands.Add(QueuePlaces.PlacesCommand(sessionIds));
        batch.BatchCommands.Add(command);
        await using var reader = await batch.ExecuteReaderAsync(ct);
        await reader.SkipResultsAsync(1, ct);
        var waiting = await QueuePlaces.ReadPlacesAsync(reader, ct);
        await reader.NextResultAsync(ct);
        return (await MapAllAsync(reader, ct)).ConvertAll(session => session.OpenJob is { IsProcessing: false } job
            ? session with { OpenJob = job with { Place = waiting.TryGetValue(session.SessionId, out var place) ? place : null } } : session);
    }

    private static string Where(string condition) => Sql.Register(ReadPath, string.Format(CultureInfo.InvariantCulture, Read, condition));

    private static void ActAs(NpgsqlBatch batch, Guid userId) =>
        batch.BatchCommands.Add(new NpgsqlBatchCommand("SELECT set_config('role', 'generation_reader', true), set_config('app.user_id', $1, true)")
        {
            Parameters = { new() { Value = userId.ToString() } },
        });

    private static async Task<List<SessionView>> MapAllAsync(NpgsqlDataReader reader, CancellationToken ct)
    {
        var sessions = new List<SessionView>();
        while (await reader.ReadAsync(ct))
        {
            sessions.Add(Map(reader));
        }

        return sessions;
    }

    private static SessionView Map(NpgsqlDataReader reader)
    {
        var status = EnumNames.Parse<SessionStatus>(reader.Get<string>("status"));
        var progress = (int)reader.Get<short>("progress");
        var startedAt = reader.GetNullable<DateTimeOffset>("started_at");
        var requested = reader.Get<int>("requested_outputs");
        var failedOutputs = reader.GetJson("failed_outputs");
        var media = reader.GetText("media") is { } list ? ReadMedia(list) : [];
        return new SessionView
        {
            SessionId = reader.Get<Guid>("session_id"),
            UserId = reader.Get<Guid>("user_id"),
            ClientKey = reader.Get<string>("client_key"),
            Model = reader.Get<string>("model"),
            Tool = reader.Get<string>("tool"),
            Kind = reader.Get<string>("kind"),
            Status = status.Name(),
            Phase = reader.Get<string>("phase"),
            Progress = progress,
            Version = reader.Get<long>("version"),
            Attempt = reader.Get<int>("attempt"),
            LeaseToken = reader.Get<long>("lease_token"),
            Held = reader.Get<long>("held_credits"),
            Params = reader.GetJson("params")!.Value,
            CreatedAt = reader.Get<DateTimeOffset>("created_at"),
            StartedAt = startedAt,
            CompletedAt = reader.GetNullable<DateTimeOffset>("completed_at"),
            Error = status == SessionStatus.Failed ? ErrorOf(reader) : null,
            RequestedOutputs = requested,
            RetryOf = reader.GetNullable<Guid>("retry_of"),
            CancelRequested = !reader.IsNull("cancel_requested_at"),
            Mock = reader.Get<bool>("mock"),
            Media = media,
            FailedOutputs = failedOutputs,
            Placeholder = reader.Get<bool>("wants_placeholder") ? new PlaceholderView() : null,
            TraceParent = reader.GetText("traceparent"),
            OpenJob = status is SessionStatus.Queued or SessionStatus.Processing ? OpenJobOf(reader, status, requested) : null,
            Receipt = ReceiptOf(
                reader, media.Count, requested, SessionLocalization.Chosen(status.Name(), media.Count, failedOutputs, requested)),
        };
    }

    private static OpenJob OpenJobOf(NpgsqlDataReader reader, SessionStatus status, int requested) => new()
    {
        Lane = reader.Get<string>("lane"),
        Provider = reader.Get<string>("provider"),
        Model = reader.Get<string>("model"),
        Variant = JobVariant.NameOf(
            reader.GetText("variant_settings") is { } settings ? JsonNode.Parse(settings) as JsonObject ?? [] : [], requested,
            reader.Get<bool>("mock")),
        Work = reader.GetNullable<double>("work") ?? requested, // a row of before work was measured
        Phase = reader.Get<string>("phase"),
        IsProcessing = status == SessionStatus.Processing,
        StartedAt = reader.GetNullable<DateTimeOffset>("started_at"),
        Progress = reader.Get<short>("progress"),
    };

    private static ErrorView ErrorOf(NpgsqlDataReader reader)
    {
        var code = reader.Get<string>("error_code");
        return new ErrorView(code, reader.GetText("error_message") ?? code, reader.GetNullable<bool>("error_retryable") ?? false);
    }

    /// <summary>Null until the session has ended.</summary>
    private static Receipt? ReceiptOf(NpgsqlDataReader reader, int stored, int requested, int? chosen)
    {
        if (reader.GetNullable<long>("captured_credits") is not { } captured)
        {
            return null;
        }

        var held = reader.Get<long>("held_credits");
        var extra = reader.Get<long>("extra_credits");
        return new Receipt(
            held, captured, extra, captured == 0 ? held : 0, captured == 0 ? 0 : held + extra - captured, reader.Get<long>("price_version"),
            reader.GetJson("provider_usage"),
            UserMessages.ForReceipt(held, captured, extra, stored, requested, UserMessages.DefaultLanguage, chosen));
    }

    private static List<MediaView> ReadMedia(string list)
    {
        using var document = JsonDocument.Parse(list);
        return [.. document.RootElement.EnumerateArray().Select(m => new MediaView
        {
            MediaId = m.GetProperty("mediaId").GetGuid(),
            Ordinal = m.GetProperty("ordinal").GetInt32(),
            Kind = m.GetProperty("kind").GetString()!,
            ContentType = m.GetProperty("contentType").GetString()!,
            Bytes = m.GetProperty("bytes").GetInt64(),
            Width = m.GetProperty("width") is { ValueKind: JsonValueKind.Number } width ? width.GetInt32() : null,
            Height = m.GetProperty("height") is { ValueKind: JsonValueKind.Number } height ? height.GetInt32() : null,
            DurationSeconds = m.GetProperty("durationSeconds") is { ValueKind: JsonValueKind.Number } seconds ? seconds.GetDouble() : null,
            Sha256 = m.GetProperty("sha256").GetString()!,
            ObjectKey = m.GetProperty("objectKey").GetString()!,
            PosterKey = m.GetProperty("posterKey").GetString(),
            Version = m.GetProperty("version").GetInt64(),
        })];
    }
}
