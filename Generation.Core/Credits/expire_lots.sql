-- Of a submit batch, after the locks: what is left in the overdue lots of the locked accounts expires now.
-- (What is held in them does not: it expires when it is released, see Sessions/settle.sql.)
WITH due AS (
    SELECT lot_id, user_id, available
    FROM credit_lots
    WHERE user_id = ANY (string_to_array(current_setting('generation.locked'), ',')::uuid[])
      AND drawable
      AND expires_at <= now()
    ORDER BY lot_id
    FOR UPDATE SKIP LOCKED -- one that is locked expires the next time
),
lot AS (
    UPDATE credit_lots AS l
    SET available = 0, expired = l.expired + due.available
    FROM due
    WHERE l.lot_id = due.lot_id
),
account AS (
    UPDATE credit_accounts AS a
    SET available = a.available - gone.amount, updated_at = now()
    FROM (SELECT user_id, sum(available)::bigint AS amount FROM due GROUP BY user_id) AS gone
    WHERE a.user_id = gone.user_id
    RETURNING a.user_id, a.available, a.reserved
)
INSERT INTO credit_transactions (user_id, type, from_bucket, to_bucket, amount, available_after, reserved_after, lot_id)
SELECT due.user_id, 'expiry', 'available', 'expired', due.available,
       account.available + sum(due.available) OVER (PARTITION BY due.user_id ORDER BY due.lot_id DESC) - due.available,
       account.reserved, due.lot_id
FROM due
JOIN account USING (user_id)
ORDER BY due.user_id, due.lot_id
