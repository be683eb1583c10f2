-- Sessions of a lane that a full worker takes past the queue, because its slots are held by a few providers: the first of other providers, dispatched
-- or not. Of what waits only the next 2,000 are looked at: this runs once a second in every worker that is full.
-- $1 the lane · $2 providers to pass over · $3 how many
SELECT o.outbox_id, o.session_id, o.traceparent
FROM (
    (SELECT outbox_id, session_id, traceparent, provider, -2 AS rank
     FROM outbox
     WHERE lane = $1 AND dispatched_at IS NOT NULL
     ORDER BY dispatched_at
     LIMIT 2000)
    UNION ALL
    (SELECT outbox_id, session_id, traceparent, provider, rank
     FROM outbox
     WHERE lane = $1 AND dispatched_at IS NULL AND set_aside_at IS NULL AND rank IS NOT NULL AND available_at <= now()
     ORDER BY rank, outbox_id
     LIMIT 2000)
) AS o
WHERE o.provider <> ALL ($2) AND NOT EXISTS (SELECT FROM lanes AS l WHERE l.lane = $1 AND l.paused_at IS NOT NULL)
ORDER BY o.rank, o.outbox_id
LIMIT $3
