-- Rows that wait from a rung of the position index up to a row, and their work.
-- $1 the lane · $2, $3 rank and id of the rung · $4, $5 rank and id of the row
SELECT count(*), coalesce(sum(coalesce(work, 1)), 0)
FROM outbox
WHERE lane = $1 AND dispatched_at IS NULL AND set_aside_at IS NULL AND rank IS NOT NULL
  AND (rank, outbox_id) >= ($2, $3) AND (rank, outbox_id) < ($4, $5)
