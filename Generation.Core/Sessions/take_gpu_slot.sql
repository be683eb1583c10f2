-- The first slot that is a session's already, or whose holder is gone: nobody, or a session whose lease under that token is over. The taker must hold
-- its own lease, and has one slot: another that it had is free. Runs after lock_gpu_slots.sql.
-- $1 endpoints in order of preference · $2 session · $3 lease_token
WITH free AS (
    SELECT g.endpoint
    FROM gpu_slots AS g
    WHERE g.endpoint IN (SELECT json_array_elements_text(current_setting('generation.gpus')::json))
      AND (g.session_id = $2 AND g.lease_token = $3
           OR (g.reserved_until IS NULL OR g.reserved_until <= now())
              AND NOT EXISTS (
                  SELECT FROM generation_sessions AS s
                  WHERE s.session_id = g.session_id AND s.lease_token = g.lease_token AND s.lease_until > now()))
      AND EXISTS (SELECT FROM generation_sessions AS s WHERE s.session_id = $2 AND s.lease_token = $3 AND s.lease_until > now())
    ORDER BY array_position($1, g.endpoint)
    LIMIT 1
),
other AS (
    UPDATE gpu_slots AS g
    SET session_id = NULL, lease_token = NULL, taken_at = NULL
    FROM free
    WHERE g.session_id = $2 AND g.lease_token = $3 AND g.endpoint <> free.endpoint
)
UPDATE gpu_slots AS g
SET session_id = $2, lease_token = $3, taken_at = now(), reserved_by = NULL, reserved_until = NULL
FROM free
WHERE g.endpoint = free.endpoint
RETURNING g.endpoint
