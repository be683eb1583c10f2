-- Rows whose message is not in the queue any more ($1, $2: the ids and the messages as they were read). The session says what that
-- means: still waiting for a worker, the message was lost and goes out again; else it was claimed and the row has done its work.
-- Looked up by the key whenever the plan was made, as in mark_dispatched.sql. A row that was dispatched anew meanwhile has another message id and is
-- left alone.
WITH lost AS (
    SELECT o.outbox_id,
           s.completed_at IS NULL AND s.lease_until IS NULL AND coalesce(s.wake_at, o.available_at) <= now() AS waiting
    FROM outbox AS o
    JOIN unnest($1::bigint[], $2::text[]) AS m (outbox_id, message_id) ON o.outbox_id = ANY (ARRAY[m.outbox_id]) AND o.message_id = m.message_id
    JOIN generation_sessions AS s ON s.session_id = ANY (ARRAY[o.session_id])
    FOR UPDATE OF o SKIP LOCKED
),
done AS (
    DELETE FROM outbox
    WHERE outbox_id = ANY (ARRAY(SELECT outbox_id FROM lost WHERE NOT waiting))
),
redispatched AS (
    UPDATE outbox
    SET dispatched_at = NULL, message_id = NULL
    WHERE outbox_id = ANY (ARRAY(SELECT outbox_id FROM lost WHERE waiting))
    RETURNING outbox_id
)
SELECT count(*)::integer FROM redispatched
