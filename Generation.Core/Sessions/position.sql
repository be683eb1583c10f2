-- How many jobs of its lane will be taken before this session; no row when it does not wait. Counts at most 10,000.
SELECT (SELECT count(*)
        FROM outbox AS q
        WHERE q.lane = o.lane AND q.dispatched_at IS NOT NULL AND (o.dispatched_at IS NULL OR q.outbox_id < o.outbox_id))
     + (SELECT count(*)
        FROM (SELECT
              FROM outbox AS w
              WHERE o.dispatched_at IS NULL
                AND w.lane = o.lane AND w.dispatched_at IS NULL AND w.set_aside_at IS NULL
                AND (w.available_at, w.outbox_id) < (o.available_at, o.outbox_id)
              LIMIT 10000) AS ahead)
FROM outbox AS o
WHERE o.session_id = $1
ORDER BY o.outbox_id
LIMIT 1
