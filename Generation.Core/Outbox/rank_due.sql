-- Rows whose time has come get a rank: a timer, a callback or the successor of a dead worker goes on with work that was begun and comes before new
-- work; a retry, and what was put off, has its session's place. Delayed rows have an index of their own, because ten thousand of them at the
-- head of the other would be read at every dispatch.
-- Runs after lock_lane.sql.
-- $1 rows at most
WITH due AS MATERIALIZED (
    SELECT outbox_id, session_id
    FROM outbox
    WHERE lane = current_setting('generation.lane') AND dispatched_at IS NULL AND set_aside_at IS NULL AND rank IS NULL AND available_at <= now()
    ORDER BY available_at
    LIMIT $1
    FOR UPDATE SKIP LOCKED
)
UPDATE outbox AS o
SET rank = CASE
               WHEN s.status = 'processing' OR s.phase = 'recovering' THEN -1
               ELSE coalesce(s.rank, (SELECT clock FROM lanes WHERE lane = o.lane))
           END,
    provider = s.provider, work = s.work
FROM due
LEFT JOIN LATERAL (SELECT * FROM generation_sessions AS s WHERE s.session_id = due.session_id OFFSET 0) AS s ON true -- a look-up each
WHERE o.outbox_id = ANY (ARRAY[due.outbox_id])
