-- Right after a call: what came of it, written by the holder of the lease. What an operator has to reconcile leaves a record of its own: an outcome
-- that is not known, and an output that was made and is of no use.
-- $1 session · $2 lease_token · $3 task · $4 state · $5 provider's task id · $6 request id · $7 result · $8 failure · $9 its code
-- $10 what was wrong · $11 what was answered; null when no answer came
WITH holder AS ( -- locked: a revocation comes before this statement or after it
    SELECT session_id, user_id
    FROM generation_sessions
    WHERE session_id = $1 AND lease_token = $2 AND lease_until IS NOT NULL
    FOR NO KEY UPDATE
),
task AS (
    UPDATE provider_tasks AS t
    SET state = $4, task_id = coalesce($5, t.task_id), request_id = coalesce($6, t.request_id), result = coalesce($7, t.result),
        failure = CASE WHEN $4 IN ('failed', 'unknown', 'rejected') THEN $8 END, failure_code = $9, updated_at = now()
    FROM holder AS s
    WHERE t.provider_task_id = $3 AND t.session_id = s.session_id
    RETURNING t.provider_task_id, s.session_id, s.user_id, t.provider, t.task_id, t.request_id, t.first_ordinal, t.created_at
),
booked AS ( -- what its callbacks had to say is said
    UPDATE webhook_inbox AS i
    SET booked_at = now()
    FROM task
    WHERE i.provider_task_id = task.provider_task_id AND i.booked_at IS NULL AND $4 NOT IN ('intent', 'running')
),
reconcile AS (
    INSERT INTO error_events (session_id, user_id, code, message, detail)
    SELECT session_id, user_id, CASE $4 WHEN 'unknown' THEN 'outcome_unknown' ELSE 'output_unusable' END,
           CASE WHEN $4 <> 'unknown' THEN 'An output was made and cannot be used (' || $9 || '): ' || $10
                WHEN $11 IS NULL
                THEN 'A paid call was sent and its outcome is not known. Look it up at the provider before refunding.'
                ELSE 'A paid call was answered, and the answer could not be used (' || $9 || '): ' || $10 END,
           jsonb_strip_nulls(jsonb_build_object(
               'providerTaskId', provider_task_id, 'provider', provider, 'taskId', task_id, 'requestId', request_id, 'ordinal', first_ordinal,
               'sentAt', created_at, 'providerCode', $9, 'problem', $10, 'answer', $11))
    FROM task
    WHERE $4 = 'unknown' OR ($4 IN ('failed', 'delivered') AND $8 = 'OutputUnusable') -- delivered: one output of a group
)
SELECT provider_task_id FROM task
