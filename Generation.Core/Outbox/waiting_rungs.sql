-- A ladder of the rows that wait in a lane: the first $1 one by one, then every $2nd, and the last; each with how many rows and how much work stand
-- before it. One pass by the index outbox_waiting, which has all that is read here and the order too.
-- Runs after lock_positions.sql.
SELECT rank, outbox_id, before, work_before, work
FROM (
    SELECT rank, outbox_id, coalesce(work, 1) AS work, row_number() OVER line - 1 AS before,
           sum(coalesce(work, 1)) OVER line - coalesce(work, 1) AS work_before, lead(outbox_id) OVER line IS NULL AS is_last
    FROM outbox
    WHERE lane = current_setting('generation.lane') AND dispatched_at IS NULL AND set_aside_at IS NULL AND rank IS NOT NULL
    WINDOW line AS (ORDER BY rank, outbox_id ROWS UNBOUNDED PRECEDING)
) AS row
WHERE before < $1 OR before % $2 = 0 OR is_last
