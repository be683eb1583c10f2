-- Locks those slots of $1 that nobody else has locked, and says which: the statement after it reads generation.gpus, and its newer snapshot sees what
-- was done with them before. One that is locked elsewhere is about to be taken.
SELECT set_config('generation.gpus', coalesce(json_agg(endpoint)::text, '[]'), true)
FROM (
    SELECT endpoint
    FROM gpu_slots
    WHERE endpoint = ANY ($1)
    ORDER BY endpoint
    FOR UPDATE SKIP LOCKED
) AS slot
