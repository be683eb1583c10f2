-- The holder releases its lease; the timer is an outbox row of the same transaction:
--   suspend   waits for a provider, without lease or slot     retry     failed, comes again later (the only one that raises attempt)
--   handback  the worker shuts down                           postpone  nothing was tried yet (a limit, a breaker, a busy GPU): comes again later
-- A callback that came meanwhile, or a cancel, wakes it at once.
-- $1 session · $2 lease_token · $3 how · $4 delay · $5 error code · $6 error message · $7 traceparent
WITH released AS (
    UPDATE generation_sessions
    SET status = CASE $3 WHEN 'suspend' THEN 'processing' ELSE 'queued' END,
        phase = CASE $3 WHEN 'suspend' THEN 'awaiting_provider' WHEN 'retry' THEN 'retrying' WHEN 'postpone' THEN 'waiting' ELSE 'queued' END,
        attempt = attempt + CASE $3 WHEN 'retry' THEN 1 ELSE 0 END,
        lease_owner = NULL, lease_until = NULL, lease_token = lease_token + 1,
        wake_at = CASE WHEN cancel_requested_at IS NULL AND callback_at IS NULL THEN now() + $4 ELSE now() END, callback_at = NULL,
        error_code = $5, error_message = $6,
        version = version + 1, updated_at = now()
    WHERE session_id = $1 AND lease_token = $2 AND lease_until IS NOT NULL
    RETURNING session_id, user_id, job_type, lane, wake_at, version, traceparent
),
timer AS (
    INSERT INTO outbox (event_type, lane, session_id, traceparent, available_at)
    SELECT job_type, lane, session_id, coalesce(traceparent, $7), wake_at -- flat: a task that is polled a hundred times is no staircase
    FROM released
)
SELECT session_id, user_id, version, wake_at <= now() AS is_due
FROM released
