-- Whoever wants a slot waits here for whoever is taking one, so that take_gpu_slot.sql sees what that one took: its snapshot is newer.
SELECT NULL::text
FROM gpu_slots
WHERE endpoint = ANY ($1)
ORDER BY endpoint
FOR UPDATE
