-- $2 accepted mock sessions after the first $1, of the users 1 to $3 of users.sql in turn: each asks for one picture of 4 credits, holds
-- them and waits in the outbox. The rows are those of submit.sql, and the books add up. $2 is a multiple of $3.
-- Meant for a superuser with session_replication_role = replica: foreign keys are right by construction and not checked.
WITH wanted AS MATERIALIZED (
    SELECT i, i / $3 - $1 / $3 AS turn, -- of this user in this statement
           ('00000000-0000-7000-8000-' || lpad((i % $3 + 1)::text, 12, '0'))::uuid AS user_id,
           (lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint), 12, '0') || '7' || lpad(to_hex(i % 4096), 3, '0')
            || '8' || lpad(to_hex(i), 15, '0'))::uuid AS id
    FROM generate_series($1::bigint, $1::bigint + $2::bigint - 1) AS i
),
session AS (
    INSERT INTO generation_sessions
        (session_id, user_id, client_key, request_hash, model, tool, provider, job_type, lane, kind, params, input_settings, mock,
         requested_outputs, unit_price, price_version, held_credits, deadline)
    SELECT id, user_id, 'queued-' || i, sha256(uuid_send(id)), 'seedream-4', 'seedream4', 'ark', 'gen.seedream4', 'image', 'image',
           '{"n": 1, "size": "2K", "prompt": "a lighthouse at dusk, oil on canvas, heavy clouds, warm light in one window", "watermark": false}',
           '{"n": 1, "size": "2K", "prompt": "a lighthouse at dusk, oil on canvas, heavy clouds, warm light in one window", "watermark": false, "providerModel": "seedream-4-0-250828"}',
           true, 1, 4, (SELECT price_version FROM model_pricing WHERE model = 'seedream-4' AND retired_at IS NULL), 4, now() + interval '1 day'
    FROM wanted
),
reservation AS (
    INSERT INTO credit_reservations (reservation_id, session_id, user_id, amount, expires_at)
    SELECT id, id, user_id, 4, now() + interval '1 hour'
    FROM wanted
),
draw AS (
    INSERT INTO credit_reservation_draws (reservation_id, lot_id, ordinal, amount)
    SELECT id, user_id, 1, 4
    FROM wanted
),
ledger AS (
    INSERT INTO credit_transactions
        (user_id, type, from_bucket, to_bucket, amount, available_after, reserved_after, reservation_id, session_id)
    SELECT w.user_id, 'reservation', 'available', 'reserved', 4, a.available - 4 * (w.turn + 1), a.reserved + 4 * (w.turn + 1), w.id, w.id
    FROM wanted AS w
    JOIN credit_accounts AS a USING (user_id)
    ORDER BY w.i
),
waiting AS (
    INSERT INTO outbox (event_type, lane, session_id, traceparent)
    SELECT 'gen.seedream4', 'image', id, '00-' || replace(id::text, '-', '') || '-' || substr(md5(id::text), 1, 16) || '-00'
    FROM wanted
    ORDER BY i
),
lot AS (
    UPDATE credit_lots
    SET available = available - 4 * ($2::bigint / $3), held = held + 4 * ($2::bigint / $3)
    WHERE lot_id IN (SELECT DISTINCT user_id FROM wanted)
)
UPDATE credit_accounts
SET available = available - 4 * ($2::bigint / $3), reserved = reserved + 4 * ($2::bigint / $3)
WHERE user_id IN (SELECT DISTINCT user_id FROM wanted)
