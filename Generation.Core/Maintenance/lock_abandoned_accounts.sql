-- Second statement of the sweep: their accounts, in key order.
SELECT user_id
FROM credit_accounts
WHERE user_id IN (
    SELECT user_id
    FROM generation_sessions
    WHERE session_id = ANY (string_to_array(current_setting('generation.abandoned'), ',')::uuid[])
)
ORDER BY user_id
FOR NO KEY UPDATE
