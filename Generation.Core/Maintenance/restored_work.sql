-- What is open after a restore, by what will become of it. A session counts for the first that applies.
SELECT fate, count(*), coalesce(sum(held_credits), 0)::bigint
FROM (
    SELECT s.held_credits,
           CASE
               WHEN bool_or(t.state = 'intent') THEN 'unanswered'  -- paid for, perhaps: never called again
               WHEN bool_or(t.state = 'running') THEN 'asked'      -- the provider has a task, and is asked for its result
               WHEN bool_or(t.state = 'delivered') THEN 'answered' -- the answer is here: only the files are to be fetched
               ELSE 'uncalled'                                     -- called, and perhaps for the second time
           END AS fate
    FROM generation_sessions AS s
    LEFT JOIN provider_tasks AS t USING (session_id)
    WHERE s.completed_at IS NULL
    GROUP BY s.session_id
) AS open
GROUP BY fate
