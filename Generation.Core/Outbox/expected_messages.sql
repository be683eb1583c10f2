-- What should be waiting in the lane's queue: dispatched and not claimed, for longer than $2; $5 rows after a position ($3, $4). A row
-- whose session has been claimed all the same (the claim found it locked by its relay) needs no asking: it has done its work, wherever
-- its message is.
SELECT o.outbox_id, o.message_id, s.completed_at IS NOT NULL OR s.lease_until IS NOT NULL AS claimed, o.dispatched_at
FROM outbox AS o
JOIN generation_sessions AS s ON s.session_id = ANY (ARRAY[o.session_id]) -- a look-up each, in every plan
WHERE o.lane = $1 AND o.dispatched_at < now() - $2::interval AND (o.dispatched_at, o.outbox_id) > ($3, $4)
ORDER BY o.dispatched_at, o.outbox_id
LIMIT $5
