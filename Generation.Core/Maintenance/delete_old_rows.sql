-- Rows that nobody asks for any more, $1 of each kind at most; $2 how long error events are kept, $3 callbacks, $4 what was set aside.
-- An open outcome_unknown stays until an operator has resolved it; a row that was set aside stays while its session lives.
WITH event AS (
    DELETE FROM error_events
    WHERE error_event_id IN (
        SELECT error_event_id
        FROM error_events
        WHERE (code <> 'outcome_unknown' OR resolved_at IS NOT NULL) AND created_at < now() - $2::interval
        ORDER BY created_at
        LIMIT $1
        FOR UPDATE SKIP LOCKED
    )
    RETURNING 1
),
callback AS (
    DELETE FROM webhook_inbox
    WHERE inbox_id IN (
        SELECT inbox_id
        FROM webhook_inbox
        WHERE received_at < now() - $3::interval
        ORDER BY received_at
        LIMIT $1
        FOR UPDATE SKIP LOCKED
    )
    RETURNING 1
),
row_set_aside AS (
    DELETE FROM outbox
    WHERE outbox_id IN (
        SELECT o.outbox_id
        FROM outbox AS o
        LEFT JOIN generation_sessions AS s USING (session_id)
        WHERE o.set_aside_at < now() - $4::interval AND (s.session_id IS NULL OR s.completed_at IS NOT NULL)
        ORDER BY o.set_aside_at
        LIMIT $1
        FOR UPDATE OF o SKIP LOCKED
    )
    RETURNING 1
),
sweep_failure AS (
    DELETE FROM sweep_failures
    WHERE (sweep, subject_id) IN (
        SELECT sweep, subject_id FROM sweep_failures WHERE next_try_at < now() - interval '1 day' LIMIT $1 FOR UPDATE SKIP LOCKED
    )
)
SELECT (SELECT count(*) FROM event)::integer, (SELECT count(*) FROM callback)::integer, (SELECT count(*) FROM row_set_aside)::integer
