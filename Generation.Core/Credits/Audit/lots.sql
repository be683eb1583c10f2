-- Every lot beside what was drawn from it and the ledger rows that name it.
WITH lot AS MATERIALIZED (
    SELECT l.lot_id, l.granted, l.available, l.held, l.spent, l.expired, l.withdrawn,
           coalesce(d.held, 0) AS drawn_held, coalesce(d.captured, 0) AS drawn_captured, coalesce(d.released, 0) AS drawn_released,
           coalesce(t.granted, 0) AS booked_granted, coalesce(t.expired, 0) AS booked_expired
    FROM credit_lots AS l
    LEFT JOIN (
        SELECT d.lot_id, sum(d.amount) FILTER (WHERE v.reservation_id IS NOT NULL AND NOT d.extra) AS held, sum(d.captured) AS captured,
            sum(d.released) AS released
        FROM credit_reservation_draws AS d
        LEFT JOIN credit_reservations AS v ON v.reservation_id = d.reservation_id AND v.status = 'held'
        GROUP BY d.lot_id
    ) AS d ON d.lot_id = l.lot_id
    LEFT JOIN (
        SELECT lot_id, sum(amount) FILTER (WHERE from_bucket = 'external') AS granted, sum(amount) FILTER (WHERE to_bucket = 'expired') AS expired
        FROM credit_transactions
        WHERE lot_id IS NOT NULL
        GROUP BY lot_id
    ) AS t ON t.lot_id = l.lot_id
)
SELECT 'lot-adds-up' AS rule, lot_id::text AS id, granted::text AS expected,
       format('%s = available %s + held %s + spent %s + expired %s + withdrawn %s',
              available + held + spent + expired + withdrawn, available, held, spent, expired, withdrawn) AS actual
FROM lot WHERE granted <> available + held + spent + expired + withdrawn
UNION ALL
SELECT 'lot-not-negative', lot_id::text, 'at least 0', least(available, held, spent, expired, withdrawn)::text
FROM lot WHERE least(available, held, spent, expired, withdrawn) < 0
UNION ALL
SELECT 'lot-held-is-drawn', lot_id::text, drawn_held::text, held::text
FROM lot WHERE held <> drawn_held
UNION ALL
SELECT 'lot-spent-is-captured', lot_id::text, drawn_captured::text, spent::text
FROM lot WHERE spent <> drawn_captured
UNION ALL
SELECT 'lot-grant-is-booked', lot_id::text, booked_granted::text, granted::text
FROM lot WHERE granted <> booked_granted
UNION ALL -- it expired by itself, or when a hold gave it back
SELECT 'lot-expiry-is-explained', lot_id::text, format('from %s to %s', booked_expired, booked_expired + drawn_released), expired::text
FROM lot WHERE expired NOT BETWEEN booked_expired AND booked_expired + drawn_released
