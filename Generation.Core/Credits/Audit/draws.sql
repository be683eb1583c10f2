-- Every draw beside its hold and its lot. A draw has no id of its own: it goes by its hold's.
SELECT CASE WHEN v.reservation_id IS NULL THEN 'draw-has-hold' ELSE 'draw-from-own-lot' END AS rule, d.reservation_id::text AS id,
       CASE WHEN v.reservation_id IS NULL THEN 'a hold' ELSE 'lots of user ' || v.user_id END AS expected,
       CASE WHEN v.reservation_id IS NULL THEN 'none' ELSE format('lot %s of %s', d.lot_id, coalesce('user ' || l.user_id, 'nobody')) END AS actual
FROM credit_reservation_draws AS d
LEFT JOIN credit_reservations AS v ON v.reservation_id = d.reservation_id
LEFT JOIN credit_lots AS l ON l.lot_id = d.lot_id
WHERE v.reservation_id IS NULL OR l.user_id IS DISTINCT FROM v.user_id
