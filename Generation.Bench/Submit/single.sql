-- The limit of one transaction a request: all rows of one accepted request in one prepared statement, for a user picked at random.
-- It writes what Generation.Core/Submit/submit.sql writes and checks less: no replay, no order among lots, no lot that expires.
\set user random(1, 1000)
WITH person AS MATERIALIZED (
    SELECT ('00000000-0000-7000-8000-' || lpad(:user::text, 12, '0'))::uuid AS user_id,
           -- ids grow with time, as the services' UUIDv7 do: random ones would be slower here
           overlay(uuid_send(gen_random_uuid()) PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
               FROM 1 FOR 6) AS id
),
request AS MATERIALIZED (
    SELECT user_id, encode(id, 'hex')::uuid AS session_id, encode(id, 'hex')::uuid AS reservation_id, 4::bigint AS amount
    FROM person
),
account AS (
    UPDATE credit_accounts AS a
    SET available = a.available - r.amount, reserved = a.reserved + r.amount, updated_at = now()
    FROM request AS r
    WHERE a.user_id = r.user_id AND a.available >= r.amount AND a.frozen_at IS NULL
    RETURNING r.*, a.available, a.reserved
),
lot AS (
    UPDATE credit_lots AS l
    SET available = l.available - a.amount, held = l.held + a.amount
    FROM account AS a
    WHERE l.lot_id = a.user_id AND l.available >= a.amount
    RETURNING l.lot_id, a.*
),
session AS (
    INSERT INTO generation_sessions
        (session_id, user_id, client_key, request_hash, model, tool, provider, job_type, lane, kind, params, input_settings, mock,
         requested_outputs, unit_price, price_version, held_credits, deadline)
    SELECT session_id, user_id, session_id::text, sha256(uuid_send(session_id)), 'seedream-4', 'seedream4', 'ark', 'gen.seedream4', 'image', 'image',
           '{"n": 1, "size": "2K", "prompt": "a lighthouse at dusk, oil on canvas, heavy clouds, warm light in one window", "watermark": false}',
           '{"n": 1, "size": "2K", "prompt": "a lighthouse at dusk, oil on canvas, heavy clouds, warm light in one window", "watermark": false, "providerModel": "seedream-4-0-250828"}',
           false, 1, 4, 1, amount, now() + interval '1 day'
    FROM lot
),
reservation AS (
    INSERT INTO credit_reservations (reservation_id, session_id, user_id, amount, expires_at)
    SELECT reservation_id, session_id, user_id, amount, now() + interval '1 hour'
    FROM lot
),
draw AS (
    INSERT INTO credit_reservation_draws (reservation_id, lot_id, ordinal, amount)
    SELECT reservation_id, lot_id, 1, amount
    FROM lot
),
ledger AS (
    INSERT INTO credit_transactions
        (user_id, type, from_bucket, to_bucket, amount, available_after, reserved_after, reservation_id, session_id)
    SELECT user_id, 'reservation', 'available', 'reserved', amount, available, reserved, reservation_id, session_id
    FROM lot
)
INSERT INTO outbox (event_type, lane, session_id, traceparent)
SELECT 'gen.seedream4', 'image', session_id, '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00'
FROM lot;
