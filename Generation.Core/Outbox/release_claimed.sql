-- The rows behind a batch of messages, once their sessions are claimed: deleted, for they have done their work whatever became of the claim. The
-- row of a session that was locked elsewhere (it is not in generation.sessions) is dispatched again in a second.
-- SKIP LOCKED: a relay may still be about to mark one (it publishes under the row's lock); such a row is found by the repair of lost dispatches
-- and removed there.
-- $1 the rows. Answers how long each message waited in the queue, by the database's clock; null when a relay has not marked it yet.
WITH done AS MATERIALIZED (
    SELECT o.outbox_id, o.lane, o.dispatched_at,
           o.session_id <> ALL ((SELECT string_to_array(current_setting('generation.sessions'), ',')::uuid[])::uuid[]) -- read once
           AND EXISTS (SELECT FROM generation_sessions AS s WHERE s.session_id = o.session_id AND s.completed_at IS NULL) AS is_locked
    FROM outbox AS o
    WHERE o.outbox_id = ANY ($1)
    FOR UPDATE OF o SKIP LOCKED
),
again AS (
    UPDATE outbox
    SET dispatched_at = NULL, message_id = NULL, rank = NULL, available_at = now() + interval '1 second'
    WHERE outbox_id = ANY (ARRAY(SELECT outbox_id FROM done WHERE is_locked))
)
DELETE FROM outbox
WHERE outbox_id = ANY (ARRAY(SELECT outbox_id FROM done WHERE NOT is_locked)) -- an array, or a plan from when it was empty walks through all of it
RETURNING lane, extract(epoch FROM clock_timestamp() - dispatched_at)::double precision AS waited_seconds
