-- Every hold beside the draws it is made of and the ledger rows it was booked with; in two parts as in sessions.sql.
-- Here the rows are only counted, which the index of their uniqueness answers; ledger.sql compares the amount of each with its hold.
WITH broken AS MATERIALIZED (
    SELECT *
    FROM (
        SELECT v.reservation_id, v.session_id, v.status, v.amount, v.captured, v.released, v.extra, v.closed_at,
               coalesce(d.amount, 0) AS drawn, coalesce(d.captured, 0) AS drawn_captured, coalesce(d.extra, 0) AS drawn_extra,
               coalesce(b.holds, 0) AS holds, coalesce(b.captures, 0) AS captures, coalesce(b.releases, 0) AS releases, coalesce(b.extras, 0) AS extras,

               s.session_id IS NULL AS session_missing,
               CASE WHEN v.status = 'held' THEN v.captured <> 0 OR v.released <> 0 OR v.extra <> 0 OR v.closed_at IS NOT NULL
                    ELSE v.captured < 0 OR v.released < 0 OR v.extra < 0 OR v.captured + v.released <> v.amount OR v.closed_at IS NULL
                         OR (v.captured > 0) <> (v.status = 'captured') OR (v.extra > 0 AND v.captured <> v.amount) END AS undivided,
               v.amount IS DISTINCT FROM d.amount AS draw_differs,
               v.captured <> coalesce(d.captured, 0) AS capture_differs,
               v.extra <> coalesce(d.extra, 0) AS extra_differs,
               NOT d.whole AS draw_undivided,
               b.holds IS DISTINCT FROM 1 AS hold_bookings_differ,
               coalesce(b.captures, 0) <> (v.captured > 0)::integer AS capture_bookings_differ,
               coalesce(b.releases, 0) <> (v.released > 0)::integer AS release_bookings_differ,
               coalesce(b.extras, 0) <> (v.extra > 0)::integer AS extra_bookings_differ
        FROM credit_reservations AS v
        LEFT JOIN generation_sessions AS s ON s.session_id = v.session_id
        LEFT JOIN (
            SELECT reservation_id,
                   sum(amount) FILTER (WHERE NOT extra) AS amount,
                   sum(captured) FILTER (WHERE NOT extra) AS captured,
                   sum(amount) FILTER (WHERE extra) AS extra,
                   bool_and(amount > 0 AND captured >= 0 AND released >= 0
                            AND (captured + released = amount OR captured + released = 0) AND (NOT extra OR captured = amount)) AS whole
            FROM credit_reservation_draws
            GROUP BY reservation_id
        ) AS d ON d.reservation_id = v.reservation_id
        LEFT JOIN (
            SELECT reservation_id,
                   count(*) FILTER (WHERE type = 'reservation') AS holds,
                   count(*) FILTER (WHERE type = 'usage' AND from_bucket = 'reserved') AS captures,
                   count(*) FILTER (WHERE type IN ('refund', 'adjustment')) AS releases,
                   count(*) FILTER (WHERE type = 'usage' AND from_bucket = 'available') AS extras
            FROM credit_transactions
            WHERE reservation_id IS NOT NULL
            GROUP BY reservation_id
        ) AS b ON b.reservation_id = v.reservation_id
    ) AS v
    WHERE session_missing OR undivided OR draw_differs OR capture_differs OR extra_differs OR draw_undivided OR hold_bookings_differ
       OR capture_bookings_differ OR release_bookings_differ OR extra_bookings_differ
)
SELECT 'hold-has-session' AS rule, reservation_id::text AS id, 'session ' || session_id AS expected, 'none' AS actual
FROM broken WHERE session_missing
UNION ALL
SELECT 'hold-is-divided', reservation_id::text,
       CASE WHEN status = 'held' THEN format('all of %s held', amount) ELSE format('%s, with %s divided into captured and released', status, amount) END,
       format('captured %s, released %s, extra %s, %s', captured, released, extra, CASE WHEN closed_at IS NULL THEN 'open' ELSE 'closed' END)
FROM broken WHERE undivided
UNION ALL
SELECT 'hold-is-drawn', reservation_id::text, amount::text, drawn::text
FROM broken WHERE draw_differs
UNION ALL
SELECT 'hold-capture-is-drawn', reservation_id::text, captured::text, drawn_captured::text
FROM broken WHERE capture_differs
UNION ALL
SELECT 'hold-extra-is-drawn', reservation_id::text, extra::text, drawn_extra::text
FROM broken WHERE extra_differs
UNION ALL
SELECT 'draw-is-divided', reservation_id::text, 'each of its draws open, or divided into captured and released', 'one that is not'
FROM broken WHERE draw_undivided
UNION ALL
SELECT 'hold-is-booked', reservation_id::text, '1 row', holds || ' rows'
FROM broken WHERE hold_bookings_differ
UNION ALL
SELECT 'hold-capture-is-booked', reservation_id::text, CASE WHEN captured > 0 THEN '1 row' ELSE 'no row' END, captures || ' rows'
FROM broken WHERE capture_bookings_differ
UNION ALL
SELECT 'hold-release-is-booked', reservation_id::text, CASE WHEN released > 0 THEN '1 row' ELSE 'no row' END, releases || ' rows'
FROM broken WHERE release_bookings_differ
UNION ALL
SELECT 'hold-extra-is-booked', reservation_id::text, CASE WHEN extra > 0 THEN '1 row' ELSE 'no row' END, extras || ' rows'
FROM broken WHERE extra_bookings_differ
