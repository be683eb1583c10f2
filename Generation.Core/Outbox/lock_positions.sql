-- First statement of a pass over a lane for its position index: generation.lane is the lane, or empty when another relay makes it at the moment.
-- $1 the lane. Answers whether it is ours, the time of the snapshot, the newest row of the outbox, the lane's clock, and whether it is paused.
SELECT set_config('generation.lane', CASE
           WHEN pg_try_advisory_xact_lock(hashtext('generation.positions'), hashtext($1)) THEN $1
           ELSE ''
       END, true) <> '' AS is_ours,
       now() AS as_of, coalesce((SELECT max(outbox_id) FROM outbox), 0) AS last_outbox_id, coalesce(l.clock, 0) AS clock,
       l.paused_at IS NOT NULL AS is_paused
FROM (VALUES ($1::text)) AS asked (lane)
LEFT JOIN lanes AS l USING (lane)
