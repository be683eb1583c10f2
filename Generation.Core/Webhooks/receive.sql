-- A callback comes in: kept once, and the session that waits for it is woken, in one transaction. Says what became of it; no row means
-- that no task has this token. The row lock on the session puts this wholly before or wholly after a worker's suspend.
-- $1 provider · $2 token hash · $3 body hash · $4 body
WITH task AS (
    SELECT t.provider_task_id, t.session_id, s.traceparent, t.state IN ('intent', 'running') AND s.completed_at IS NULL AS is_open
    FROM provider_tasks AS t
    JOIN generation_sessions AS s USING (session_id)
    WHERE t.callback_token_hash = $2 AND t.provider = $1
    FOR NO KEY UPDATE OF s
),
received AS (
    INSERT INTO webhook_inbox (provider_task_id, provider, token_hash, body_hash, body, booked_at)
    SELECT provider_task_id, $1, $2, $3, $4, CASE WHEN is_open THEN NULL ELSE now() END -- late: nothing is left to book
    FROM task
    ON CONFLICT (token_hash, body_hash) DO NOTHING
    RETURNING provider_task_id
),
woken AS (
    UPDATE generation_sessions AS s
    SET callback_at = now(), wake_at = CASE WHEN s.phase = 'awaiting_provider' THEN now() ELSE s.wake_at END, updated_at = now()
    FROM task
    JOIN received USING (provider_task_id)
    WHERE s.session_id = task.session_id AND task.is_open
    RETURNING s.session_id, s.job_type, s.lane, s.phase, s.traceparent
),
dispatch AS (
    INSERT INTO outbox (event_type, lane, session_id, traceparent)
    SELECT job_type, lane, session_id, traceparent FROM woken WHERE phase = 'awaiting_provider'
)
SELECT (SELECT count(*) FROM received) > 0 AS is_new, task.is_open, (SELECT count(*) FROM woken WHERE phase = 'awaiting_provider') > 0 AS woke,
       task.session_id, task.traceparent
FROM task
