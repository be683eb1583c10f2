-- Second statement of a settlement: the accounts of the locked sessions, in key order.
SELECT user_id
FROM credit_accounts
WHERE user_id = ANY (ARRAY(SELECT user_id FROM generation_sessions WHERE session_id = ANY ($1))) -- IN could read all sessions of each user
ORDER BY user_id
FOR NO KEY UPDATE
