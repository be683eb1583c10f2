-- First statement of a settlement: the sessions, in key order.
SELECT session_id
FROM generation_sessions
WHERE session_id = ANY ($1)
ORDER BY session_id
FOR NO KEY UPDATE
