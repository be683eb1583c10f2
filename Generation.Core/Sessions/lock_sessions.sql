-- First statement of a transaction that changes sessions: locks those of $1 that nobody else has locked, in key order, and says which. The
-- statements after it read them from generation.sessions: a session that is locked elsewhere is left for later, and nobody waits for it.
SELECT set_config('generation.sessions', coalesce(string_agg(session_id::text, ','), ''), true)
FROM (
    SELECT session_id
    FROM generation_sessions
    WHERE session_id = ANY ($1)
    ORDER BY session_id
    FOR NO KEY UPDATE SKIP LOCKED
) AS session
