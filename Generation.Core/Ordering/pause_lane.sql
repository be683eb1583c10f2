-- Of a paused lane only work that was begun is dispatched (lock_lane.sql); what is in its queue or with a worker goes on. A second pause keeps the
-- time and the author of the first.
-- $1 action id · $2 key · $3 request hash · $4 actor · $5 user: the actor, too · $6 reason · $7 lane · $8 whether to pause. The lane is locked.
WITH lane AS (
    UPDATE lanes
    SET paused_at = CASE WHEN $8 THEN coalesce(paused_at, now()) END,
        paused_by = CASE WHEN $8 THEN coalesce(paused_by, (SELECT handle FROM users WHERE user_id = $4)) END
    WHERE lane = $7 AND NOT EXISTS (SELECT FROM admin_actions WHERE idempotency_key = $2)
    RETURNING lane, paused_at, paused_by
)
INSERT INTO admin_actions (admin_action_id, idempotency_key, request_hash, actor_id, user_id, action, reason, result)
SELECT $1, $2, $3, $4, $5, action.name, $6,
       jsonb_build_object('actionId', $1::uuid, 'action', action.name, 'lane', lane, 'reason', $6::text,
                          'paused', CASE WHEN paused_at IS NOT NULL THEN jsonb_build_object('at', paused_at, 'by', paused_by) END)
FROM lane
CROSS JOIN (SELECT CASE WHEN $8 THEN 'pause_lane' ELSE 'resume_lane' END AS name) AS action
