-- First statement of the sweep: sessions that are over while their hold is not, and has outlived its time; of the candidates in $1.
-- A settlement ends both at once, so there are none; the sweep is for what nobody thought of.
SELECT set_config('generation.sessions', coalesce(string_agg(session_id::text, ','), ''), true)
FROM (
    SELECT s.session_id
    FROM credit_reservations AS v
    JOIN generation_sessions AS s USING (session_id)
    WHERE s.session_id = ANY ($1) AND v.status = 'held' AND v.expires_at <= now() AND s.completed_at IS NOT NULL
    ORDER BY s.session_id
    FOR NO KEY UPDATE OF s SKIP LOCKED
) AS abandoned
