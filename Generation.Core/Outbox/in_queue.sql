-- What should be waiting in the lane's queue: dispatched and not claimed, for longer than $2.
SELECT outbox_id, message_id
FROM outbox
WHERE lane = $1 AND dispatched_at < now() - $2::interval
ORDER BY dispatched_at
LIMIT 20000
