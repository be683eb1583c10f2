-- All leases of one worker in one statement. $1 the renewals · $2 how long a lease lasts.
-- Who gets no row back has lost the session and must stop at once. One whose row is locked elsewhere is not renewed and not lost either.
-- Carries progress to the row (it never falls), and whether the job moved since, and brings back whether cancel was asked.
WITH request AS MATERIALIZED (
    SELECT *
    FROM json_to_recordset($1) AS r (session_id uuid, lease_token bigint, progress smallint, phase text, has_progress boolean)
),
owned AS MATERIALIZED (
    SELECT s.session_id, r.progress, r.phase, r.has_progress
    FROM request AS r
    JOIN generation_sessions AS s ON s.session_id = ANY (ARRAY[r.session_id]) -- as in settle.sql
    WHERE s.lease_token = ANY (ARRAY[r.lease_token]) -- nor a join by the token, which is the same small number for most
      AND s.lease_owner IS NOT NULL -- nor by lease_until, which has an index of all leases
    ORDER BY s.session_id
    FOR NO KEY UPDATE OF s SKIP LOCKED
),
renewed AS (
    UPDATE generation_sessions AS s
    SET lease_until = now() + $2, progress = greatest(s.progress, owned.progress), phase = owned.phase,
        progress_at = CASE WHEN owned.has_progress THEN now() ELSE s.progress_at END, updated_at = now()
    FROM owned
    WHERE s.session_id = ANY (ARRAY[owned.session_id])
    RETURNING s.session_id, s.cancel_requested_at IS NOT NULL AS cancel_requested
)
SELECT session_id, cancel_requested, false AS is_locked
FROM renewed
UNION ALL
SELECT r.session_id, false, true
FROM request AS r
CROSS JOIN LATERAL ( -- a look-up each
    SELECT s.lease_token, s.lease_owner FROM generation_sessions AS s WHERE s.session_id = r.session_id OFFSET 0
) AS s
WHERE s.lease_token = r.lease_token AND s.lease_owner IS NOT NULL
  AND r.session_id <> ALL (ARRAY(SELECT session_id FROM owned))
