-- Credits from outside: a lot of its own, the ledger row and the audit row, unless the key was used before.
-- $1 action id · $2 key · $3 request hash · $4 actor · $5 user · $6 reason · $7 amount · $8 kind · $9 priority · $10 expires at
-- $11 lot id · $12 ledger type · $13 action. The account is locked.
WITH account AS (
    UPDATE credit_accounts
    SET available = available + $7, updated_at = now()
    WHERE user_id = $5 AND NOT EXISTS (SELECT FROM admin_actions WHERE idempotency_key = $2)
    RETURNING user_id, available, reserved, frozen_at
),
action AS (
    INSERT INTO admin_actions (admin_action_id, idempotency_key, request_hash, actor_id, user_id, action, reason, result)
    SELECT $1, $2, $3, $4, user_id, $13, $6,
           jsonb_build_object('actionId', $1::uuid, 'action', $13::text, 'userId', user_id, 'amount', $7::bigint, 'lotId', $11::uuid, 'kind',
               $8::text,
                              'priority', $9::integer, 'expiresAt', $10::timestamptz, 'reason', $6::text,
                              'available', available, 'reserved', reserved, 'frozen', frozen_at IS NOT NULL)
    FROM account
),
lot AS (
    INSERT INTO credit_lots (lot_id, user_id, kind, priority, granted, available, expires_at, reference, reason)
    SELECT $11, user_id, $8, $9, $7, $7, $10, 'admin:' || $2, $6
    FROM account
)
INSERT INTO credit_transactions (user_id, type, from_bucket, to_bucket, amount, available_after, reserved_after, lot_id, admin_action_id)
SELECT user_id, $12, 'external', 'available', $7, available, reserved, $11, $1
FROM account
