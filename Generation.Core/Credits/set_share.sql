-- The weight of a user in the order (decision 0022). Ranks that were given stay: it counts for later requests.
-- $1 action id · $2 key · $3 request hash · $4 actor · $5 user · $6 reason · $7 share. The account is locked.
WITH account AS (
    UPDATE credit_accounts
    SET share = $7, updated_at = now()
    WHERE user_id = $5 AND NOT EXISTS (SELECT FROM admin_actions WHERE idempotency_key = $2)
    RETURNING user_id, share, available, reserved, frozen_at
)
INSERT INTO admin_actions (admin_action_id, idempotency_key, request_hash, actor_id, user_id, action, reason, result)
SELECT $1, $2, $3, $4, user_id, 'set_share', $6,
       jsonb_build_object('actionId', $1::uuid, 'action', 'set_share', 'userId', user_id, 'share', share, 'reason', $6::text,
                          'available', available, 'reserved', reserved, 'frozen', frozen_at IS NOT NULL)
FROM account
