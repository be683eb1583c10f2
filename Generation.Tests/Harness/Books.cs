namespace Generation.Tests.Harness;

/// <summary>What must hold about money, media and sessions at any moment, as queries for the rows that break it.</summary>
public static class Books
{
    public static readonly (string Rule, string Sql)[] Rules =
    [
        ("available is the sum of what the lots have left",
            """
            SELECT a.user_id, a.available, coalesce(sum(l.available), 0)
            FROM credit_accounts a LEFT JOIN credit_lots l USING (user_id)
            GROUP BY a.user_id HAVING a.available <> coalesce(sum(l.available), 0)
            """),
        ("reserved is the sum of the open holds",
            """
            SELECT a.user_id, a.reserved, coalesce(sum(r.amount) FILTER (WHERE r.status = 'held'), 0)
            FROM credit_accounts a LEFT JOIN credit_reservations r USING (user_id)
            GROUP BY a.user_id HAVING a.reserved <> coalesce(sum(r.amount) FILTER (WHERE r.status = 'held'), 0)
            """),
        ("a hold is open while, and only while, its session is not ended",
            """
            SELECT s.session_id, s.status, r.status
            FROM generation_sessions s LEFT JOIN credit_reservations r USING (session_id)
            WHERE r.session_id IS NULL OR (s.completed_at IS NULL) <> (r.status = 'held')
            """),
        ("what was captured is what was stored",
            """
            SELECT s.session_id, s.status, s.captured_credits, coalesce(sum(m.credits), 0)
            FROM generation_sessions s LEFT JOIN media m USING (session_id)
            WHERE s.completed_at IS NOT NULL
            GROUP BY s.session_id HAVING s.captured_credits <> coalesce(sum(m.credits), 0)
            """),
        ("the session, its hold and its draws agree",
            """
            SELECT r.reservation_id, r.amount, r.captured, sum(d.amount), sum(d.captured)
            FROM credit_reservations r JOIN credit_reservation_draws d USING (reservation_id) JOIN generation_sessions s USING (session_id)
            GROUP BY r.reservation_id, s.session_id
            HAVING sum(d.amount) <> r.amount OR sum(d.captured) <> r.captured OR sum(d.released) <> r.released
                OR s.held_credits <> r.amount OR coalesce(s.captured_credits, 0) <> r.captured
            """),
        ("what a lot holds is what open holds drew from it",
            """
            SELECT l.lot_id, l.held, coalesce(sum(d.amount) FILTER (WHERE r.status = 'held'), 0)
            FROM credit_lots l LEFT JOIN credit_reservation_draws d USING (lot_id) LEFT JOIN credit_reservations r USING (reservation_id)
            GROUP BY l.lot_id HAVING l.held <> coalesce(sum(d.amount) FILTER (WHERE r.status = 'held'), 0)
            """),
        ("replaying the ledger gives the balances",
            """
            SELECT a.user_id, a.available, a.reserved, r.available, r.reserved
            FROM credit_accounts a
            LEFT JOIN LATERAL (
                SELECT coalesce(sum(CASE WHEN to_bucket = 'available' THEN amount WHEN from_bucket = 'available' THEN -amount ELSE 0 END), 0) AS available,
                       coalesce(sum(CASE WHEN to_bucket = 'reserved' THEN amount WHEN from_bucket = 'reserved' THEN -amount ELSE 0 END), 0) AS reserved
                FROM credit_transactions t WHERE t.user_id = a.user_id) r ON true
            WHERE (a.available, a.reserved) <> (r.available, r.reserved)
            """),
        ("every ledger row carries the balances after it",
            """
            SELECT transaction_id, available_after, reserved_after, available, reserved
            FROM (SELECT t.*,
                         sum(CASE WHEN to_bucket = 'available' THEN amount WHEN from_bucket = 'available' THEN -amount ELSE 0 END) OVER w AS available,
                         sum(CASE WHEN to_bucket = 'reserved' THEN amount WHEN from_bucket = 'reserved' THEN -amount ELSE 0 END) OVER w AS reserved
                  FROM credit_transactions t WINDOW w AS (PARTITION BY user_id ORDER BY transaction_id)) x
            WHERE (available_after, reserved_after) <> (available, reserved)
            """),
        ("completed has outputs, failed has none",
            """
            SELECT s.session_id, s.status, count(m.media_id)
            FROM generation_sessions s LEFT JOIN media m USING (session_id)
            GROUP BY s.session_id
            HAVING (s.status = 'completed' AND count(m.media_id) = 0) OR (s.status = 'failed' AND count(m.media_id) > 0)
            """),
    ];
}
