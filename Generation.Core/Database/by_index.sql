-- First statement of a batch that works on the rows of a list: how the statements after it are planned, until the transaction ends. One plan
-- for every list, because planning takes longer than writing; and by index, a look-up a row, because nothing in them ever wants a whole
-- table, however small it was when the plan was made: the outbox is empty one minute and holds a backlog in the next (a relay took 190 ms
-- for a batch of 500 with a plan from when it was empty). Nor a bitmap: it reads all that is due to sort it, where the index has the order.
-- And no JIT: ruling plans out makes them look so dear that each would be compiled for seconds.
-- $1 is how long to wait for a row that somebody else has locked; 0 is for ever.
SELECT set_config('plan_cache_mode', 'force_generic_plan', true), set_config('jit', 'off', true),
       set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true), set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
       set_config('lock_timeout', $1, true)
