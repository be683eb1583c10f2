-- First statement of the sweep of lots: of the accounts in $1 those with overdue lots, in key order; expire_lots.sql follows.
SELECT set_config('generation.locked', coalesce(string_agg(user_id::text, ','), ''), true), count(*)
FROM (
    SELECT user_id
    FROM credit_accounts
    WHERE user_id = ANY ($1)
      AND EXISTS (SELECT FROM credit_lots AS l WHERE l.user_id = credit_accounts.user_id AND l.drawable AND l.expires_at <= now())
    ORDER BY user_id
    FOR NO KEY UPDATE SKIP LOCKED
) AS account
