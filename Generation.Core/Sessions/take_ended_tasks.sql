-- Tasks that a provider works on although their session has ended, which are due to be asked for: less often the longer it is over. Taking one moves
-- its updated_at, so that no other worker asks for it as well.
-- $1 the shortest pause · $2 the longest · $3 how long they are followed · $4 at most so many
WITH due AS MATERIALIZED (
    SELECT t.provider_task_id, t.updated_at <= s.completed_at AS is_first, s.completed_at < now() - $3 AS is_overdue, s.job_type, s.input_settings,
           s.traceparent
    FROM provider_tasks AS t
    CROSS JOIN LATERAL ( -- a look-up each, never a join with the whole table
        SELECT s.completed_at, s.job_type, s.input_settings, s.traceparent FROM generation_sessions AS s WHERE s.session_id = t.session_id OFFSET 0
    ) AS s
    WHERE t.state = 'running' AND t.updated_at < now() - $1 AND s.completed_at IS NOT NULL
      AND t.updated_at < now() - least(greatest((now() - s.completed_at) / 4, $1), $2)
    ORDER BY t.updated_at
    LIMIT $4
    FOR NO KEY UPDATE OF t SKIP LOCKED
)
UPDATE provider_tasks AS t
SET updated_at = now()
FROM due
WHERE t.provider_task_id = ANY (ARRAY[due.provider_task_id]) -- as in settle.sql
RETURNING t.provider_task_id, t.session_id, t.provider, t.task_id, due.job_type, due.input_settings, due.is_first, due.is_overdue, due.traceparent,
          now() AS taken_at
