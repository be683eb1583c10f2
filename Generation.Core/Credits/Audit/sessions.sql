-- Every session beside its hold and beside what was stored for it. The first part looks at each row once and keeps the few that break
-- a rule, the second says which: fifteen questions to each of a million rows cost three times as much as one with fifteen parts.
WITH broken AS MATERIALIZED (
    SELECT *
    FROM (
        SELECT s.session_id, s.user_id, s.status, s.completed_at, s.held_credits, s.captured_credits, s.extra_credits, s.shortfall_credits,
               s.unit_price * s.requested_outputs AS price,
               v.reservation_id, v.session_id AS hold_session_id, v.user_id AS hold_user_id, v.status AS hold_status, v.amount, v.captured, v.extra,
               coalesce(m.outputs, 0) AS outputs, coalesce(m.credits, 0) AS stored,

               (s.status IN ('completed', 'failed', 'canceled')) <> (s.completed_at IS NOT NULL) AS end_disagrees,
               (s.completed_at IS NULL) <> (s.captured_credits IS NULL) AS charge_untimely,
               s.session_id IS NULL AS session_missing,
               v.reservation_id IS NULL AS hold_missing,
               s.held_credits <> v.amount AS held_differs,
               s.held_credits <> s.unit_price * s.requested_outputs AS price_differs,
               s.captured_credits <> v.captured + v.extra AS charge_differs,
               s.extra_credits <> v.extra AS extra_differs,
               s.captured_credits - s.extra_credits NOT BETWEEN 0 AND s.held_credits OR s.extra_credits < 0 OR s.shortfall_credits < 0
                   OR (s.extra_credits + s.shortfall_credits > 0 AND s.captured_credits - s.extra_credits IS DISTINCT
                       FROM s.held_credits) AS extra_early,
               s.completed_at IS NOT NULL AND s.captured_credits + s.shortfall_credits <> coalesce(m.credits, 0) AS charge_unearned,
               s.status = 'completed' AND m.session_id IS NULL AS completed_empty,
               s.status = 'failed' AND m.session_id IS NOT NULL AS failed_full,
               v.user_id <> s.user_id AS hold_of_another,
               s.completed_at IS NOT NULL AND v.status = 'held' AS hold_left_open,
               s.session_id IS NOT NULL AND s.completed_at IS NULL AND v.status <> 'held' AS hold_closed_early
        FROM generation_sessions AS s
        FULL JOIN credit_reservations AS v ON v.session_id = s.session_id
        LEFT JOIN (SELECT session_id, count(*) AS outputs, sum(credits) AS credits FROM media GROUP BY session_id) AS m ON m.session_id = s.session_id
    ) AS s
    WHERE end_disagrees OR charge_untimely OR session_missing OR hold_missing OR held_differs OR price_differs OR charge_differs OR extra_differs
        OR extra_early
       OR charge_unearned OR completed_empty OR failed_full OR hold_of_another OR hold_left_open OR hold_closed_early
)
SELECT 'session-end-agrees' AS rule, session_id::text AS id,
       CASE WHEN status IN ('completed', 'failed', 'canceled') THEN status || ', with an end' ELSE status || ', without an end' END AS expected,
       coalesce('ended at ' || completed_at, 'no end') AS actual
FROM broken WHERE end_disagrees
UNION ALL
SELECT 'session-charged-at-end', session_id::text,
       CASE WHEN completed_at IS NULL THEN 'no charge yet' ELSE 'a charge, or 0' END, coalesce(captured_credits::text, 'none')
FROM broken WHERE charge_untimely
UNION ALL
SELECT 'session-has-hold', session_id::text, 'a hold', 'none'
FROM broken WHERE hold_missing
UNION ALL
SELECT 'session-held-is-hold', session_id::text, amount::text, held_credits::text
FROM broken WHERE held_differs
UNION ALL
SELECT 'session-held-is-price', session_id::text, price::text, held_credits::text
FROM broken WHERE price_differs
UNION ALL
SELECT 'session-charge-is-captured', session_id::text, (captured + extra)::text, captured_credits::text
FROM broken WHERE charge_differs
UNION ALL
SELECT 'session-extra-is-charged', session_id::text, extra::text, extra_credits::text
FROM broken WHERE extra_differs
UNION ALL
SELECT 'session-extra-follows-hold', session_id::text, format('all of the held %s, before anything beyond', held_credits),
       format('%s of it, extra %s, shortfall %s', captured_credits - extra_credits, extra_credits, shortfall_credits)
FROM broken WHERE extra_early
UNION ALL
SELECT 'session-charge-is-stored', session_id::text, stored || ' stored', format('%s charged, shortfall %s', captured_credits, shortfall_credits)
FROM broken WHERE charge_unearned
UNION ALL
SELECT 'completed-has-output', session_id::text, 'at least 1', '0'
FROM broken WHERE completed_empty
UNION ALL
SELECT 'failed-has-no-output', session_id::text, '0', outputs::text
FROM broken WHERE failed_full
UNION ALL
SELECT 'hold-of-session-user', reservation_id::text, user_id::text, hold_user_id::text
FROM broken WHERE hold_of_another
UNION ALL
SELECT 'hold-closes-with-session', reservation_id::text, format('closed, as session %s is %s', session_id, status), hold_status
FROM broken WHERE hold_left_open
UNION ALL
SELECT 'hold-open-while-session-runs', reservation_id::text, format('held, as session %s is %s', session_id, status), hold_status
FROM broken WHERE hold_closed_early
UNION ALL
SELECT 'hold-has-session', reservation_id::text, 'session ' || hold_session_id, 'none'
FROM broken WHERE session_missing
