-- Last statement of a submit batch: idempotency, hold, session and outbox row of every request in it, or a reason per request.
--
-- Phases: READ the requests, their accounts, and the sessions of known keys · DECIDE which fit · RANK them · ALLOCATE their holds to lots
-- · WRITE lots, accounts, sessions, holds, ledger, outbox · ANSWER every request.
--
-- $1 the requests, at most one of a (user, client key) · $2 open sessions that a user may have
-- Runs after lock_accounts.sql (which accounts are ours: generation.locked) and expire_lots.sql.
--
-- Outcomes, in this order of precedence: replayed · conflict · noaccount · locked (elsewhere) · frozen · accepted · toomany (open sessions)
-- · notenoughcredits · retry.
-- Requests of one user are accepted in order while their running sum fits. One that would fit without a dearer neighbour before
-- it answers 'retry' and comes again in the next batch; the first of a user is always decided, so this ends.

-- READ ----------------------------------------------------------------------------------------------------------------------------------
WITH request AS MATERIALIZED (
    SELECT *
    FROM json_to_recordset($1) AS r (
        n bigint, user_id uuid, client_key text, request_hash bytea, session_id uuid, reservation_id uuid,
        model text, tool text, provider text, job_type text, lane text, kind text,
        params text, input_settings text, mock boolean, outputs integer, unit_price bigint, price_version bigint,
        lifetime_seconds double precision, retry_of uuid, traceparent text, priority text, work double precision)
),
account AS MATERIALIZED (
    SELECT user_id, available, reserved, frozen_at, share,
           image_finish, video_finish, gpu_finish, image_batch_finish, video_batch_finish, gpu_batch_finish,
           $2 - (SELECT count(*) FROM (SELECT FROM credit_reservations AS v WHERE v.user_id = a.user_id
               AND v.status = 'held' LIMIT $2) AS open) AS room
    FROM credit_accounts AS a
    WHERE user_id = ANY (string_to_array(current_setting('generation.locked'), ',')::uuid[])
),
known AS MATERIALIZED (
    SELECT r.n, s.session_id, s.held_credits, s.reservation_id, s.request_hash = r.request_hash AS same
    FROM request AS r
    CROSS JOIN LATERAL (
        SELECT s.session_id, s.held_credits, s.request_hash, v.reservation_id
        FROM generation_sessions AS s
        JOIN credit_reservations AS v ON v.session_id = s.session_id
        WHERE s.user_id = r.user_id AND s.client_key = r.client_key
        OFFSET 0 -- a look-up each, never a join with the whole table
    ) AS s
),

-- DECIDE --------------------------------------------------------------------------------------------------------------------------------
affordable AS (
    SELECT r.*, r.unit_price * r.outputs AS amount, a.available, a.reserved, a.room,
           row_number() OVER (PARTITION BY r.user_id ORDER BY r.n) AS nth,
           sum(r.unit_price * r.outputs) OVER (PARTITION BY r.user_id ORDER BY r.n)::bigint AS upto
    FROM request AS r
    JOIN account AS a USING (user_id)
    WHERE a.frozen_at IS NULL
      AND r.unit_price * r.outputs <= a.available
      AND NOT EXISTS (SELECT FROM known WHERE known.n = r.n)
),
accepted AS MATERIALIZED (
    SELECT *, upto - amount AS since
    FROM affordable
    WHERE upto <= available AND nth <= room
),
held AS MATERIALIZED (
    SELECT user_id, sum(amount)::bigint AS amount, count(*) AS sessions
    FROM accepted
    GROUP BY user_id
),

-- RANK: start-time fair queuing (decision 0022): a request starts when its user's last one of this lane and priority is done, or now -----
served AS MATERIALIZED (
    SELECT c.n, c.user_id, c.lane, c.priority,
           c.work / (a.share * CASE c.priority WHEN 'batch' THEN 0.25 ELSE 1 END) AS duration,
           greatest(l.clock, CASE c.priority
               WHEN 'batch' THEN CASE c.lane WHEN 'image' THEN a.image_batch_finish WHEN 'video' THEN a.video_batch_finish ELSE a.gpu_batch_finish END
               ELSE CASE c.lane WHEN 'image' THEN a.image_finish WHEN 'video' THEN a.video_finish ELSE a.gpu_finish END
           END) AS start
    FROM accepted AS c
    JOIN account AS a USING (user_id)
    LEFT JOIN lanes AS l ON l.lane = c.lane -- greatest() passes over a null: what is held has a session, whatever this table says
),
ranked AS MATERIALIZED (
    SELECT n, user_id, lane, priority, start + sum(duration) OVER flow AS finish, start + sum(duration) OVER flow - duration AS rank
    FROM served
    WINDOW flow AS (PARTITION BY user_id, lane, priority ORDER BY n)
),
finished AS MATERIALIZED (
    SELECT user_id,
           max(finish) FILTER (WHERE lane = 'image' AND priority <> 'batch') AS image,
           max(finish) FILTER (WHERE lane = 'video' AND priority <> 'batch') AS video,
           max(finish) FILTER (WHERE lane = 'gpu' AND priority <> 'batch') AS gpu,
           max(finish) FILTER (WHERE lane = 'image' AND priority = 'batch') AS image_batch,
           max(finish) FILTER (WHERE lane = 'video' AND priority = 'batch') AS video_batch,
           max(finish) FILTER (WHERE lane = 'gpu' AND priority = 'batch') AS gpu_batch
    FROM ranked
    GROUP BY user_id
),

-- ALLOCATE: docs/ledger.md has an example ------------------------------------------------------------------------------------------------
lot AS MATERIALIZED ( -- the user's credits laid end to end, in the order in which they are drawn
    SELECT h.user_id, l.lot_id, l.upto - l.available AS since, l.upto
    FROM held AS h
    CROSS JOIN LATERAL (
        SELECT lot_id, available, sum(available) OVER (ORDER BY priority, expires_at NULLS LAST, created_at, lot_id) AS upto
        FROM credit_lots
        WHERE user_id = h.user_id AND drawable
    ) AS l
),
draw AS MATERIALIZED ( -- and the holds laid beside them: where the two overlap is a draw
    SELECT a.reservation_id, l.lot_id,
           (least(a.upto, l.upto) - greatest(a.since, l.since))::bigint AS amount,
           row_number() OVER (PARTITION BY a.reservation_id ORDER BY l.since) AS ordinal
    FROM accepted AS a
    JOIN lot AS l ON l.user_id = a.user_id AND l.since < a.upto AND l.upto > a.since
),

-- WRITE ---------------------------------------------------------------------------------------------------------------------------------
lot_drawn AS (
    UPDATE credit_lots AS l
    SET available = l.available - d.amount, held = l.held + d.amount
    FROM (SELECT lot_id, sum(amount)::bigint AS amount FROM draw GROUP BY lot_id) AS d
    WHERE l.lot_id = d.lot_id
),
account_held AS (
    UPDATE credit_accounts AS a
    SET available = a.available - h.amount, reserved = a.reserved + h.amount, updated_at = now(),
        image_finish = coalesce(f.image, a.image_finish),
        video_finish = coalesce(f.video, a.video_finish),
        gpu_finish = coalesce(f.gpu, a.gpu_finish),
        image_batch_finish = coalesce(f.image_batch, a.image_batch_finish),
        video_batch_finish = coalesce(f.video_batch, a.video_batch_finish),
        gpu_batch_finish = coalesce(f.gpu_batch, a.gpu_batch_finish)
    FROM held AS h
    JOIN finished AS f USING (user_id)
    WHERE a.user_id = h.user_id
),
session AS (
    INSERT INTO generation_sessions
        (session_id, user_id, client_key, request_hash, model, tool, provider, job_type, lane, kind, params, input_settings, mock,
         requested_outputs, unit_price, price_version, held_credits, deadline, retry_of, traceparent, priority, work, rank)
    SELECT c.session_id, c.user_id, c.client_key, c.request_hash, c.model, c.tool, c.provider, c.job_type, c.lane, c.kind, c.params::jsonb,
           c.input_settings::jsonb, c.mock, c.outputs, c.unit_price, c.price_version, c.amount, now() + make_interval(secs => c.lifetime_seconds),
           c.retry_of, c.traceparent, c.priority, c.work, r.rank
    FROM accepted AS c
    JOIN ranked AS r USING (n)
),
reservation AS (
    INSERT INTO credit_reservations (reservation_id, session_id, user_id, amount, expires_at)
    SELECT reservation_id, session_id, user_id, amount, now() + interval '1 hour'
    FROM accepted
),
reservation_draw AS (
    INSERT INTO credit_reservation_draws (reservation_id, lot_id, ordinal, amount)
    SELECT reservation_id, lot_id, ordinal, amount
    FROM draw
),
ledger AS (
    INSERT INTO credit_transactions
        (user_id, type, from_bucket, to_bucket, amount, available_after, reserved_after, reservation_id, session_id)
    SELECT user_id, 'reservation', 'available', 'reserved', amount, available - upto, reserved + upto, reservation_id, session_id
    FROM accepted
    ORDER BY n
),
dispatch AS (
    INSERT INTO outbox (event_type, lane, session_id, traceparent, rank, provider, work)
    SELECT c.job_type, c.lane, c.session_id, c.traceparent, r.rank, c.provider, c.work
    FROM accepted AS c
    JOIN ranked AS r USING (n)
    ORDER BY c.n
    RETURNING session_id, outbox_id, rank
)

-- ANSWER --------------------------------------------------------------------------------------------------------------------------------
SELECT r.n,
       CASE
           WHEN k.same THEN 'replayed'
           WHEN k.n IS NOT NULL THEN 'conflict'
           WHEN a.user_id IS NULL AND NOT EXISTS (SELECT FROM credit_accounts AS c WHERE c.user_id = r.user_id) THEN 'noaccount'
           WHEN a.user_id IS NULL THEN 'locked'
           WHEN a.frozen_at IS NOT NULL THEN 'frozen'
           WHEN c.n IS NOT NULL THEN 'accepted'
           WHEN coalesce(h.sessions, 0) >= a.room THEN 'toomany'
           WHEN r.unit_price * r.outputs > a.available - coalesce(h.amount, 0) THEN 'notenoughcredits'
           ELSE 'retry'
       END AS outcome,
       coalesce(k.session_id, r.session_id) AS session_id,
       coalesce(k.reservation_id, r.reservation_id) AS reservation_id,
       coalesce(k.held_credits, r.unit_price * r.outputs) AS held_credits,
       coalesce(a.available - coalesce(h.amount, 0), 0) AS available,
       coalesce(a.reserved + coalesce(h.amount, 0), 0) AS reserved,
       d.outbox_id, d.rank, now() AS accepted_at
FROM request AS r
LEFT JOIN known AS k USING (n)
LEFT JOIN account AS a ON a.user_id = r.user_id
LEFT JOIN accepted AS c USING (n)
LEFT JOIN dispatch AS d ON d.session_id = c.session_id
LEFT JOIN held AS h ON h.user_id = r.user_id
ORDER BY r.n
