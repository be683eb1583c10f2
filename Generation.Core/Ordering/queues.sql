-- Each lane as an operator sees it. Counts stop after $1, one more than is shown: they read an index only, and no more of it than that, however
-- many wait. The age is that of the oldest row among those counted, by its id as in lag.sql, or of a delayed one that is due and
-- not in line yet.
-- $1 rows to count at most
WITH running AS MATERIALIZED (
    SELECT lane, count(*) AS sessions
    FROM (SELECT lane FROM generation_sessions WHERE lease_until > now() LIMIT $1) AS leased
    GROUP BY lane
)
SELECT l.lane, l.paused_at, l.paused_by, l.clock,
       waiting.jobs AS waiting, delayed.jobs AS delayed, in_queue.jobs AS in_queue, coalesce(r.sessions, 0) AS running,
       coalesce((SELECT sum(sessions) FROM running) >= $1, false) AS more_running,
       greatest(0, extract(epoch FROM now() - least(
           (SELECT available_at FROM outbox WHERE outbox_id = waiting.oldest),
           (SELECT min(available_at) FROM outbox
            WHERE lane = l.lane AND dispatched_at IS NULL AND set_aside_at IS NULL AND rank IS NULL AND available_at <= now())
       )))::double precision AS oldest_wait_seconds
FROM lanes AS l
LEFT JOIN running AS r ON r.lane = l.lane
CROSS JOIN LATERAL (
    SELECT count(*) AS jobs, min(outbox_id) AS oldest
    FROM (
        SELECT outbox_id
        FROM outbox
        WHERE lane = l.lane AND dispatched_at IS NULL AND set_aside_at IS NULL AND rank IS NOT NULL
        ORDER BY rank, outbox_id
        LIMIT $1
    ) AS w
) AS waiting
CROSS JOIN LATERAL (
    SELECT count(*) AS jobs
    FROM (SELECT FROM outbox WHERE lane = l.lane AND dispatched_at IS NULL AND set_aside_at IS NULL AND rank IS NULL LIMIT $1) AS w
) AS delayed
CROSS JOIN LATERAL (SELECT count(*) AS jobs FROM (SELECT FROM outbox WHERE lane = l.lane AND dispatched_at IS NOT NULL LIMIT $1) AS w) AS in_queue
