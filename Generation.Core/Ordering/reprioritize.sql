-- Moves a session to the front or the back of what waits of its user in its lane. Another user's session is overtaken only if it stood behind the
-- first of this user's: where that one has the same rank as another user's before it, there is no place between the two, and both the moved
-- session and then the first one go behind that rank. Rows with rank -1 go on with work that was begun; they are neither moved nor counted.
-- $1 action id · $2 key · $3 request hash · $4 actor · $5 user · $6 reason · $7 lane · $8 session · $9 whether to the front
-- The session and its rows are locked. Writes nothing when it does not wait.
WITH moved AS MATERIALIZED ( -- a delayed one (a retry) has no place yet, and its session's rank when its time comes
    SELECT o.outbox_id, coalesce(o.rank, s.rank) AS rank
    FROM generation_sessions AS s
    CROSS JOIN LATERAL (SELECT * FROM outbox AS o WHERE o.session_id = s.session_id OFFSET 0) AS o
    WHERE s.session_id = $8
      AND s.status = 'queued' AND s.phase <> 'recovering'
      AND o.dispatched_at IS NULL AND o.set_aside_at IS NULL AND coalesce(o.rank, 0) > -1
      AND NOT EXISTS (SELECT FROM admin_actions WHERE idempotency_key = $2)
    ORDER BY o.rank NULLS LAST, o.outbox_id
    LIMIT 1
),
own AS MATERIALIZED ( -- by the open holds: an open session has one, and they are found by user without those that have ended
    SELECT o.outbox_id, o.rank
    FROM credit_reservations AS v
    CROSS JOIN LATERAL (SELECT * FROM outbox AS o WHERE o.session_id = v.session_id OFFSET 0) AS o
    WHERE v.user_id = $5 AND v.status = 'held' AND v.session_id <> $8
      AND o.lane = $7 AND o.dispatched_at IS NULL AND o.set_aside_at IS NULL AND o.rank > -1
),
next_to AS MATERIALIZED ( -- the user's first, or last; and the ranks of the lane before and behind it
    SELECT n.outbox_id, n.rank,
           coalesce((
               SELECT w.rank
               FROM outbox AS w
               WHERE w.lane = $7 AND w.dispatched_at IS NULL AND w.set_aside_at IS NULL AND w.rank IS NOT NULL
                 AND (w.rank, w.outbox_id) < (n.rank, n.outbox_id) AND w.session_id <> $8
               ORDER BY w.rank DESC, w.outbox_id DESC
               LIMIT 1), -1) AS before,
           coalesce((
               SELECT w.rank
               FROM outbox AS w
               WHERE w.lane = $7 AND w.dispatched_at IS NULL AND w.set_aside_at IS NULL AND w.rank IS NOT NULL
                 AND w.rank > n.rank
               ORDER BY w.rank, w.outbox_id
               LIMIT 1), n.rank + 1) AS behind,
           greatest(1e-6, n.rank * 1e-14) AS step -- some 40 of the smallest steps that a rank of this size can make
    FROM (
        SELECT outbox_id, rank
        FROM own
        ORDER BY CASE WHEN $9 THEN rank ELSE -rank END, CASE WHEN $9 THEN outbox_id ELSE -outbox_id END
        LIMIT 1
    ) AS n
),
gap AS MATERIALIZED ( -- a step, or less where others stand closer
    SELECT *, rank - least(step, (rank - before) / 2) AS just_before, least(step, (behind - rank) / 3) AS third
    FROM next_to
),
place AS MATERIALIZED (
    SELECT m.outbox_id,
           CASE
               WHEN g.rank IS NULL OR is_there THEN m.rank
               WHEN has_room THEN g.just_before
               WHEN $9 THEN g.behind - 2 * g.third
               WHEN g.rank + g.third > g.rank THEN g.rank + g.third
               ELSE g.behind
           END AS rank,
           CASE WHEN $9 AND NOT is_there AND NOT has_room THEN g.outbox_id END AS first_id,
           CASE WHEN g.behind - g.third > g.behind - 2 * g.third THEN g.behind - g.third ELSE g.behind END AS first_rank
    FROM moved AS m
    LEFT JOIN gap AS g ON true
    CROSS JOIN LATERAL (
        SELECT coalesce(CASE WHEN $9 THEN (m.rank, m.outbox_id) < (g.rank, g.outbox_id)
                             ELSE (m.rank, m.outbox_id) > (g.rank, g.outbox_id) END, false) AS is_there,
               $9 AND g.just_before > g.before AND g.just_before < g.rank AS has_room
    ) AS how
),
session AS (
    UPDATE generation_sessions AS s
    SET rank = p.rank
    FROM place AS p
    WHERE s.session_id = $8
),
dispatch AS (
    UPDATE outbox AS o
    SET rank = p.rank
    FROM place AS p
    WHERE o.outbox_id = ANY (ARRAY[p.outbox_id]) AND o.rank IS NOT NULL
),
first AS ( -- SKIP LOCKED: a first one that is being dispatched needs no other place
    UPDATE outbox AS o
    SET rank = p.first_rank
    FROM place AS p
    WHERE o.outbox_id = ANY (ARRAY(
        SELECT f.outbox_id
        FROM outbox AS f
        WHERE f.outbox_id = ANY (ARRAY(SELECT first_id FROM place)) AND f.dispatched_at IS NULL
        FOR UPDATE SKIP LOCKED))
)
INSERT INTO admin_actions (admin_action_id, idempotency_key, request_hash, actor_id, user_id, action, reason, result)
SELECT $1, $2, $3, $4, $5, 'reprioritize', $6,
       jsonb_build_object('actionId', $1::uuid, 'action', 'reprioritize', 'userId', $5::uuid, 'lane', $7::text, 'sessionId', $8::uuid,
                          'to', CASE WHEN $9 THEN 'front' ELSE 'back' END, 'rank', rank, 'reason', $6::text)
FROM place
