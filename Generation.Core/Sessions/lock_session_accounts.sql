-- After lock_sessions.sql or lock_abandoned.sql: locks the accounts of the locked sessions, in key order. Sessions whose account is locked
-- elsewhere are left for later, too: generation.sessions has the others now.
WITH account AS MATERIALIZED (
    SELECT user_id
    FROM credit_accounts
    WHERE user_id = ANY (ARRAY( -- IN could read all sessions of each user
        SELECT user_id
        FROM generation_sessions
        WHERE session_id = ANY (string_to_array(current_setting('generation.sessions'), ',')::uuid[])
    ))
    ORDER BY user_id
    FOR NO KEY UPDATE SKIP LOCKED
)
SELECT set_config('generation.sessions', coalesce(string_agg(s.session_id::text, ','), ''), true)
FROM generation_sessions AS s
WHERE s.session_id = ANY (string_to_array(current_setting('generation.sessions'), ',')::uuid[])
  AND s.user_id = ANY (ARRAY(SELECT user_id FROM account))
