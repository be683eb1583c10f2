-- Messages of the lane that no worker has claimed, in the order in which they are received; the first $1, with how many there are and their work.
-- Runs after lock_positions.sql.
SELECT outbox_id, count(*) OVER () AS messages, sum(coalesce(work, 1)) OVER () AS work
FROM outbox
WHERE lane = current_setting('generation.lane') AND dispatched_at IS NOT NULL
ORDER BY dispatched_at, coalesce(rank, -1), outbox_id
LIMIT $1
