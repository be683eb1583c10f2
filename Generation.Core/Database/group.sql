-- First statement of a group of writes: how the statements after it are planned, until the transaction ends. One plan for every group,
-- because planning them takes longer than writing; and by index, a look-up a row, because nothing in them ever wants a whole table, however
-- small it was when the plan was made. And no JIT: ruling plans out makes them look so dear that each would be compiled for seconds.
-- $1 is how long to wait for a row that somebody else has locked; 0 is for ever.
SELECT set_config('plan_cache_mode', 'force_generic_plan', true), set_config('jit', 'off', true),
       set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
       set_config('lock_timeout', $1, true)
