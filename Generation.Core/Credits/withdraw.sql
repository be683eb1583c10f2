-- Credits taken back from what is available, in the order in which lots are drawn; all of $7 or nothing.
-- $1 action id · $2 key · $3 request hash · $4 actor · $5 user · $6 reason · $7 amount. The account is locked, its overdue lots are expired.
WITH account AS (
    UPDATE credit_accounts
    SET available = available - $7, updated_at = now()
    WHERE user_id = $5 AND available >= $7 AND NOT EXISTS (SELECT FROM admin_actions WHERE idempotency_key = $2)
    RETURNING user_id, available, reserved, frozen_at
),
available_lots AS (
    SELECT lot_id, sum(available) OVER drawing - available AS since, sum(available) OVER drawing AS upto
    FROM credit_lots
    WHERE user_id = (SELECT user_id FROM account) AND drawable
    WINDOW drawing AS (ORDER BY priority, expires_at NULLS LAST, created_at, lot_id)
),
lot AS (
    UPDATE credit_lots AS l
    SET available = l.available - d.amount, withdrawn = l.withdrawn + d.amount
    FROM (SELECT lot_id, (least(upto, $7) - since)::bigint AS amount FROM available_lots WHERE since < $7) AS d
    WHERE l.lot_id = d.lot_id
),
action AS (
    INSERT INTO admin_actions (admin_action_id, idempotency_key, request_hash, actor_id, user_id, action, reason, result)
    SELECT $1, $2, $3, $4, user_id, 'adjustment', $6,
           jsonb_build_object('actionId', $1::uuid, 'action', 'adjustment', 'userId', user_id, 'amount', -$7::bigint, 'reason', $6::text,
                              'available', available, 'reserved', reserved, 'frozen', frozen_at IS NOT NULL)
    FROM account
)
INSERT INTO credit_transactions (user_id, type, from_bucket, to_bucket, amount, available_after, reserved_after, admin_action_id)
SELECT user_id, 'adjustment', 'available', 'external', $7, available, reserved, $1
FROM account
