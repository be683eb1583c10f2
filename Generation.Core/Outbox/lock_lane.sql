-- The right to dispatch a lane, until the transaction ends: generation.lane is the lane, or empty when another relay has the right or the lane is
-- paused. What follows asks it. With two at a time ranks would be published out of order. An advisory lock, because whoever locks the lane's row
-- (an operator, a forgotten transaction) must not stop it.
-- $1 the lane
SELECT set_config('generation.lane', CASE
    WHEN EXISTS (SELECT FROM lanes WHERE lane = $1 AND paused_at IS NOT NULL) THEN ''
    WHEN pg_try_advisory_xact_lock(hashtext('generation.dispatch'), hashtext($1)) THEN $1
    ELSE ''
END, true)
