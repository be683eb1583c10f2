-- Where a session waits, and what will be taken before it; no row when it does not wait for a worker. Messages are received in the order in which
-- they were sent, rows are sent by rank. A row without a rank waits for its time and has no place yet.
-- $1 the session · $2 waiting rows that are counted at most
SELECT CASE WHEN o.dispatched_at IS NOT NULL OR o.rank IS NOT NULL THEN q.messages + w.rows END AS ahead,
       q.messages, w.rows, w.work, o.outbox_id, o.rank, o.dispatched_at IS NOT NULL AS is_dispatched, o.available_at, now() AS as_of
FROM outbox AS o
CROSS JOIN LATERAL (
    SELECT count(*) AS messages
    FROM outbox AS q
    WHERE q.lane = o.lane AND q.dispatched_at IS NOT NULL
      AND (o.dispatched_at IS NULL
           OR (q.dispatched_at, coalesce(q.rank, -1), q.outbox_id) < (o.dispatched_at, coalesce(o.rank, -1), o.outbox_id))
) AS q
CROSS JOIN LATERAL (
    SELECT count(*) AS rows, coalesce(sum(ahead.work), 0) AS work
    FROM (SELECT coalesce(w.work, 1) AS work
          FROM outbox AS w
          WHERE o.dispatched_at IS NULL
            AND w.lane = o.lane AND w.dispatched_at IS NULL AND w.set_aside_at IS NULL AND w.rank IS NOT NULL
            AND (w.rank, w.outbox_id) < (o.rank, o.outbox_id)
          LIMIT $2) AS ahead
) AS w
WHERE o.session_id = $1 AND o.set_aside_at IS NULL
ORDER BY o.outbox_id
LIMIT 1
