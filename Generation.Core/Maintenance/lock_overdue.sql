-- First statement of the sweep of lots: accounts with overdue lots ($1 lots at most), in key order; expire_lots.sql follows.
SELECT set_config('generation.locked', coalesce(string_agg(user_id::text, ','), ''), true), count(*)
FROM (
    SELECT user_id
    FROM credit_accounts
    WHERE user_id IN (
        SELECT user_id
        FROM credit_lots
        WHERE drawable AND expires_at <= now()
        ORDER BY expires_at
        LIMIT $1
    )
    ORDER BY user_id
    FOR NO KEY UPDATE SKIP LOCKED
) AS account
