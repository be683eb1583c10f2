-- The first slot whose holder is gone: nobody, or a session whose lease under that token is over. The taker must hold its own lease.
-- $1 endpoints in order of preference · $2 session · $3 lease_token
WITH free AS (
    SELECT g.endpoint
    FROM gpu_slots AS g
    WHERE g.endpoint = ANY ($1)
      AND NOT EXISTS (
          SELECT 1
          FROM generation_sessions AS s
          WHERE s.session_id = g.session_id AND s.lease_token = g.lease_token AND s.lease_until > now())
      AND EXISTS (SELECT 1 FROM generation_sessions AS s WHERE s.session_id = $2 AND s.lease_token = $3 AND s.lease_until > now())
    ORDER BY array_position($1, g.endpoint)
    LIMIT 1
)
UPDATE gpu_slots AS g
SET session_id = $2, lease_token = $3, taken_at = now()
FROM free
WHERE g.endpoint = free.endpoint
RETURNING g.endpoint
