-- What became of a task whose session had ended before it. What it cost, and what is not known of it, leaves a record for the operator: nobody has
-- its output, and nobody is charged.
-- $1 task · $2 state · $3 result · $4 failure · $5 its code · $6 what was wrong · $7 what was answered
WITH task AS (
    UPDATE provider_tasks
    SET state = $2, result = coalesce($3, result), failure = $4, failure_code = $5, updated_at = now()
    WHERE provider_task_id = $1 AND state = 'running'
    RETURNING provider_task_id, session_id, provider, task_id, request_id, first_ordinal, output_count, created_at, result
)
INSERT INTO error_events (session_id, user_id, code, message, detail)
SELECT t.session_id, s.user_id, CASE $2 WHEN 'delivered' THEN 'abandoned_output' ELSE 'outcome_unknown' END,
       CASE $2 WHEN 'delivered' THEN 'The session ended before the provider was done; the output was made and is billed, and nobody has it.'
               ELSE 'The session ended while the provider worked for it, and what became of the task cannot be learned. Look it up there.' END,
       jsonb_strip_nulls(jsonb_build_object(
           'providerTaskId', t.provider_task_id, 'provider', t.provider, 'taskId', t.task_id, 'requestId', t.request_id, 'ordinal', t.first_ordinal,
           'sentAt', t.created_at, 'usage', t.result -> 'usage', 'providerCode', $5, 'problem', $6, 'answer', $7,
           'usd', CASE WHEN $2 <> 'delivered' THEN NULL
                       WHEN jsonb_typeof(t.result #> ARRAY['usage', p.usage_field]) = 'number' AND p.usd_per_unit IS NOT NULL
                       THEN least(greatest((t.result #>> ARRAY['usage', p.usage_field])::numeric, 0), 1e15) * p.usd_per_unit
                       ELSE t.output_count * p.usd_per_output END)) -- as in settle.sql
FROM task AS t
JOIN generation_sessions AS s ON s.session_id = ANY (ARRAY[t.session_id])
LEFT JOIN price_rows AS p ON p.price_version = s.price_version
WHERE $2 IN ('delivered', 'unknown')
