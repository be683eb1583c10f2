-- The rows behind a batch of messages, once their sessions are claimed. SKIP LOCKED: a relay may still be about to mark one (it
-- publishes under the row's lock); such a row is found by the repair of lost dispatches and removed there.
-- Answers how long each message waited in the queue, by the database's clock; null when a relay has not marked it yet.
DELETE FROM outbox
WHERE outbox_id = ANY (ARRAY( -- an array, or a plan from when the outbox was empty walks through all of it
    SELECT outbox_id
    FROM outbox
    WHERE outbox_id = ANY ($1)
    FOR UPDATE SKIP LOCKED
))
RETURNING lane, extract(epoch FROM clock_timestamp() - dispatched_at)::double precision AS waited_seconds
