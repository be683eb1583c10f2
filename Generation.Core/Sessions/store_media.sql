-- Stored outputs, each written by the holder of its session's lease and by nobody else. Runs after lock_sessions.sql, on a fresh snapshot.
-- Answers those whose writer still holds the session, with the session's new version,
-- and whether another object was stored for this ordinal before: then the first one stays. The same object again is a try whose reply was lost.
-- $1 the outputs, n from 1 · $2: they are the last ones and settle.sql follows in this transaction, which moves their sessions on for both.
WITH output AS MATERIALIZED (
    SELECT n, session_id, lease_token, media_id, ordinal, kind, object_key, content_type, bytes, sha256, width, height, duration_seconds,
           usage::jsonb AS usage, poster_key
    FROM json_to_recordset($1) AS o (
        n bigint, session_id uuid, lease_token bigint, media_id uuid, ordinal integer, kind text, object_key text, content_type text, bytes bigint,
        sha256 bytea, width integer, height integer, duration_seconds double precision, usage text, poster_key text)
    WHERE session_id = ANY ((
        SELECT string_to_array(current_setting('generation.sessions'), ',')::uuid[])::uuid[]) -- what could be locked; read once, not a row
),
held AS MATERIALIZED (
    SELECT o.*, s.user_id, s.version + row_number() OVER (PARTITION BY o.session_id ORDER BY o.n) AS session_version,
           -- by the price row it was sold at: what the provider counted where the price says so, else the listed price
           CASE WHEN jsonb_typeof(o.usage -> p.usage_field) = 'number'
                -- free would not be paid, more is a mistake
                THEN least(greatest(ceil(least((o.usage ->> p.usage_field)::numeric, 1e15) * p.credits_per_unit), 1), 1e12)::bigint
                ELSE s.unit_price END AS credits,
           (SELECT m.object_key FROM media AS m WHERE m.session_id = o.session_id AND m.ordinal = o.ordinal) AS known_key
    FROM output AS o
    CROSS JOIN LATERAL (
        SELECT s.user_id, s.version, s.unit_price, s.price_version, s.lease_token, s.lease_until
        FROM generation_sessions AS s
        WHERE s.session_id = o.session_id
        OFFSET 0 -- a look-up each by the key: never a join with the whole table, nor a walk through the leases of all
    ) AS s
    LEFT JOIN price_rows AS p ON p.price_version = s.price_version
    WHERE s.lease_token = o.lease_token AND s.lease_until IS NOT NULL
),
stored AS (
    INSERT INTO media (media_id, session_id, user_id, ordinal, kind, object_key, content_type, bytes, sha256, width, height,
                       duration_seconds, usage, poster_key, credits, lease_token, session_version)
    SELECT media_id, session_id, user_id, ordinal, kind, object_key, content_type, bytes, sha256, width, height,
           duration_seconds, usage, poster_key, credits, lease_token, session_version
    FROM held
    ORDER BY n
    ON CONFLICT (session_id, ordinal) DO NOTHING
),
moved AS (
    UPDATE generation_sessions AS s
    SET version = s.version + h.outputs, phase = 'storing', progress_at = now(), updated_at = now()
    FROM (SELECT session_id, count(*) AS outputs FROM held GROUP BY session_id) AS h
    WHERE NOT $2 AND s.session_id = ANY (ARRAY[h.session_id]) -- as in settle.sql
)
SELECT n, session_version, coalesce(known_key <> object_key, false) AS is_duplicate,
       CASE WHEN NOT $2 THEN (SELECT v.reservation_id FROM credit_reservations AS v WHERE v.session_id = held.session_id) END AS reservation_id
FROM held
ORDER BY n
