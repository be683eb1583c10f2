-- Third statement of the sweep: the holds of sessions that are over go back to the lots they came from.
WITH hold AS MATERIALIZED (
    SELECT v.reservation_id, v.session_id, v.user_id, v.amount
    FROM credit_reservations AS v
    JOIN generation_sessions AS s USING (session_id)
    WHERE v.session_id = ANY (string_to_array(current_setting('generation.sessions'), ',')::uuid[])
      AND v.status = 'held' AND v.expires_at <= now() AND s.completed_at IS NOT NULL
),
draw_allocation AS MATERIALIZED (
    SELECT d.reservation_id, d.ordinal, d.lot_id, d.amount, coalesce(l.expires_at <= now(), false) AS lapsed
    FROM hold
    JOIN credit_reservation_draws AS d USING (reservation_id)
    JOIN credit_lots AS l USING (lot_id)
),
draw AS (
    UPDATE credit_reservation_draws AS d
    SET released = d.amount
    FROM draw_allocation
    WHERE d.reservation_id = draw_allocation.reservation_id AND d.ordinal = draw_allocation.ordinal
),
lot AS (
    UPDATE credit_lots AS l
    SET held = l.held - d.amount, available = l.available + d.amount - d.lapsed, expired = l.expired + d.lapsed
    FROM (
        SELECT lot_id, sum(amount)::bigint AS amount, coalesce(sum(amount) FILTER (WHERE lapsed), 0)::bigint AS lapsed
        FROM draw_allocation
        GROUP BY lot_id
    ) AS d
    WHERE l.lot_id = d.lot_id
),
entry AS MATERIALIZED (
    SELECT h.user_id, h.session_id, h.reservation_id, step.*
    FROM hold AS h
    CROSS JOIN LATERAL (
        VALUES (1, 'refund', 'reserved', 'available', h.amount, h.amount, -h.amount),
               (2, 'expiry', 'available', 'expired',
                (SELECT sum(s.amount)::bigint FROM draw_allocation AS s WHERE s.reservation_id = h.reservation_id AND s.lapsed),
                (SELECT -sum(s.amount)::bigint FROM draw_allocation AS s WHERE s.reservation_id = h.reservation_id AND s.lapsed), 0)
    ) AS step (n, type, from_bucket, to_bucket, amount, available_delta, reserved_delta)
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
told AS (
    INSERT INTO error_events (session_id, user_id, code, message, detail)
    SELECT session_id, user_id, 'hold_abandoned',
        'A hold outlived its session and was released. This should not happen: the ledger audit says what else is wrong with it.',
           jsonb_build_object('reservationId', reservation_id, 'released', amount)
    FROM hold
)
UPDATE credit_reservations AS v
SET status = 'expired', released = v.amount, closed_at = now()
FROM hold
WHERE v.reservation_id = hold.reservation_id
RETURNING v.session_id
