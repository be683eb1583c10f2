-- $1 the sweep · $2 the row's id · $3 what the database said. The operator hears of the first failure.
WITH failure AS (
    INSERT INTO sweep_failures AS f (sweep, subject_id, problem, next_try_at)
    VALUES ($1, $2, $3, now() + interval '10 seconds')
    ON CONFLICT (sweep, subject_id) DO UPDATE
    SET failures = f.failures + 1, problem = excluded.problem,
        next_try_at = now() + least(interval '10 seconds' * 2 ^ least(f.failures, 20), interval '1 hour')
    RETURNING failures
)
INSERT INTO error_events (session_id, code, message, detail)
SELECT CASE WHEN EXISTS (SELECT FROM generation_sessions WHERE session_id = $2) THEN $2 END, 'sweep_failed',
       'A sweep cannot process this row; it is left out and tried again ever more rarely.',
       jsonb_build_object('sweep', $1::text, 'subjectId', $2::uuid, 'problem', $3::text)
FROM failure
WHERE failures = 1
