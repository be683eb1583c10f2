-- First statement of a callback: locks the session of the task, so that receive.sql sees, on a snapshot of its own, all that came before.
-- It puts a callback wholly before or wholly after a worker's suspend.
-- $1 provider · $2 token hash
SELECT s.session_id
FROM provider_tasks AS t
JOIN generation_sessions AS s USING (session_id)
WHERE t.callback_token_hash = $2 AND t.provider = $1
FOR NO KEY UPDATE OF s
