-- $2 finished sessions after the first $1, of the users 1 to $3 of users.sql in turn: each asked for one picture of 4 credits, got it
-- and paid for it. All rows that such a session leaves are there (calls to the provider aside), and the books add up: every ledger row
-- carries the balances after it, and lots and accounts are moved along. $2 is a multiple of $3.
-- Meant for a superuser with session_replication_role = replica: foreign keys are right by construction and not checked.
WITH filled AS MATERIALIZED (
    SELECT i, i / $3 - $1 / $3 AS turn, -- of this user in this statement
           ('00000000-0000-7000-8000-' || lpad((i % $3 + 1)::text, 12, '0'))::uuid AS user_id,
           -- a UUIDv7 of the session's time that no other i has
           (lpad(to_hex(((extract(epoch FROM now()) - 7776000) * 1000)::bigint + i), 12, '0') || '7' || lpad(to_hex(i % 4096), 3, '0')
            || '8' || lpad(to_hex(i), 15, '0'))::uuid AS id,
           now() - interval '90 days' + i * interval '1 ms' AS at
    FROM generate_series($1::bigint, $1::bigint + $2::bigint - 1) AS i
),
session AS (
    INSERT INTO generation_sessions
        (session_id, user_id, client_key, request_hash, model, tool, provider, job_type, lane, kind, params, input_settings,
         requested_outputs, unit_price, price_version, held_credits, captured_credits, status, phase, progress, version, lease_token,
         deadline, created_at, updated_at, started_at, completed_at)
    SELECT id, user_id, 'fill-' || i, sha256(uuid_send(id)), 'seedream-4', 'seedream4', 'ark', 'gen.seedream4', 'image', 'image',
           '{"n": 1, "size": "2K", "prompt": "a lighthouse at dusk, oil on canvas, heavy clouds, warm light in one window", "watermark": false}',
           '{"n": 1, "size": "2K", "prompt": "a lighthouse at dusk, oil on canvas, heavy clouds, warm light in one window", "watermark": false, "providerModel": "seedream-4-0-250828"}',
           1, 4, 1, 4, 4, 'completed', 'completed', 100, 4, 2,
           at + interval '1 day', at, at + interval '9 s', at + interval '1 s', at + interval '9 s'
    FROM filled
),
reservation AS (
    INSERT INTO credit_reservations (reservation_id, session_id, user_id, amount, captured, status, expires_at, created_at, closed_at)
    SELECT id, id, user_id, 4, 4, 'captured', at + interval '1 hour', at, at + interval '9 s'
    FROM filled
),
draw AS (
    INSERT INTO credit_reservation_draws (reservation_id, lot_id, ordinal, amount, captured)
    SELECT id, user_id, 1, 4, 4
    FROM filled
),
picture AS (
    INSERT INTO media (media_id, session_id, user_id, ordinal, kind, object_key, content_type, bytes, sha256, width, height, credits,
                       lease_token, session_version, created_at)
    SELECT id, id, user_id, 0, 'image', user_id || '/' || to_char(at, 'YYYY-MM-DD') || '/' || id || '/output-0-1.jpg', 'image/jpeg',
           1500000, sha256(uuid_send(id)), 2048, 2048, 4, 1, 3, at + interval '8 s'
    FROM filled
),
ledger AS (
    INSERT INTO credit_transactions
        (user_id, type, from_bucket, to_bucket, amount, available_after, reserved_after, reservation_id, session_id, created_at)
    SELECT f.user_id, step.type, step.from_bucket, step.to_bucket, 4, a.available - 4 * (f.turn + 1), a.reserved + step.held, f.id, f.id, f.at
    FROM filled AS f
    JOIN credit_accounts AS a USING (user_id)
    CROSS JOIN (VALUES (1, 'reservation', 'available', 'reserved', 4), (2, 'usage', 'reserved', 'spent', 0)) AS step (n, type, from_bucket, to_bucket,
        held)
    ORDER BY f.i, step.n
),
lot AS (
    UPDATE credit_lots
    SET available = available - 4 * ($2::bigint / $3), spent = spent + 4 * ($2::bigint / $3)
    WHERE lot_id IN (SELECT DISTINCT user_id FROM filled)
)
UPDATE credit_accounts
SET available = available - 4 * ($2::bigint / $3)
WHERE user_id IN (SELECT DISTINCT user_id FROM filled)
