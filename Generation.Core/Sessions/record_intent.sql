-- Before a call that costs money: who makes it, and for which outputs. No row comes back when the lease is lost, or when a call that
-- counts was made for this ordinal before. The session's row is locked: a revocation comes wholly before, or finds the intent.
WITH holder AS (
    SELECT session_id, lease_token
    FROM generation_sessions
    WHERE session_id = $1 AND lease_token = $2 AND lease_until IS NOT NULL
    FOR NO KEY UPDATE
)
INSERT INTO provider_tasks (provider_task_id, session_id, lease_token, provider, first_ordinal, output_count, callback_token_hash, deadline)
SELECT $3, session_id, lease_token, $4, $5, $6, $7, now() + $8
FROM holder
ON CONFLICT (session_id, first_ordinal) WHERE state <> 'rejected' DO NOTHING
RETURNING provider_task_id
