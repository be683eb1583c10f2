-- Every row of the ledger: what it says beside what it names; then the balances after it beside the sum of its user's rows up to it.
-- The second part sorts the whole ledger, so it carries nothing else through the sort.
WITH broken AS MATERIALIZED (
    SELECT *
    FROM (
        SELECT t.transaction_id, t.user_id, t.type, t.from_bucket, t.to_bucket, t.amount, t.session_id, t.reservation_id, t.lot_id, t.admin_action_id,
               v.user_id AS hold_user_id, v.session_id AS hold_session_id, v.amount AS held, v.captured, v.released, v.extra,
                   l.user_id AS lot_user_id, a.user_id AS action_user_id,
               NOT coalesce(t.amount > 0 AND t.available_after >= 0 AND t.reserved_after >= 0 AND CASE t.type
                   WHEN 'reservation' THEN t.from_bucket = 'available' AND t.to_bucket = 'reserved' AND t.reservation_id IS NOT NULL
                   WHEN 'usage' THEN t.from_bucket IN ('reserved', 'available') AND t.to_bucket = 'spent' AND t.reservation_id IS NOT NULL
                   WHEN 'refund' THEN t.from_bucket = 'reserved' AND t.to_bucket = 'available' AND t.reservation_id IS NOT NULL
                   WHEN 'adjustment' THEN CASE t.from_bucket
                       WHEN 'reserved' THEN t.to_bucket = 'available' AND t.reservation_id IS NOT NULL
                       WHEN 'external' THEN t.to_bucket = 'available' AND t.lot_id IS NOT NULL
                       ELSE t.from_bucket = 'available' AND t.to_bucket = 'external' AND t.admin_action_id IS NOT NULL END
                   WHEN 'expiry' THEN t.from_bucket = 'available' AND t.to_bucket = 'expired'
                       AND (t.reservation_id IS NOT NULL OR t.lot_id IS NOT NULL)
                   ELSE t.type IN ('purchase', 'bonus') AND t.from_bucket = 'external' AND t.to_bucket = 'available' AND t.lot_id IS NOT NULL
               END, false) AS impossible,
               (t.reservation_id IS NOT NULL AND t.user_id IS DISTINCT FROM v.user_id) OR t.session_id IS DISTINCT FROM v.session_id AS hold_differs,
               CASE t.type WHEN 'reservation' THEN t.amount <> v.amount
                           WHEN 'usage' THEN t.amount <> CASE t.from_bucket WHEN 'reserved' THEN v.captured ELSE v.extra END
                           WHEN 'expiry' THEN t.amount > v.released -- of what was released, what lapsed at once
                           ELSE t.amount <> v.released END AS amount_differs,
               t.lot_id IS NOT NULL AND t.user_id IS DISTINCT FROM l.user_id AS lot_differs,
               t.admin_action_id IS NOT NULL AND t.user_id IS DISTINCT FROM a.user_id AS action_differs
        FROM credit_transactions AS t
        LEFT JOIN credit_reservations AS v ON v.reservation_id = t.reservation_id
        LEFT JOIN credit_lots AS l ON l.lot_id = t.lot_id
        LEFT JOIN admin_actions AS a ON a.admin_action_id = t.admin_action_id
    ) AS t
    WHERE impossible OR hold_differs OR amount_differs OR lot_differs OR action_differs
)
SELECT 'row-is-possible' AS rule, transaction_id::text AS id, 'a booking that docs/ledger.md knows, with its cause' AS expected,
       format('%s of %s from %s to %s%s%s%s', type, amount, from_bucket, to_bucket, ', hold ' || reservation_id, ', lot ' || lot_id,
           ', action ' || admin_action_id) AS actual
FROM broken WHERE impossible
UNION ALL
SELECT 'row-of-own-hold', transaction_id::text, format('user %s, session %s, as hold %s says', hold_user_id, hold_session_id, reservation_id),
    format('user %s, session %s', user_id, session_id)
FROM broken WHERE hold_differs
UNION ALL
SELECT 'row-amount-is-of-hold', transaction_id::text, format('as hold %s says: held %s, captured %s, released %s, extra %s', reservation_id, held,
    captured, released, extra),
       format('%s of %s from %s', type, amount, from_bucket)
FROM broken WHERE amount_differs
UNION ALL
SELECT 'row-of-own-lot', transaction_id::text, coalesce('user ' || lot_user_id, 'a lot that exists'), 'user ' || user_id
FROM broken WHERE lot_differs
UNION ALL
SELECT 'row-of-own-action', transaction_id::text, coalesce('user ' || action_user_id, 'an action that exists'), 'user ' || user_id
FROM broken WHERE action_differs
UNION ALL
SELECT 'row-carries-balances', transaction_id::text, format('available %s, reserved %s', available, reserved),
    format('available %s, reserved %s', available_after, reserved_after)
FROM (
    SELECT transaction_id, available_after, reserved_after,
           sum(available) OVER booking AS available,
           sum(reserved) OVER booking AS reserved
    FROM (
        SELECT user_id, transaction_id, available_after, reserved_after,
               CASE WHEN to_bucket = 'available' THEN amount WHEN from_bucket = 'available' THEN -amount ELSE 0 END AS available,
               CASE WHEN to_bucket = 'reserved' THEN amount WHEN from_bucket = 'reserved' THEN -amount ELSE 0 END AS reserved
        FROM credit_transactions
    ) AS t
    WINDOW booking AS (PARTITION BY user_id ORDER BY transaction_id ROWS UNBOUNDED PRECEDING)
) AS t
WHERE available_after <> available OR reserved_after <> reserved
