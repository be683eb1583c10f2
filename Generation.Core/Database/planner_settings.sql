-- First statement of a batch that processes a list of rows: planner settings for the statements after it, until the transaction ends.
-- A generic plan, because planning takes longer than the statement itself; index look-ups only, because no statement here needs a whole table,
-- however small it was when the plan was made: the outbox is empty in one minute and holds a backlog in the next (a relay took 190 ms for a
-- batch of 500 with a plan from an empty table). No bitmap scans, which read and sort everything that is due where the index has the order.
-- No JIT: with the other plans disabled their estimated costs are so high that each would be compiled for seconds.
-- $1 how long to wait for a row that another transaction has locked
-- No row is answered: the settings are made while rows are looked for that there are none of.
SELECT
FROM (
    VALUES (set_config('plan_cache_mode', 'force_generic_plan', true)), (set_config('jit', 'off', true)),
           (set_config('enable_seqscan', 'off', true)), (set_config('enable_bitmapscan', 'off', true)),
           (set_config('enable_hashjoin', 'off', true)), (set_config('enable_mergejoin', 'off', true)),
           (set_config('lock_timeout', $1, true))
) AS setting (value)
WHERE value IS NULL
