-- First statement of a submit batch: how the statements after it are planned, until the transaction ends. One plan for every batch,
-- because planning takes as long as writing; and by index, because nothing here ever wants a whole table, however small it was when
-- the plan was made. A row that somebody else has locked (accounts are skipped) is waited for only shortly: everybody waits for this batch.
SELECT
FROM (VALUES (set_config('enable_seqscan', 'off', true)), (set_config('plan_cache_mode', 'force_generic_plan', true)),
      (set_config('lock_timeout', '100ms', true))) AS setting (value)
WHERE value IS NULL
