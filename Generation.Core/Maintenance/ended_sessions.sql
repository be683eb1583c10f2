-- Sessions that have been over for $1 and may have left objects behind, after a position ($2, as this statement wrote it), $3 at most.
SELECT session_id, user_id, created_at, completed_at::text || '|' || session_id AS position
FROM generation_sessions
WHERE completed_at IS NOT NULL AND (status <> 'completed' OR lease_token > 2 OR failed_outputs IS NOT NULL)
  AND completed_at < now() - $1::interval
  AND ($2 = '' OR (completed_at, session_id) > (split_part($2, '|', 1)::timestamptz, split_part($2, '|', 2)::uuid))
ORDER BY completed_at, session_id
LIMIT $3
