-- Second statement of a settlement: the accounts of the locked sessions, in key order.
SELECT user_id
FROM credit_accounts
WHERE user_id IN (SELECT user_id FROM generation_sessions WHERE session_id = ANY ($1))
ORDER BY user_id
FOR NO KEY UPDATE
