-- After a restore to a point in time, as the owner: numbers that were given out in the lost time are not given out again. $1: by how much.
-- lease_token is in the names of objects, and version is what clients have seen; an ended session gets no more of either.
WITH advanced AS (
    UPDATE generation_sessions SET lease_token = lease_token + $1, version = version + $1 WHERE completed_at IS NULL
    RETURNING session_id
)
SELECT (SELECT count(*) FROM advanced),
       -- Ids of outbox rows are in messages, those of ledger rows in clients' cursors.
       (SELECT count(setval(format('%I.%I', schemaname, sequencename)::regclass, coalesce(last_value, start_value) + $1)) FROM pg_sequences
           WHERE schemaname = 'public')
