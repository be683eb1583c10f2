-- The end of sessions: what was stored is captured, the rest is released to the lots it was drawn from, in one transaction.
-- Runs after lock_sessions.sql and lock_session_accounts.sql (lock order: sessions, accounts, lots), on a fresh snapshot.
-- Everything that ends a session ends it here: the worker's finish, cancel, the relay's sweeps.
-- Rows are joined by = ANY (ARRAY[…]): a look-up by the key in every plan, where a plain = is a walk through the whole index in one from when
-- the table was empty.
--
-- A request's guard says by what right it ends the session; who has lost that right gets no row back:
--   fenced      the worker that holds lease_token          queued    nobody has it (cancel)
--   deadline    past its own deadline, whoever has it       dead      its worker is dead, cancel was asked, and no provider is at work on it
-- Phases: READ the requests · DECIDE which session ends, and how · ALLOCATE the capture to the hold's draws, and what is beyond it to lots
-- · WRITE draws, lots, ledger, accounts, holds, records, outbox · ANSWER with the sessions that ended.
-- $1 the requests · $2 whether what is beyond a hold is charged, as far as credits are available · $3 up to how many times the hold

-- READ ----------------------------------------------------------------------------------------------------------------------------------
WITH request AS MATERIALIZED (
    SELECT n, session_id, guard, lease_token, canceled, error_code, error_message, error_retryable, provider_usage::jsonb AS provider_usage,
           provider_usd, failed_outputs::jsonb AS failed_outputs
    FROM json_to_recordset($1) AS r (
        n bigint, session_id uuid, guard text, lease_token bigint, canceled boolean, error_code text, error_message text,
        error_retryable boolean, provider_usage text, provider_usd numeric, failed_outputs text)
    WHERE session_id = ANY ((
        SELECT string_to_array(current_setting('generation.sessions'), ',')::uuid[])::uuid[]) -- what could be locked; read once, not a row
),

-- DECIDE --------------------------------------------------------------------------------------------------------------------------------
ending AS MATERIALIZED ( -- the cost is the sum of what was stored; beyond the hold it is the policy's ($2)
    SELECT DISTINCT ON (s.session_id) -- a session that is asked for twice in a batch ends once, by the first request that may end it
           s.session_id, s.user_id, v.reservation_id, v.amount AS held, s.price_version,
           CASE WHEN s.started_at IS NULL AND s.rank IS NOT NULL THEN s.work END AS unserved, s.lane, s.priority,
           r.error_code, r.error_message, r.error_retryable, r.provider_usage, r.failed_outputs,
           CASE WHEN coalesce(r.provider_usd, billed.usd) IS NOT NULL -- a provider's number is no reason not to end
                THEN least(greatest(coalesce(r.provider_usd, billed.usd), 0), 999999) END AS provider_usd,
           stored.credits AS cost, stored.version,
           least(stored.credits, v.amount) AS capture,
           greatest(stored.credits - v.amount, 0) AS beyond,
           least(greatest(stored.credits - v.amount, 0), v.amount * ($3 - 1)) AS excess,
           CASE
               WHEN stored.outputs = s.requested_outputs THEN 'completed' -- too late to cancel, too late to fail
               WHEN r.canceled OR s.cancel_requested_at IS NOT NULL THEN 'canceled'
               WHEN stored.outputs > 0 THEN 'completed'
               ELSE 'failed'
           END AS status
    FROM request AS r
    -- a look-up each, never a join with the whole table
    CROSS JOIN LATERAL (SELECT * FROM generation_sessions AS s WHERE s.session_id = r.session_id OFFSET 0) AS s
    -- whether it is held is asked below: in here it would lead to the index of all holds
    CROSS JOIN LATERAL (SELECT * FROM credit_reservations AS v WHERE v.session_id = r.session_id OFFSET 0) AS v
    LEFT JOIN price_rows AS p ON p.price_version = s.price_version
    CROSS JOIN LATERAL (
        SELECT count(*) AS outputs, coalesce(sum(m.credits), 0)::bigint AS credits, max(m.session_version) AS version
        FROM media AS m
        WHERE m.session_id = s.session_id
    ) AS stored
    CROSS JOIN LATERAL ( -- what the provider bills us: every call with a result, also when its output could not be stored
        SELECT sum(CASE WHEN jsonb_typeof(t.result #> ARRAY['usage', p.usage_field]) = 'number' AND p.usd_per_unit IS NOT NULL
                        THEN least(greatest((t.result #>> ARRAY['usage', p.usage_field])::numeric, 0), 1e15) * p.usd_per_unit
                        WHEN jsonb_typeof(t.result -> 'outputs') = 'array' -- a group: what was announced of it
                        THEN jsonb_array_length(t.result -> 'outputs') * p.usd_per_output
                        ELSE t.output_count * p.usd_per_output END) AS usd
        FROM provider_tasks AS t
        -- said for the index: what was not executed has no result
        WHERE t.session_id = s.session_id AND t.result IS NOT NULL AND t.state <> 'rejected'
    ) AS billed
    WHERE s.completed_at IS NULL
      AND v.status = 'held'
      AND CASE r.guard
              WHEN 'fenced' THEN s.status = 'processing' AND s.lease_token = r.lease_token
              WHEN 'queued' THEN s.status = 'queued'
              WHEN 'deadline' THEN s.deadline <= now()
              WHEN 'dead' THEN s.status = 'processing' AND s.lease_until <= now() AND s.cancel_requested_at IS NOT NULL
                               -- else queued again, to be taken back there
                               AND (SELECT count(*) = 0 FROM provider_tasks AS t WHERE t.session_id = s.session_id AND t.state = 'running')
              ELSE false
          END
    ORDER BY s.session_id, r.n
),

-- ALLOCATE: docs/ledger.md has an example ------------------------------------------------------------------------------------------------
draw_allocation AS MATERIALIZED ( -- of each draw, what is spent; the draws are consumed in their order
    SELECT e.user_id, e.session_id, d.reservation_id, d.ordinal, d.lot_id, d.amount,
           least(d.amount, greatest(0, e.capture - (sum(d.amount) OVER consuming - d.amount)))::bigint AS captured,
           coalesce(l.expires_at <= now(), false) AS lapsed
    FROM ending AS e
    CROSS JOIN LATERAL (SELECT * FROM credit_reservation_draws AS d WHERE d.reservation_id = e.reservation_id OFFSET 0) AS d
    CROSS JOIN LATERAL (SELECT expires_at FROM credit_lots AS l WHERE l.lot_id = d.lot_id OFFSET 0) AS l
    WINDOW consuming AS (PARTITION BY d.reservation_id ORDER BY d.ordinal)
),
available_lots AS MATERIALIZED ( -- for users who owe more than was held: what is left and not expired, laid end to end in drawing order
    SELECT lot_id, user_id,
           sum(available) OVER drawing - available AS since,
           sum(available) OVER drawing AS upto
    FROM credit_lots
    WHERE $2 AND user_id IN (SELECT user_id FROM ending WHERE excess > 0)
      AND drawable AND (expires_at IS NULL OR expires_at > now())
    WINDOW drawing AS (PARTITION BY user_id ORDER BY priority, expires_at NULLS LAST, created_at, lot_id)
),
overage AS MATERIALIZED ( -- and the overages laid beside it
    SELECT session_id, reservation_id, user_id, sum(excess) OVER owing - excess AS since, sum(excess) OVER owing AS upto
    FROM ending
    WHERE excess > 0
    WINDOW owing AS (PARTITION BY user_id ORDER BY session_id)
),
extra_draw AS MATERIALIZED (
    SELECT o.session_id, o.reservation_id, l.lot_id, (least(o.upto, l.upto) - greatest(o.since, l.since))::bigint AS amount,
           (SELECT max(d.ordinal) FROM credit_reservation_draws AS d WHERE d.reservation_id = o.reservation_id)
           + row_number() OVER (PARTITION BY o.reservation_id ORDER BY l.since) AS ordinal
    FROM overage AS o
    JOIN available_lots AS l ON l.user_id = o.user_id AND l.since < o.upto AND l.upto > o.since
),
paid AS MATERIALIZED ( -- each ending with what it takes beyond its hold
    SELECT e.*, coalesce(x.amount, 0) AS extra, e.beyond - coalesce(x.amount, 0) AS shortfall
    FROM ending AS e
    LEFT JOIN (SELECT session_id, sum(amount)::bigint AS amount FROM extra_draw GROUP BY session_id) AS x USING (session_id)
),

-- WRITE ---------------------------------------------------------------------------------------------------------------------------------
draw AS (
    UPDATE credit_reservation_draws AS d
    SET captured = draw_allocation.captured, released = draw_allocation.amount - draw_allocation.captured
    FROM draw_allocation
    WHERE d.reservation_id = ANY (ARRAY[draw_allocation.reservation_id]) AND d.ordinal = draw_allocation.ordinal
),
extra_drawn AS (
    INSERT INTO credit_reservation_draws (reservation_id, lot_id, ordinal, amount, captured, extra)
    SELECT reservation_id, lot_id, ordinal, amount, amount, true
    FROM extra_draw
),
lot AS ( -- one update a lot, whatever happens to it: a second one of the same statement would be lost
    UPDATE credit_lots AS l
    SET available = l.available + d.available, held = l.held + d.held, spent = l.spent + d.spent, expired = l.expired + d.expired
    FROM (
        SELECT lot_id, sum(available)::bigint AS available, sum(held)::bigint AS held, sum(spent)::bigint AS spent, sum(expired)::bigint AS expired
        FROM (
            SELECT lot_id, CASE WHEN lapsed THEN 0 ELSE amount - captured END AS available, -amount AS held, captured AS spent,
                   CASE WHEN lapsed THEN amount - captured ELSE 0 END AS expired
            FROM draw_allocation
            UNION ALL
            SELECT lot_id, -amount, 0, amount, 0
            FROM extra_draw
        ) AS change
        GROUP BY lot_id
    ) AS d
    WHERE l.lot_id = ANY (ARRAY[d.lot_id])
),
entry AS MATERIALIZED ( -- double entry: what leaves the hold, what of the released part lapses at once, what is charged beyond it
    SELECT e.user_id, e.session_id, e.reservation_id, step.n, step.type, step.from_bucket, step.to_bucket, step.amount::bigint,
           CASE step.n WHEN 1 THEN 0 WHEN 2 THEN step.amount ELSE -step.amount END AS available_delta,
           CASE WHEN step.n IN (1, 2) THEN -step.amount ELSE 0 END AS reserved_delta
    FROM paid AS e
    LEFT JOIN (SELECT reservation_id, sum(amount - captured) AS amount FROM draw_allocation WHERE lapsed
        GROUP BY reservation_id) AS lapsed USING (reservation_id)
    CROSS JOIN LATERAL (
        VALUES (1, 'usage', 'reserved', 'spent', e.capture),
               (2, CASE WHEN e.capture = 0 THEN 'refund' ELSE 'adjustment' END, 'reserved', 'available', e.held - e.capture),
               (3, 'expiry', 'available', 'expired', lapsed.amount),
               (4, 'usage', 'available', 'spent', e.extra)
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
    JOIN credit_accounts AS a ON a.user_id = ANY (ARRAY[e.user_id])
    WINDOW booking AS (PARTITION BY e.user_id ORDER BY e.session_id, e.n)
    ORDER BY e.user_id, e.session_id, e.n
),
unserved AS MATERIALIZED ( -- who cancels what never started gives its work back, or stays behind what will never run (decision 0022)
    SELECT e.user_id,
           sum(e.unserved) FILTER (WHERE e.lane = 'image' AND e.priority <> 'batch') AS image,
           sum(e.unserved) FILTER (WHERE e.lane = 'video' AND e.priority <> 'batch') AS video,
           sum(e.unserved) FILTER (WHERE e.lane = 'gpu' AND e.priority <> 'batch') AS gpu,
           sum(e.unserved) FILTER (WHERE e.lane = 'image' AND e.priority = 'batch') AS image_batch,
           sum(e.unserved) FILTER (WHERE e.lane = 'video' AND e.priority = 'batch') AS video_batch,
           sum(e.unserved) FILTER (WHERE e.lane = 'gpu' AND e.priority = 'batch') AS gpu_batch
    FROM ending AS e
    WHERE e.unserved IS NOT NULL
    GROUP BY e.user_id
),
account AS (
    UPDATE credit_accounts AS a
    SET available = a.available + d.available, reserved = a.reserved + d.reserved, updated_at = now(),
        image_finish = a.image_finish - coalesce(u.image / a.share, 0),
        video_finish = a.video_finish - coalesce(u.video / a.share, 0),
        gpu_finish = a.gpu_finish - coalesce(u.gpu / a.share, 0),
        image_batch_finish = a.image_batch_finish - coalesce(u.image_batch / a.share * 4, 0),
        video_batch_finish = a.video_batch_finish - coalesce(u.video_batch / a.share * 4, 0),
        gpu_batch_finish = a.gpu_batch_finish - coalesce(u.gpu_batch / a.share * 4, 0)
    FROM (
        SELECT user_id, sum(available_delta)::bigint AS available, sum(reserved_delta)::bigint AS reserved
        FROM entry
        GROUP BY user_id
    ) AS d
    LEFT JOIN unserved AS u USING (user_id)
    WHERE a.user_id = ANY (ARRAY[d.user_id])
),
reservation AS (
    UPDATE credit_reservations AS v
    SET status = CASE WHEN e.capture > 0 THEN 'captured' ELSE 'released' END,
        captured = e.capture, released = e.held - e.capture, extra = e.extra, closed_at = now()
    FROM paid AS e
    WHERE v.reservation_id = ANY (ARRAY[e.reservation_id])
),
shortfall_event AS ( -- the cost exceeded the hold and the rest was not charged: the price or the estimate is wrong
    INSERT INTO error_events (session_id, user_id, code, message, detail)
    SELECT session_id, user_id, 'cost_shortfall',
        'The work cost more than was held for it; ' || shortfall || ' credits of it were not charged. Check the price.',
           jsonb_build_object('cost', cost, 'held', held, 'charged', capture + extra, 'shortfall', shortfall, 'priceVersion', price_version,
               'providerUsage', provider_usage)
    FROM paid
    WHERE shortfall > 0
),
failure AS ( -- an error event for operators
    INSERT INTO error_events (session_id, user_id, code, message, detail)
    SELECT session_id, user_id, error_code, coalesce(error_message, error_code), jsonb_build_object('released', held)
    FROM paid
    WHERE status = 'failed'
),
partial_failure AS ( -- it completed, and less than was asked for came
    INSERT INTO error_events (session_id, user_id, code, message, detail)
    SELECT session_id, user_id, 'partial_failure', 'Some outputs of a session that completed failed.',
           jsonb_build_object('failedOutputs', failed_outputs, 'released', held - capture)
    FROM paid
    WHERE status = 'completed' AND CASE jsonb_typeof(failed_outputs) WHEN 'array' THEN jsonb_array_length(failed_outputs) > 0 END
),
interrupted_call AS ( -- a paid call that is under way while its session ends (cancel, deadline, dead worker): its outcome will not be recorded
    UPDATE provider_tasks AS t
    SET state = 'unknown', failure = 'OutcomeUnknown', failure_code = 'session.ended', updated_at = now()
    FROM ending AS e
    WHERE t.session_id = ANY (ARRAY[e.session_id]) AND t.state = 'intent'
    RETURNING t.provider_task_id, e.session_id, e.user_id, t.provider, t.request_id, t.first_ordinal, t.created_at, e.status
),
reconcile AS ( -- the same record as record_task.sql writes
    INSERT INTO error_events (session_id, user_id, code, message, detail)
    SELECT session_id, user_id, 'outcome_unknown',
        'A paid call was under way when its session ended as ' || status || '. Look it up at the provider before refunding.',
           jsonb_build_object('providerTaskId', provider_task_id, 'provider', provider, 'requestId', request_id, 'ordinal', first_ordinal, 'sentAt',
               created_at)
    FROM interrupted_call
),
undispatched AS ( -- SKIP LOCKED: a row that a relay is publishing is refused at the claim instead. An array, or the whole outbox is walked through
    DELETE FROM outbox
    WHERE outbox_id = ANY (ARRAY(
        SELECT o.outbox_id
        FROM ending AS e
        CROSS JOIN LATERAL (SELECT outbox_id FROM outbox WHERE session_id = e.session_id AND set_aside_at IS NULL FOR UPDATE SKIP LOCKED) AS o
    ))
)

-- ANSWER --------------------------------------------------------------------------------------------------------------------------------
UPDATE generation_sessions AS s
SET status = e.status,
    phase = e.status,
    progress = CASE e.status WHEN 'completed' THEN 100 ELSE s.progress END,
    version = greatest(s.version, e.version) + 1, -- behind the last output, which did not move the session
    captured_credits = e.capture + e.extra,
    extra_credits = e.extra,
    shortfall_credits = e.shortfall,
    error_code = CASE e.status WHEN 'failed' THEN e.error_code END,
    error_message = CASE e.status WHEN 'failed' THEN e.error_message END,
    error_retryable = CASE e.status WHEN 'failed' THEN e.error_retryable END,
    provider_usage = coalesce(e.provider_usage, s.provider_usage),
    provider_usd = coalesce(e.provider_usd, s.provider_usd),
    failed_outputs = e.failed_outputs,
    lease_owner = NULL, lease_until = NULL, lease_token = s.lease_token + 1, wake_at = NULL,
    completed_at = now(), updated_at = now()
FROM paid AS e
WHERE s.session_id = ANY (ARRAY[e.session_id])
RETURNING s.session_id, s.user_id, s.status, s.version, s.captured_credits, e.held - e.capture AS released, s.error_code, s.mock, e.reservation_id
