-- A page of what waits in a lane, in the order of dispatch; a look-up of each session and user.
-- $1 the lane · $2, $3 rank and row after which it begins · $4 rows at most · $5 jobs that come before the page; null for the first page: what is in
-- the queue, of which 10,000 are counted at most, as in position.sql
WITH page AS MATERIALIZED (
    SELECT outbox_id, session_id, rank, available_at
    FROM outbox
    WHERE lane = $1 AND dispatched_at IS NULL AND set_aside_at IS NULL AND rank IS NOT NULL AND (rank, outbox_id) > ($2, $3)
    ORDER BY rank, outbox_id
    LIMIT $4
)
SELECT p.outbox_id, p.rank, p.available_at, p.session_id, s.user_id, u.handle, s.model, s.provider, s.priority,
       coalesce($5, (SELECT count(*) FROM (SELECT FROM outbox WHERE lane = $1 AND dispatched_at IS NOT NULL LIMIT 10000) AS w))
       + row_number() OVER (ORDER BY p.rank, p.outbox_id) - 1 AS position
FROM page AS p
CROSS JOIN LATERAL (SELECT user_id, model, provider, priority FROM generation_sessions AS s WHERE s.session_id = p.session_id OFFSET 0) AS s
CROSS JOIN LATERAL (SELECT handle FROM users AS u WHERE u.user_id = s.user_id OFFSET 0) AS u
ORDER BY p.rank, p.outbox_id
