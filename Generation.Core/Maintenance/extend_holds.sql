-- Holds of sessions that are not over live on: $1 is the time to live, and half of it is left when it is renewed. $2: the candidates, by session.
UPDATE credit_reservations
SET expires_at = now() + $1
WHERE reservation_id = ANY (ARRAY(
    SELECT v.reservation_id
    FROM credit_reservations AS v
    JOIN generation_sessions AS s USING (session_id)
    WHERE v.session_id = ANY ($2) AND v.status = 'held' AND v.expires_at < now() + $1 / 2 AND s.completed_at IS NULL
    FOR NO KEY UPDATE OF v SKIP LOCKED
))
