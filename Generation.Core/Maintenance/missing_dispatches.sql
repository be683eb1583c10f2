-- Sessions that wait for a worker but have no outbox row, or only one that was set aside: nothing would ever wake them. There is no known way to
-- get here; a session must not depend on that. $1 is how long a session may look like this before it counts, $2 the candidates.
WITH missing AS (
    SELECT s.session_id
    FROM generation_sessions AS s
    WHERE s.session_id = ANY ($2) AND s.completed_at IS NULL
      AND s.lease_until IS NULL
      AND s.updated_at < now() - $1::interval
      AND coalesce(s.wake_at, s.updated_at) < now() - $1::interval
      AND NOT EXISTS (SELECT FROM outbox AS o WHERE o.session_id = s.session_id AND o.set_aside_at IS NULL)
    FOR NO KEY UPDATE SKIP LOCKED
),
touched AS ( -- written to, so that another relay which saw it a moment ago looks again before it takes it too
    UPDATE generation_sessions AS s
    SET updated_at = now()
    FROM missing
    WHERE s.session_id = missing.session_id
    RETURNING s.session_id, s.job_type, s.lane, s.traceparent
)
INSERT INTO outbox (event_type, lane, session_id, traceparent)
SELECT job_type, lane, session_id, traceparent
FROM touched
