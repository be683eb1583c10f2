-- Takes sessions from workers that have stopped renewing and queues them again. The token grows, so that a worker that was only
-- paused finds itself locked out. $1: the candidates.
WITH dead AS (
    SELECT session_id
    FROM generation_sessions
    WHERE session_id = ANY ($1) AND lease_until <= now()
      AND (cancel_requested_at IS NULL -- SessionSweeps ends the others; but who has a task at a provider goes to a worker, which takes it back there
           OR EXISTS (SELECT FROM provider_tasks AS t WHERE t.session_id = generation_sessions.session_id AND t.state = 'running'))
    ORDER BY session_id
    FOR NO KEY UPDATE SKIP LOCKED
),
revoked AS (
    UPDATE generation_sessions AS s
    SET status = 'queued', phase = 'recovering', lease_owner = NULL, lease_until = NULL, lease_token = s.lease_token + 1,
        lost_leases = s.lost_leases + 1, wake_at = NULL, version = s.version + 1, updated_at = now()
    FROM dead
    WHERE s.session_id = dead.session_id
    RETURNING s.session_id, s.user_id, s.job_type, s.lane, s.version, s.traceparent
),
dispatch AS (
    INSERT INTO outbox (event_type, lane, session_id, traceparent)
    SELECT job_type, lane, session_id, traceparent
    FROM revoked
)
SELECT session_id, user_id, version, traceparent
FROM revoked
