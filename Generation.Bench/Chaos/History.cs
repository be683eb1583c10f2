using Npgsql;

namespace Generation.Bench.Chaos;

/// <summary>How much is under way.</summary>
/// <param name="Open">Sessions that have not ended.</param>
/// <param name="Processing">Of these, with a worker.</param>
/// <param name="Calls">Paid calls that have not been answered.</param>
/// <param name="Outbox">Rows that wait, or whose message no worker has claimed.</param>
internal readonly record struct UnderWay(long Open, long Processing, long Calls, long Outbox);

/// <summary>A change of a session's row.</summary>
internal sealed record Change(DateTimeOffset At, string Status, string Phase, long Version, long LeaseToken, string? LeaseOwner, int Attempt,
    int LostLeases, string? ErrorCode)
{
    public override string ToString() =>
        $"{At:HH:mm:ss.fff} {Status}/{Phase} v{Version} token {LeaseToken} {LeaseOwner} attempt {Attempt} lost {LostLeases} {ErrorCode}";
}

/// <summary>
/// What the database can tell about a run beside what the product writes: a trigger of ours notes each change of a session, in a schema
/// of its own. So a promise that broke can be shown with its story, and a lost call is known to have been lost with its worker.
/// </summary>
internal sealed class History(NpgsqlDataSource database)
{
    private static readonly TimeSpan SampleInterval = TimeSpan.FromMilliseconds(250);

    private UnderWay latest;

    /// <summary>The last sample, at most a moment old unless the database is unavailable.</summary>
    public UnderWay Latest => latest;

    public Task BeginAsync(CancellationToken ct) => ExecuteAsync(
        """
        CREATE SCHEMA chaos;
        CREATE TABLE chaos.history (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp(), session_id uuid NOT NULL,
                status text NOT NULL,
            phase text NOT NULL, version bigint NOT NULL, lease_token bigint NOT NULL, lease_owner text, attempt integer NOT NULL,
                lost_leases integer NOT NULL, error_code text);
        CREATE INDEX ON chaos.history (session_id, lease_token);
        CREATE FUNCTION chaos.remember() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
        BEGIN
            INSERT INTO chaos.history (session_id, status, phase, version, lease_token, lease_owner, attempt, lost_leases, error_code)
            VALUES (NEW.session_id, NEW.status, NEW.phase, NEW.version, NEW.lease_token, NEW.lease_owner, NEW.attempt, NEW.lost_leases,
                NEW.error_code);
            RETURN NULL;
        END $$;
        CREATE TRIGGER chaos_insert AFTER INSERT ON generation_sessions FOR EACH ROW EXECUTE FUNCTION chaos.remember();
        CREATE TRIGGER chaos_update AFTER UPDATE ON generation_sessions FOR EACH ROW
            WHEN ((OLD.status, OLD.phase, OLD.version, OLD.lease_token, OLD.lease_owner) IS DISTINCT
                FROM (NEW.status, NEW.phase, NEW.version, NEW.lease_token, NEW.lease_owner))
            EXECUTE FUNCTION chaos.remember();
        """, ct);

    /// <summary>Samples until it is stopped.</summary>
    public async Task SampleAsync(CancellationToken ct)
    {
        while (!ct.IsCancellationRequested)
        {
            if (await TryUnderWayAsync(ct) is { } sample)
            {
                latest = sample;
            }

            await Task.Delay(SampleInterval, TimeProvider.System, ct).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    /// <summary>Null when the database is unavailable.</summary>
    public async Task<UnderWay?> TryUnderWayAsync(CancellationToken ct)
    {
        try
        {
            var rows = await ReadAsync(
                """
                SELECT (SELECT count(*) FROM generation_sessions WHERE completed_at IS NULL),
                       (SELECT count(*) FROM generation_sessions WHERE completed_at IS NULL AND lease_until IS NOT NULL),
                       (SELECT count(*) FROM provider_tasks AS t JOIN generation_sessions AS s USING (session_id) WHERE t.state = 'intent'
                           AND s.completed_at IS NULL),
                       (SELECT count(*) FROM outbox)
                """,
                r => new UnderWay(r.GetInt64(0), r.GetInt64(1), r.GetInt64(2), r.GetInt64(3)), ct);
            return rows[0];
        }
        catch (Exception e) when (e is NpgsqlException or TimeoutException or OperationCanceledException)
        {
            return null;
        }
    }

    /// <summary>Everything that happened to one session, calls included, for eyes.</summary>
    public async Task<IReadOnlyList<string>> StoryAsync(Guid sessionId, CancellationToken ct)
    {
        var changes = await ReadAsync(
            "SELECT at, status, phase, version, lease_token, lease_owner, attempt, lost_leases, error_code FROM chaos.history WHERE session_id = "
                + $"'{sessionId}' ORDER BY id",
            r => new Change(r.GetFieldValue<DateTimeOffset>(0), r.GetString(1), r.GetString(2), r.GetInt64(3), r.GetInt64(4), Text(r, 5),
                r.GetInt32(6), r.GetInt32(7), Text(r, 8)).ToString(), ct);
        var calls = await ReadAsync(
            $"""
            SELECT format('call %s+%s token %s %s %s %s %s, %s to %s', first_ordinal, output_count, lease_token, state, task_id, failure,
                failure_code, to_char(created_at, 'HH24:MI:SS.MS'), to_char(updated_at, 'HH24:MI:SS.MS'))
            FROM provider_tasks WHERE session_id = '{sessionId}' ORDER BY created_at
            """, r => r.GetString(0), ct);
        var rest = await ReadAsync(
            $"""
            SELECT format('outbox %s %s available %s, dispatched %s as %s', outbox_id, event_type, to_char(available_at, 'HH24:MI:SS.MS'), to_char(dispatched_at, 'HH24:MI:SS.MS'), message_id) FROM outbox WHERE session_id = '{sessionId}'
            UNION ALL SELECT format('error %s: %s %s', code, message, detail) FROM error_events WHERE session_id = '{sessionId}'
            UNION ALL SELECT format('media %s: %s, token %s, %s', ordinal, object_key, lease_token, to_char(created_at, 'HH24:MI:SS.MS')) FROM media WHERE session_id = '{sessionId}'
            """, r => r.GetString(0), ct);
        return [.. changes, .. calls, .. rest];

        static string? Text(NpgsqlDataReader row, int column) => row.IsDBNull(column) ? null : row.GetString(column);
    }

    public async Task<List<T>> ReadAsync<T>(string sql, Func<NpgsqlDataReader, T> row, CancellationToken ct)
    {
        await using var command = database.CreateCommand(sql);
        await using var reader = await command.ExecuteReaderAsync(ct);
        var rows = new List<T>();
        while (await reader.ReadAsync(ct))
        {
            rows.Add(row(reader));
        }

        return rows;
    }

    private async Task ExecuteAsync(string sql, CancellationToken ct)
    {
        await using var command = database.CreateCommand(sql);
        await command.ExecuteNonQueryAsync(ct);
    }
}
