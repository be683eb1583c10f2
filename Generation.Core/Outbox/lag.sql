-- How long the oldest row that is due has waited for its dispatch, over all lanes, in seconds; 0 when none waits. By age, not by rank: the first in
-- line of a fair order is not the one that has waited longest.
SELECT coalesce((
    SELECT extract(epoch FROM now() - available_at)
    FROM outbox
    WHERE dispatched_at IS NULL AND set_aside_at IS NULL AND available_at <= now() AND lane = ANY ($1)
    ORDER BY outbox_id
    LIMIT 1), 0)::double precision
