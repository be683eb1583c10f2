-- Second statement of the sweep: their accounts, in key order. Sessions whose account is locked elsewhere are left for the next time.
WITH account AS MATERIALIZED (
    SELECT user_id
    FROM credit_accounts
    WHERE user_id IN (
        SELECT user_id
        FROM generation_sessions
        WHERE session_id = ANY (string_to_array(current_setting('generation.abandoned'), ',')::uuid[])
    )
    ORDER BY user_id
    FOR NO KEY UPDATE SKIP LOCKED
)
SELECT set_config('generation.abandoned', coalesce(string_agg(s.session_id::text, ','), ''), true)
FROM generation_sessions AS s
WHERE s.session_id = ANY (string_to_array(current_setting('generation.abandoned'), ',')::uuid[]) AND s.user_id IN (SELECT user_id FROM account)
