-- Of a submit batch. Locks the accounts of $1 in key order and notes which it got for the statements after it:
-- a user who is locked elsewhere (a finish, another Api) is left for the next batch, so that nobody stalls a neighbour.
-- Statements that follow start on a fresh snapshot; one statement for all would see the new account row and the old lots.
SELECT set_config('generation.locked', coalesce(string_agg(user_id::text, ','), ''), true)
FROM (
    SELECT user_id
    FROM credit_accounts
    WHERE user_id = ANY ($1)
    ORDER BY user_id
    FOR NO KEY UPDATE SKIP LOCKED
) AS account
