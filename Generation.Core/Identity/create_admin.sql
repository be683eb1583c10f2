-- A user with the role admin, one key, an account without credits, and the audit row; nothing at all when the handle is taken.
-- $1 user, $2 handle, $3 hash of the key, $4 audit row, $5 hash of the request
WITH person AS (
    INSERT INTO users (user_id, handle, role) VALUES ($1, $2, 'admin') ON CONFLICT (handle) DO NOTHING RETURNING user_id, handle
),
key AS (
    INSERT INTO api_keys (key_hash, user_id, name) SELECT $3, user_id, 'made with the administrator' FROM person
),
account AS (
    INSERT INTO credit_accounts (user_id) SELECT user_id FROM person
),
action AS (
    INSERT INTO admin_actions (admin_action_id, idempotency_key, request_hash, actor_id, user_id, action, reason, result)
    SELECT $4, 'create-admin:' || user_id, $5, user_id, user_id, 'create_admin', 'made by the command create-admin',
           jsonb_build_object('userId', user_id, 'handle', handle, 'role', 'admin')
    FROM person
)
SELECT count(*) = 1 FROM person
