-- A callback comes in: kept once, and the session that waits for it is woken, in one transaction. Runs after lock_task.sql. Says what became of
-- it; no row means that no task has this token. Nothing is kept for a task that has ended, nor more than $5 bodies of one task: a callback is a
-- hint, and a holder of the token could send a new one every time.
-- $1 provider · $2 token hash · $3 body hash · $4 body · $5 how many bodies of a task are kept
WITH task AS (
    SELECT t.provider_task_id, t.session_id, s.traceparent, t.state IN ('intent', 'running') AND s.completed_at IS NULL AS is_open,
           (SELECT count(*) FROM webhook_inbox AS i WHERE i.token_hash = $2) AS kept,
           EXISTS (SELECT FROM webhook_inbox AS i WHERE i.token_hash = $2 AND i.body_hash = $3) AS is_known
    FROM provider_tasks AS t
    JOIN generation_sessions AS s USING (session_id)
    WHERE t.callback_token_hash = $2 AND t.provider = $1
),
received AS (
    INSERT INTO webhook_inbox (provider_task_id, provider, token_hash, body_hash, body)
    SELECT provider_task_id, $1, $2, $3, $4
    FROM task
    WHERE is_open AND kept < $5
    ON CONFLICT (token_hash, body_hash) DO NOTHING
    RETURNING provider_task_id
),
woken AS (
    UPDATE generation_sessions AS s
    SET callback_at = now(), wake_at = CASE WHEN s.phase = 'awaiting_provider' THEN now() ELSE s.wake_at END, updated_at = now()
    FROM task
    JOIN received USING (provider_task_id)
    WHERE s.session_id = task.session_id
    RETURNING s.session_id, s.job_type, s.lane, s.phase, s.traceparent
),
dispatch AS (
    INSERT INTO outbox (event_type, lane, session_id, traceparent)
    SELECT job_type, lane, session_id, traceparent FROM woken WHERE phase = 'awaiting_provider'
)
SELECT CASE
           WHEN task.is_known THEN 'duplicate'
           WHEN NOT task.is_open THEN 'late'
           WHEN NOT EXISTS (SELECT FROM received) THEN 'excess'
           ELSE 'received'
       END AS outcome,
       EXISTS (SELECT FROM woken WHERE phase = 'awaiting_provider') AS woke, task.session_id, task.traceparent
FROM task
