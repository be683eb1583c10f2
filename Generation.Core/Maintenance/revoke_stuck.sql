-- Sessions whose worker renews the lease but has not moved for too long: the lease is declared dead, and the token grows, so that whatever
-- that worker still does counts for nothing. DeadLeaseSweep queues them again, or ends those that were to be canceled.
-- $1 how long without progress · $2 the candidates
WITH stuck AS (
    SELECT session_id, lease_owner, phase, progress_at
    FROM generation_sessions
    WHERE session_id = ANY ($2) AND lease_until > now() AND progress_at < now() - $1
    ORDER BY session_id
    FOR NO KEY UPDATE SKIP LOCKED
),
revoked AS (
    UPDATE generation_sessions AS s
    SET lease_until = now(), lease_token = s.lease_token + 1, version = s.version + 1, updated_at = now()
    FROM stuck
    WHERE s.session_id = stuck.session_id
    RETURNING s.session_id, s.user_id, s.version, s.traceparent, stuck.lease_owner, stuck.phase, stuck.progress_at
),
stuck_event AS (
    INSERT INTO error_events (session_id, user_id, code, message, detail)
    SELECT session_id, user_id, 'stuck', 'The worker held the session without any progress; its lease was revoked and the job starts again.',
           jsonb_build_object('worker', lease_owner, 'phase', phase, 'lastProgressAt', progress_at)
    FROM revoked
)
SELECT session_id, user_id, version, traceparent
FROM revoked
