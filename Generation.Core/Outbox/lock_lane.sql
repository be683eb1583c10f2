-- Takes the lock of a lane until the transaction ends: generation.lane is the lane, or empty when another relay holds the lock; generation.max_rank
-- is infinite, or -1 while the lane is paused, for work that was begun goes on. The next statements read them. Two dispatchers at once would publish
-- ranks out of order. An advisory lock, so that a transaction which locks the lane's row does not stop the lane.
-- $1 the lane
SELECT set_config('generation.lane', CASE
           WHEN pg_try_advisory_xact_lock(hashtext('generation.dispatch'), hashtext($1)) THEN $1
           ELSE ''
       END, true),
       set_config('generation.max_rank', CASE
           WHEN EXISTS (SELECT FROM lanes WHERE lane = $1 AND paused_at IS NOT NULL) THEN '-1'
           ELSE 'Infinity'
       END, true)
