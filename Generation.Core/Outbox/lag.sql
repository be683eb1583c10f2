-- How long the oldest row that is due has waited for its dispatch, over all lanes, in seconds; 0 when none waits. One index entry a lane.
SELECT coalesce(max(extract(epoch FROM now() - oldest.available_at)), 0)::double precision
FROM unnest($1::text[]) AS lane (name)
CROSS JOIN LATERAL (
    SELECT o.available_at
    FROM outbox AS o
    WHERE o.lane = lane.name AND o.dispatched_at IS NULL AND o.set_aside_at IS NULL AND o.available_at <= now()
    ORDER BY o.available_at, o.outbox_id
    LIMIT 1
) AS oldest
