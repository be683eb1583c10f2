using Generation.Core.Database;
using Generation.Core.Outbox;
using Npgsql;

namespace Generation.Core.Sessions;

/// <summary>
/// Puts into views of open sessions where they stand in their queues: from the lane's position index, and for one session exactly, from the index and
/// the less than 500 rows that it does not have.
/// </summary>
internal sealed class QueuePlaces(NpgsqlDataSource database, LanePositions? positions, TimeProvider time)
{
    /// <summary>Rows that are counted at once; what stands behind more is found by the index.</summary>
    private const int FirstCount = PositionIndex.Stride;

    /// <summary>Rows that are counted without an index.</summary>
    private const int MaxCount = 10_000;

    /// <summary>A session's place, and what was counted before it.</summary>
    /// <param name="Place">Its outbox row.</param>
    /// <param name="Messages">In the queue before it.</param>
    /// <param name="Rows">Waiting before it; at most as many as were to be counted.</param>
    /// <param name="Work">Of these rows, in slot-seconds.</param>
    /// <param name="AsOf">When that was so.</param>
    public readonly record struct Position(QueuePlace Place, long Messages, long Rows, double Work, DateTimeOffset AsOf);

    /// <summary>For a batch, the result of which <see cref="ReadPositionAsync"/> reads.</summary>
    public static NpgsqlBatchCommand PositionCommand(Guid sessionId, int maxRows = FirstCount) => new(Sql.Text("Sessions/position.sql"))
    {
        Parameters = { new() { Value = sessionId }, new() { Value = (long)maxRows } },
    };

    /// <summary>Null when it does not wait for a worker.</summary>
    public static async Task<Position?> ReadPositionAsync(NpgsqlDataReader reader, CancellationToken ct) => await reader.ReadAsync(ct)
        ? new Position(PlaceOf(reader), reader.Get<long>("messages"), reader.Get<long>("rows"), reader.Get<double>("work"),
            reader.Get<DateTimeOffset>("as_of"))
        : null;

    /// <summary>For a batch, the result of which <see cref="ReadPlacesAsync"/> reads.</summary>
    public static NpgsqlBatchCommand PlacesCommand(IEnumerable<Guid> sessionIds) => new(Sql.Text("Outbox/places.sql"))
    {
        Parameters = { new() { Value = sessionIds.ToArray() } },
    };

    /// <summary>Of each session that waits the row that is taken first.</summary>
    public static async Task<Dictionary<Guid, QueuePlace>> ReadPlacesAsync(NpgsqlDataReader reader, CancellationToken ct)
    {
        var places = new Dictionary<Guid, QueuePlace>();
        while (await reader.ReadAsync(ct))
        {
            var (session, place) = (reader.Get<Guid>("session_id"), PlaceOf(reader));
            if (!places.TryGetValue(session, out var other) || place.OutboxId < other.OutboxId)
            {
                places[session] = place;
            }
        }

        return places;
    }

    /// <summary>The session as of now, exact at any depth while there is an index.</summary>
    public async Task<SessionView> ShowExactlyAsync(SessionView session, Position? position, CancellationToken ct)
    {
        if (session.OpenJob is not { } job)
        {
            return session;
        }

        var index = positions is null ? null : await positions.GetAsync(job.Lane);
        Ahead? ahead = position is { Place.IsInLine: true } known && !job.IsProcessing ? await AheadAsync(session.SessionId, job, known, index, ct)
            : null;
        return Show(session, job with { Place = position?.Place }, index, ahead);
    }

    /// <summary>A page of sessions: one statement for their places, the index for what stands before them.</summary>
    public async Task<IReadOnlyList<SessionView>> ShowAsync(IReadOnlyList<SessionView> sessions, CancellationToken ct)
    {
        var waiting = sessions.Where(session => session.OpenJob is { IsProcessing: false }).Select(session => session.SessionId).ToList();
        var places = waiting.Count > 0 ? await ReadAsync(waiting, ct) : [];
        var shown = new List<SessionView>(sessions.Count);
        foreach (var session in sessions)
        {
            shown.Add(session.OpenJob is { } job
                ? Show(session, job with { Place = places.TryGetValue(session.SessionId, out var place) ? place : null },
                    positions is null ? null : await positions.GetAsync(job.Lane))
                : session);
        }

        return shown;
    }

    /// <summary>The places of those sessions that wait.</summary>
    public async Task<Dictionary<Guid, QueuePlace>> ReadAsync(IReadOnlyCollection<Guid> sessionIds, CancellationToken ct)
    {
        await using var batch = database.CreateBatch();
        batch.BatchCommands.Add(PlannerSettings.Command());
        batch.BatchCommands.Add(PlacesCommand(sessionIds));
        await using var reader = await batch.ExecuteReaderAsync(ct);
        await reader.NextResultAsync(ct);
        return await ReadPlacesAsync(reader, ct);
    }

    private SessionView Show(SessionView session, OpenJob job, PositionIndex? index, Ahead? ahead = null)
    {
        if (ahead is null && index is not null && !job.IsProcessing && job.Place is { IsInLine: true } place)
        {
            ahead = positions!.Find(index, place.Rank ?? -1, place.OutboxId);
        }

        var (view, eta) = QueueEstimate.Of(job, index?.State, ahead, time.GetUtcNow());
        return session with { OpenJob = job, Queue = view, QueuePosition = view?.Ahead, EtaSeconds = eta };
    }

    private async Task<Ahead> AheadAsync(Guid sessionId, OpenJob job, Position position, PositionIndex? index, CancellationToken ct)
    {
        var each = index is { State.QueueCount: > 0 } ? index.State.QueueWork / index.State.QueueCount : job.Work;
        Ahead Counted(Position counted, bool isExact) =>
            new(counted.Messages + counted.Rows, (counted.Messages * each) + counted.Work, isExact, counted.AsOf);
        if (position.Place.IsDispatched || position.Rows < FirstCount)
        {
            return Counted(position, isExact: true);
        }

        await using var batch = database.CreateBatch();
        batch.BatchCommands.Add(PlannerSettings.Command());
        if (index?.RungBefore(position.Place.Rank!.Value, position.Place.OutboxId) is { } rung)
        {
            batch.BatchCommands.Add(new NpgsqlBatchCommand(Sql.Text("Outbox/count_between.sql"))
            {
                Parameters =
                {
                    new() { Value = job.Lane },
                    new() { Value = rung.Rank },
                    new() { Value = rung.OutboxId },
                    new() { Value = position.Place.Rank!.Value },
                    new() { Value = position.Place.OutboxId },
                },
            });
            await using var counted = await batch.ExecuteReaderAsync(ct);
            await counted.NextResultAsync(ct);
            await counted.ReadAsync(ct);
            var state = index.State;
            return new Ahead(state.QueueCount + rung.Before + counted.GetInt64(0), state.QueueWork + rung.WorkBefore + counted.GetDouble(1), true,
                state.AsOf);
        }

        batch.BatchCommands.Add(PositionCommand(sessionId, MaxCount));
        await using var reader = await batch.ExecuteReaderAsync(ct);
        await reader.NextResultAsync(ct);
        var whole = await ReadPositionAsync(reader, ct) ?? position;
        return Counted(whole, isExact: whole.Rows < MaxCount);
    }

    private static QueuePlace PlaceOf(NpgsqlDataReader reader) => new(
        reader.Get<long>("outbox_id"), reader.GetNullable<double>("rank"), reader.Get<bool>("is_dispatched"),
        reader.Get<DateTimeOffset>("available_at"));
}
