-- How many jobs of its lane will be taken before this session; no row when it does not wait for a worker. Messages are received in the order in
-- which they were sent, rows are sent by rank. Counts at most 10,000. A row without a rank waits for its time and has no place yet.
SELECT (SELECT count(*)
        FROM outbox AS q
        WHERE q.lane = o.lane AND q.dispatched_at IS NOT NULL
          AND (o.dispatched_at IS NULL
               OR (q.dispatched_at, coalesce(q.rank, -1), q.outbox_id) < (o.dispatched_at, coalesce(o.rank, -1), o.outbox_id)))
     + (SELECT count(*)
        FROM (SELECT
              FROM outbox AS w
              WHERE o.dispatched_at IS NULL
                AND w.lane = o.lane AND w.dispatched_at IS NULL AND w.set_aside_at IS NULL AND w.rank IS NOT NULL
                AND (w.rank, w.outbox_id) < (o.rank, o.outbox_id)
              LIMIT 10000) AS ahead)
FROM outbox AS o
WHERE o.session_id = $1 AND (o.dispatched_at IS NOT NULL OR o.rank IS NOT NULL)
ORDER BY o.outbox_id
LIMIT 1
