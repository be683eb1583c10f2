-- Every account beside its lots, its open holds and its ledger.
WITH lots AS MATERIALIZED (
    SELECT user_id, sum(available) AS available, sum(spent) AS spent, sum(expired) AS expired, sum(withdrawn) AS withdrawn, sum(granted) AS granted
    FROM credit_lots
    GROUP BY user_id
),
holds AS MATERIALIZED (
    SELECT user_id, sum(amount) AS amount
    FROM credit_reservations
    WHERE status = 'held'
    GROUP BY user_id
),
ledger AS MATERIALIZED (
    SELECT user_id,
           coalesce(sum(amount) FILTER (WHERE to_bucket = 'available'), 0)
               - coalesce(sum(amount) FILTER (WHERE from_bucket = 'available'), 0) AS available,
           coalesce(sum(amount) FILTER (WHERE to_bucket = 'reserved'), 0)
               - coalesce(sum(amount) FILTER (WHERE from_bucket = 'reserved'), 0) AS reserved,
           coalesce(sum(amount) FILTER (WHERE to_bucket = 'spent'), 0) - coalesce(sum(amount) FILTER (WHERE from_bucket = 'spent'), 0) AS spent,
           coalesce(sum(amount) FILTER (WHERE to_bucket = 'expired'), 0) - coalesce(sum(amount) FILTER (WHERE from_bucket = 'expired'), 0) AS expired,
           coalesce(sum(amount) FILTER (WHERE to_bucket = 'external'), 0) AS withdrawn,
           coalesce(sum(amount) FILTER (WHERE from_bucket = 'external'), 0) AS granted
    FROM (
        SELECT user_id, from_bucket, to_bucket, sum(amount) AS amount
        FROM credit_transactions
        GROUP BY user_id, from_bucket, to_bucket
    ) AS moved
    GROUP BY user_id
),
account AS MATERIALIZED (
    SELECT owner.user_id, a.user_id IS NULL AS missing, a.available, a.reserved, coalesce(h.amount, 0) AS held,
           coalesce(l.available, 0) AS lots_available, coalesce(l.spent, 0) AS lots_spent, coalesce(l.expired, 0) AS lots_expired,
           coalesce(l.withdrawn, 0) AS lots_withdrawn, coalesce(l.granted, 0) AS lots_granted,
           coalesce(t.available, 0) AS booked_available, coalesce(t.reserved, 0) AS booked_reserved, coalesce(t.spent, 0) AS booked_spent,
           coalesce(t.expired, 0) AS booked_expired, coalesce(t.withdrawn, 0) AS booked_withdrawn, coalesce(t.granted, 0) AS booked_granted
    FROM (
        SELECT user_id FROM credit_accounts
        UNION SELECT user_id FROM lots
        UNION SELECT user_id FROM holds
        UNION SELECT user_id FROM ledger
    ) AS owner
    LEFT JOIN credit_accounts AS a USING (user_id)
    LEFT JOIN lots AS l USING (user_id)
    LEFT JOIN holds AS h USING (user_id)
    LEFT JOIN ledger AS t USING (user_id)
)
SELECT 'account-exists' AS rule, user_id::text AS id, 'an account' AS expected, 'lots, holds or ledger rows without one' AS actual
FROM account WHERE missing
UNION ALL
SELECT 'account-not-negative', user_id::text, 'at least 0', format('available %s, reserved %s', available, reserved)
FROM account WHERE available < 0 OR reserved < 0
UNION ALL
SELECT 'available-is-in-lots', user_id::text, lots_available::text, available::text
FROM account WHERE available <> lots_available
UNION ALL
SELECT 'reserved-is-held', user_id::text, held::text, reserved::text
FROM account WHERE reserved <> held
UNION ALL
SELECT 'replay-gives-available', user_id::text, booked_available::text, available::text
FROM account WHERE available <> booked_available
UNION ALL
SELECT 'replay-gives-reserved', user_id::text, booked_reserved::text, reserved::text
FROM account WHERE reserved <> booked_reserved
UNION ALL
SELECT 'spent-is-booked', user_id::text, booked_spent::text, lots_spent::text
FROM account WHERE lots_spent <> booked_spent
UNION ALL
SELECT 'expired-is-booked', user_id::text, booked_expired::text, lots_expired::text
FROM account WHERE lots_expired <> booked_expired
UNION ALL
SELECT 'withdrawn-is-booked', user_id::text, booked_withdrawn::text, lots_withdrawn::text
FROM account WHERE lots_withdrawn <> booked_withdrawn
UNION ALL
SELECT 'granted-is-booked', user_id::text, booked_granted::text, lots_granted::text
FROM account WHERE lots_granted <> booked_granted
