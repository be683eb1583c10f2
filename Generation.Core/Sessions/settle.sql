-- The end of sessions: what was stored is captured, the rest goes back to the lots it came from, in one transaction.
-- Runs after lock_sessions.sql and lock_session_accounts.sql (lock order: sessions, accounts, lots), on a fresh snapshot.
-- Everything that ends a session ends it here: the worker's finish, cancel, the relay's sweeps.
--
-- A request's guard says by what right it ends the session; who has lost that right gets no row back:
--   fenced      the worker that holds lease_token          queued    nobody has it (cancel)
--   deadline    past its own deadline, whoever has it       dead      its worker is dead and cancel was asked
WITH request AS MATERIALIZED (
    SELECT *
    FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::boolean[], $5::text[], $6::text[], $7::boolean[], $8::jsonb[], $9::numeric[], $10::jsonb[])
        AS r (session_id, guard, lease_token, canceled, error_code, error_message, error_retryable, provider_usage, provider_usd, failed_outputs)
),
ending AS MATERIALIZED (
    SELECT s.session_id, s.user_id, v.reservation_id, v.amount AS held, r.error_code, r.error_message, r.error_retryable,
           r.provider_usage, r.provider_usd, r.failed_outputs,
           least(stored.credits, v.amount)::bigint AS capture,
           CASE
               WHEN stored.outputs = s.requested_outputs THEN 'completed' -- too late to cancel, too late to fail
               WHEN r.canceled OR s.cancel_requested_at IS NOT NULL THEN 'canceled'
               WHEN stored.outputs > 0 THEN 'completed'
               ELSE 'failed'
           END AS status
    FROM request AS r
    JOIN generation_sessions AS s USING (session_id)
    JOIN credit_reservations AS v ON v.session_id = s.session_id AND v.status = 'held'
    CROSS JOIN LATERAL (
        SELECT count(*) AS outputs, coalesce(sum(m.credits), 0) AS credits
        FROM media AS m
        WHERE m.session_id = s.session_id
    ) AS stored
    WHERE s.completed_at IS NULL
      AND CASE r.guard
              WHEN 'fenced' THEN s.status = 'processing' AND s.lease_token = r.lease_token
              WHEN 'queued' THEN s.status = 'queued'
              WHEN 'deadline' THEN s.deadline <= now()
              WHEN 'dead' THEN s.status = 'processing' AND s.lease_until <= now() AND s.cancel_requested_at IS NOT NULL
              ELSE false
          END
),
share AS MATERIALIZED ( -- of each draw, what is spent; the draws are consumed in their order
    SELECT e.user_id, e.session_id, d.reservation_id, d.ordinal, d.lot_id, d.amount,
           least(d.amount, greatest(0, e.capture - (sum(d.amount) OVER consuming - d.amount)))::bigint AS captured,
           coalesce(l.expires_at <= now(), false) AS lapsed
    FROM ending AS e
    JOIN credit_reservation_draws AS d USING (reservation_id)
    JOIN credit_lots AS l USING (lot_id)
    WINDOW consuming AS (PARTITION BY d.reservation_id ORDER BY d.ordinal)
),
draw AS (
    UPDATE credit_reservation_draws AS d
    SET captured = share.captured, released = share.amount - share.captured
    FROM share
    WHERE d.reservation_id = share.reservation_id AND d.ordinal = share.ordinal
),
lot AS (
    UPDATE credit_lots AS l
    SET held = l.held - d.amount,
        spent = l.spent + d.captured,
        available = l.available + CASE WHEN d.lapsed THEN 0 ELSE d.amount - d.captured END,
        expired = l.expired + CASE WHEN d.lapsed THEN d.amount - d.captured ELSE 0 END
    FROM (
        SELECT lot_id, lapsed, sum(amount)::bigint AS amount, sum(captured)::bigint AS captured
        FROM share
        GROUP BY lot_id, lapsed
    ) AS d
    WHERE l.lot_id = d.lot_id
),
entry AS MATERIALIZED ( -- double entry: what leaves the hold, and what of the released part lapses at once
    SELECT e.user_id, e.session_id, e.reservation_id, step.n, step.type, step.from_bucket, step.to_bucket, step.amount::bigint,
           CASE step.n WHEN 1 THEN 0 WHEN 2 THEN step.amount ELSE -step.amount END AS available_delta,
           CASE step.n WHEN 3 THEN 0 ELSE -step.amount END AS reserved_delta
    FROM ending AS e
    CROSS JOIN LATERAL (
        VALUES (1, 'usage', 'reserved', 'spent', e.capture),
               (2, CASE WHEN e.capture = 0 THEN 'refund' ELSE 'adjustment' END, 'reserved', 'available', e.held - e.capture),
               (3, 'expiry', 'available', 'expired',
                (SELECT sum(s.amount - s.captured) FROM share AS s WHERE s.reservation_id = e.reservation_id AND s.lapsed))
    ) AS step (n, type, from_bucket, to_bucket, amount)
    WHERE step.amount > 0
),
ledger AS (
    INSERT INTO credit_transactions
        (user_id, type, from_bucket, to_bucket, amount, available_after, reserved_after, reservation_id, session_id)
    SELECT e.user_id, e.type, e.from_bucket, e.to_bucket, e.amount,
           a.available + sum(e.available_delta) OVER booking, a.reserved + sum(e.reserved_delta) OVER booking,
           e.reservation_id, e.session_id
    FROM entry AS e
    JOIN credit_accounts AS a USING (user_id)
    WINDOW booking AS (PARTITION BY e.user_id ORDER BY e.session_id, e.n)
    ORDER BY e.user_id, e.session_id, e.n
),
account AS (
    UPDATE credit_accounts AS a
    SET available = a.available + d.available, reserved = a.reserved + d.reserved, updated_at = now()
    FROM (
        SELECT user_id, sum(available_delta)::bigint AS available, sum(reserved_delta)::bigint AS reserved
        FROM entry
        GROUP BY user_id
    ) AS d
    WHERE a.user_id = d.user_id
),
reservation AS (
    UPDATE credit_reservations AS v
    SET status = CASE WHEN e.capture > 0 THEN 'captured' ELSE 'released' END,
        captured = e.capture, released = e.held - e.capture, closed_at = now()
    FROM ending AS e
    WHERE v.reservation_id = e.reservation_id
),
failure AS ( -- what an operator is asked about at night
    INSERT INTO error_events (session_id, user_id, code, message, detail)
    SELECT session_id, user_id, error_code, coalesce(error_message, error_code), jsonb_build_object('released', held)
    FROM ending
    WHERE status = 'failed'
),
cut_off AS ( -- a paid call that is under way while its session ends (cancel, deadline, dead worker): nobody will hear its answer
    UPDATE provider_tasks AS t
    SET state = 'unknown', failure = 'OutcomeUnknown', failure_code = 'session.ended', updated_at = now()
    FROM ending AS e
    WHERE t.session_id = e.session_id AND t.state = 'intent'
    RETURNING t.provider_task_id, e.session_id, e.user_id, t.provider, t.request_id, t.first_ordinal, t.created_at, e.status
),
reconcile AS ( -- the same record as record_task.sql writes
    INSERT INTO error_events (session_id, user_id, code, message, detail)
    SELECT session_id, user_id, 'outcome_unknown', 'A paid call was under way when its session ended as ' || status || '. Look it up at the provider before refunding or blaming anybody.',
           jsonb_build_object('providerTaskId', provider_task_id, 'provider', provider, 'requestId', request_id, 'ordinal', first_ordinal, 'sentAt', created_at)
    FROM cut_off
),
undispatched AS ( -- SKIP LOCKED: a row that a relay is publishing is refused at the claim instead
    DELETE FROM outbox
    WHERE outbox_id IN (
        SELECT o.outbox_id
        FROM outbox AS o
        WHERE o.session_id IN (SELECT session_id FROM ending) AND o.set_aside_at IS NULL
        FOR UPDATE SKIP LOCKED
    )
)
UPDATE generation_sessions AS s
SET status = e.status,
    phase = e.status,
    progress = CASE e.status WHEN 'completed' THEN 100 ELSE s.progress END,
    version = s.version + 1,
    captured_credits = e.capture,
    error_code = CASE e.status WHEN 'failed' THEN e.error_code END,
    error_message = CASE e.status WHEN 'failed' THEN e.error_message END,
    error_retryable = CASE e.status WHEN 'failed' THEN e.error_retryable END,
    provider_usage = coalesce(e.provider_usage, s.provider_usage),
    provider_usd = coalesce(e.provider_usd, s.provider_usd),
    failed_outputs = e.failed_outputs,
    lease_owner = NULL, lease_until = NULL, lease_token = s.lease_token + 1, wake_at = NULL,
    completed_at = now(), updated_at = now()
FROM ending AS e
WHERE s.session_id = e.session_id
RETURNING s.session_id, s.user_id, s.status, s.version, e.capture, e.held - e.capture AS released, s.error_code, s.mock
