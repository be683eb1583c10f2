-- Every hold beside the draws it is made of and the ledger rows it was booked with; in two parts as in sessions.sql.
-- Here the rows are only counted, which the index of their uniqueness answers; ledger.sql compares the amount of each with its hold.
WITH broken AS MATERIALIZED (
    SELECT *
    FROM (
        SELECT v.*, coalesce(b.holds, 0) AS holds, coalesce(b.captures, 0) AS captures, coalesce(b.releases, 0) AS releases,
            coalesce(b.extras, 0) AS extras,

               CASE WHEN v.status = 'held' THEN v.captured <> 0 OR v.released <> 0 OR v.extra <> 0 OR v.closed_at IS NOT NULL
                    ELSE v.captured < 0 OR v.released < 0 OR v.extra < 0 OR v.captured + v.released <> v.amount OR v.closed_at IS NULL
                         OR (v.captured > 0) <> (v.status = 'captured') OR (v.extra > 0 AND v.captured <> v.amount) END AS undivided,
               v.amount IS DISTINCT FROM v.drawn AS draw_differs,
               v.captured <> coalesce(v.drawn_captured, 0) AS capture_differs,
               v.extra <> coalesce(v.drawn_extra, 0) AS extra_differs,
               NOT v.draws_divided AS draw_undivided,
               NOT v.draws_own AS draw_of_another,
               b.holds IS DISTINCT FROM 1 AS hold_bookings_differ,
               coalesce(b.captures, 0) <> (v.captured > 0)::integer AS capture_bookings_differ,
               coalesce(b.releases, 0) <> (v.released > 0)::integer AS release_bookings_differ,
               coalesce(b.extras, 0) <> (v.extra > 0)::integer AS extra_bookings_differ
        FROM (
            SELECT v.reservation_id, v.user_id, v.status, v.amount, v.captured, v.released, v.extra, v.closed_at,
                   sum(d.amount) FILTER (WHERE NOT d.extra) AS drawn,
                   sum(d.captured) FILTER (WHERE NOT d.extra) AS drawn_captured,
                   sum(d.amount) FILTER (WHERE d.extra) AS drawn_extra,
                   bool_and(d.amount > 0 AND d.captured >= 0 AND d.released >= 0
                            AND (d.captured + d.released = d.amount OR d.captured + d.released = 0)
                                AND (NOT d.extra OR d.captured = d.amount)) AS draws_divided,
                   bool_and(l.user_id IS NOT DISTINCT FROM v.user_id) FILTER (WHERE d.lot_id IS NOT NULL) AS draws_own
            FROM credit_reservations AS v
            LEFT JOIN credit_reservation_draws AS d ON d.reservation_id = v.reservation_id
            LEFT JOIN credit_lots AS l ON l.lot_id = d.lot_id
            GROUP BY v.reservation_id
        ) AS v
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
    WHERE undivided OR draw_differs OR capture_differs OR extra_differs OR draw_undivided OR draw_of_another
       OR hold_bookings_differ OR capture_bookings_differ OR release_bookings_differ OR extra_bookings_differ
)
SELECT 'hold-is-divided' AS rule, reservation_id::text AS id,
       CASE WHEN status = 'held' THEN format('all of %s held', amount) ELSE format('%s, with %s divided into captured and released', status, amount)
           END AS expected,
       format('captured %s, released %s, extra %s, %s', captured, released, extra, CASE WHEN closed_at IS NULL THEN 'open'
           ELSE 'closed' END) AS actual
FROM broken WHERE undivided
UNION ALL
SELECT 'hold-is-drawn', reservation_id::text, amount::text, coalesce(drawn, 0)::text
FROM broken WHERE draw_differs
UNION ALL
SELECT 'hold-capture-is-drawn', reservation_id::text, captured::text, coalesce(drawn_captured, 0)::text
FROM broken WHERE capture_differs
UNION ALL
SELECT 'hold-extra-is-drawn', reservation_id::text, extra::text, coalesce(drawn_extra, 0)::text
FROM broken WHERE extra_differs
UNION ALL
SELECT 'draw-is-divided', reservation_id::text, 'each of its draws open, or divided into captured and released', 'one that is not'
FROM broken WHERE draw_undivided
UNION ALL
SELECT 'draw-from-own-lot', reservation_id::text, 'lots of user ' || user_id, 'one that is not'
FROM broken WHERE draw_of_another
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
UNION ALL
SELECT 'draw-has-hold', d.reservation_id::text, 'a hold', 'a draw of ' || d.amount || ' without one'
FROM credit_reservation_draws AS d
WHERE NOT EXISTS (SELECT FROM credit_reservations AS v WHERE v.reservation_id = d.reservation_id)
