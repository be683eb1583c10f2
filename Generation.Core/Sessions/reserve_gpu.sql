-- A worker's reservation: the one that it has, or the first slot that nobody has. Runs after lock_gpu_slots.sql.
-- $1 endpoints in order of preference · $2 worker · $3 how long
WITH free AS (
    SELECT g.endpoint
    FROM gpu_slots AS g
    WHERE g.endpoint IN (SELECT json_array_elements_text(current_setting('generation.gpus')::json))
      AND (g.reserved_by = $2 OR g.reserved_until IS NULL OR g.reserved_until <= now())
      AND NOT EXISTS (
          SELECT FROM generation_sessions AS s
          WHERE s.session_id = g.session_id AND s.lease_token = g.lease_token AND s.lease_until > now())
    ORDER BY g.reserved_by IS NOT DISTINCT FROM $2 DESC, array_position($1, g.endpoint)
    LIMIT 1
),
held AS ( -- not written while most of it is left
    SELECT g.endpoint
    FROM gpu_slots AS g
    JOIN free USING (endpoint)
    WHERE g.reserved_by = $2 AND g.reserved_until > now() + $3 / 2
),
reserved AS (
    UPDATE gpu_slots AS g
    SET reserved_by = $2, reserved_until = now() + $3, session_id = NULL, lease_token = NULL, taken_at = NULL
    FROM free
    WHERE g.endpoint = free.endpoint AND NOT EXISTS (SELECT FROM held)
    RETURNING g.endpoint
)
SELECT endpoint FROM held
UNION ALL
SELECT endpoint FROM reserved
