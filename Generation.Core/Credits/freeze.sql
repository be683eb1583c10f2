-- A frozen account submits nothing; what runs goes on to its end.
-- $1 action id · $2 key · $3 request hash · $4 actor · $5 user · $6 reason · $7 whether to freeze. The account is locked.
WITH account AS (
    UPDATE credit_accounts
    SET frozen_at = CASE WHEN $7 THEN coalesce(frozen_at, now()) END, updated_at = now()
    WHERE user_id = $5 AND NOT EXISTS (SELECT FROM admin_actions WHERE idempotency_key = $2)
    RETURNING user_id, available, reserved, frozen_at
)
INSERT INTO admin_actions (admin_action_id, idempotency_key, request_hash, actor_id, user_id, action, reason, result)
SELECT $1, $2, $3, $4, user_id, CASE WHEN $7 THEN 'freeze' ELSE 'unfreeze' END, $6,
       jsonb_build_object('actionId', $1::uuid, 'action', CASE WHEN $7 THEN 'freeze' ELSE 'unfreeze' END, 'userId', user_id, 'reason', $6::text,
                          'available', available, 'reserved', reserved, 'frozen', frozen_at IS NOT NULL)
FROM account
