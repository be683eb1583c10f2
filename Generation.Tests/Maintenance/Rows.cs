using Npgsql;

namespace Generation.Tests.Maintenance;

/// <summary>Rows as the system writes them, many at a time, for tests of what becomes of them.</summary>
internal static class Rows
{
    public static readonly Guid UserId = Guid.Parse("00000000-0000-7000-8000-00000000beef");

    public static async Task ExecuteAsync(this NpgsqlDataSource db, string sql)
    {
        await using var command = db.CreateCommand(sql);
        command.CommandTimeout = 300;
        await command.ExecuteNonQueryAsync();
    }

    public static async Task<T> ScalarAsync<T>(this NpgsqlDataSource db, string sql)
    {
        await using var command = db.CreateCommand(sql);
        command.CommandTimeout = 300;
        return (T)(await command.ExecuteScalarAsync())!;
    }

    public static Task AddUserAsync(this NpgsqlDataSource db) => db.ExecuteAsync($"INSERT INTO users (user_id, handle) VALUES ('{UserId}', 'rows')");

    /// <summary>Queued sessions, the first the oldest, a second apart, and an outbox row each.</summary>
    public static Task AddBacklogAsync(this NpgsqlDataSource db, int sessions, TimeSpan age) => db.ExecuteAsync(
        $"""
        WITH made AS (
            INSERT INTO generation_sessions (session_id, user_id, client_key, request_hash, model, tool, provider, job_type, lane, kind, params,
                input_settings,
                                             requested_outputs, unit_price, price_version, held_credits, deadline, created_at, updated_at, work, rank)
            SELECT gen_random_uuid(), '{UserId}', 'backlog ' || i, sha256('backlog'), 'seedream-4', 'seedream4', 'ark', 'gen.seedream4', 'image', 'image',
                   '{"{}"}', '{"{}"}', 1, 4, 1, 4, now() + interval '1 day', at, at, 10, 10 * i
            FROM generate_series(1, {sessions}) AS i
            CROSS JOIN LATERAL (SELECT now() - interval '{age}' + i * interval '1 s') AS t (at)
            RETURNING session_id, created_at, rank
        )
        INSERT INTO outbox (event_type, lane, session_id, available_at, created_at, rank)
        SELECT 'gen.seedream4', 'image', session_id, created_at, created_at, rank
        FROM made
        ORDER BY created_at
        """);

    /// <summary>One session that has ended.</summary>
    public static async Task<(Guid SessionId, DateTimeOffset CreatedAt)> AddEndedAsync(
        this NpgsqlDataSource db, string status, long leaseToken, TimeSpan endedAgo)
    {
        var id = Guid.CreateVersion7();
        await db.ExecuteAsync(
            $"""
            INSERT INTO generation_sessions (session_id, user_id, client_key, request_hash, model, tool, provider, job_type, lane, kind, params,
                input_settings,
                                             requested_outputs, unit_price, price_version, held_credits, captured_credits, status, phase, progress,
                                                 error_code,
                                             lease_token, deadline, created_at, started_at, completed_at)
            VALUES ('{id}', '{UserId}', '{id}', sha256('ended'), 'seedream-4', 'seedream4', 'ark', 'gen.seedream4', 'image', 'image', '{"{}"}', '{"{}"}',
                    1, 4, 1, 4, CASE WHEN '{status}' = 'completed' THEN 4 ELSE 0 END, '{status}', '{status}', CASE WHEN '{status}' = 'completed' THEN 100 ELSE 0 END,
                    CASE WHEN '{status}' = 'failed' THEN 'provider_unavailable' END, {leaseToken}, now(), now() - interval '{endedAgo}' - interval '1 min',
                    now() - interval '{endedAgo}' - interval '1 min', now() - interval '{endedAgo}')
            """);
        return (id, new DateTimeOffset(await db.ScalarAsync<DateTime>($"SELECT created_at FROM generation_sessions WHERE session_id = '{id}'"),
            TimeSpan.Zero));
    }
}
