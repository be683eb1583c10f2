-- All leases of one worker in one statement. Who gets no row back has lost the session and must stop at once.
-- Carries progress to the row (it never falls), and whether the job moved since, and brings back whether cancel was asked.
WITH renewal AS (
    SELECT *
    FROM unnest($1::uuid[], $2::bigint[], $3::smallint[], $4::text[], $6::boolean[]) AS r (session_id, lease_token, progress, phase, moves)
),
held AS (
    SELECT s.session_id
    FROM generation_sessions AS s
    JOIN renewal AS r USING (session_id)
    WHERE s.lease_token = r.lease_token AND s.lease_until IS NOT NULL
    ORDER BY s.session_id
    FOR NO KEY UPDATE OF s
)
UPDATE generation_sessions AS s
SET lease_until = now() + $5, progress = greatest(s.progress, r.progress), phase = r.phase,
    progress_at = CASE WHEN r.moves THEN now() ELSE s.progress_at END, updated_at = now()
FROM held
JOIN renewal AS r USING (session_id)
WHERE s.session_id = held.session_id
RETURNING s.session_id, s.cancel_requested_at IS NOT NULL AS cancel_requested
