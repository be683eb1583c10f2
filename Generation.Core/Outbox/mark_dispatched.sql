-- After publishing: dispatched rows get their message id, rows of ended sessions go, rows nobody understands are set aside.
-- The lane's clock moves to the largest rank, at most ten times a second: a forgotten transaction beside us keeps every version of that row.
-- $1, $2 outbox ids and message ids · $3 obsolete · $4, $5 set aside and why · $6 the lane · $7 the largest rank
-- ANY (ARRAY[…]) is a look-up by the key in every plan; a plain = is a walk through the whole index in one from when the outbox was empty.
WITH dispatched AS (
    UPDATE outbox AS o
    SET dispatched_at = now(), message_id = m.message_id
    FROM unnest($1::bigint[], $2::text[]) AS m (outbox_id, message_id)
    WHERE o.outbox_id = ANY (ARRAY[m.outbox_id])
),
clock AS (
    UPDATE lanes
    SET clock = $7, clocked_at = clock_timestamp()
    WHERE lane = (SELECT lane FROM lanes
        WHERE lane = $6 AND clock < $7 AND clocked_at < clock_timestamp() - interval '100 milliseconds'
        FOR UPDATE SKIP LOCKED)
),
obsolete AS (
    DELETE FROM outbox
    WHERE outbox_id = ANY ($3::bigint[])
)
UPDATE outbox AS o
SET set_aside_at = now(), set_aside_reason = a.reason
FROM unnest($4::bigint[], $5::text[]) AS a (outbox_id, reason)
WHERE o.outbox_id = ANY (ARRAY[a.outbox_id])
