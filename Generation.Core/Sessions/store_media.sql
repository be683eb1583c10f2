-- One stored output, written by the holder of the lease and by nobody else. Answers whether the caller still holds the session,
-- and the version of the new row (null when this ordinal was stored before: the first object stays).
WITH holder AS (
    UPDATE generation_sessions
    SET version = version + 1, phase = 'storing', progress_at = now(), updated_at = now()
    WHERE session_id = $1 AND lease_token = $2 AND lease_until IS NOT NULL
    RETURNING session_id, user_id, version, unit_price, price_version
),
cost AS ( -- by the price row it was sold at: what the provider counted where the price says so, else the listed price
    SELECT CASE WHEN jsonb_typeof($13 -> p.usage_field) = 'number'
                THEN least(greatest(ceil(($13 ->> p.usage_field)::numeric * p.credits_per_unit), 1), 1000000000000)::bigint -- free would not be paid, more is a mistake
                ELSE h.unit_price END AS credits
    FROM holder AS h
    LEFT JOIN price_rows AS p USING (price_version)
),
stored AS (
    INSERT INTO media (media_id, session_id, user_id, ordinal, kind, object_key, content_type, bytes, sha256, width, height,
                       duration_seconds, usage, poster_key, credits, lease_token, session_version)
    SELECT $3, session_id, user_id, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, credits, $2, version
    FROM holder, cost
    ON CONFLICT (session_id, ordinal) DO NOTHING
    RETURNING session_version
)
SELECT holder.user_id, holder.version, (SELECT session_version FROM stored) AS stored_version
FROM holder
