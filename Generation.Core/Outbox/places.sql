-- The outbox rows of sessions: where each of them waits. A session has more than one for a moment, when a callback wakes what a timer would wake too.
-- $1 the sessions
SELECT session_id, outbox_id, rank, dispatched_at IS NOT NULL AS is_dispatched, available_at
FROM outbox
WHERE session_id = ANY ($1) AND set_aside_at IS NULL
