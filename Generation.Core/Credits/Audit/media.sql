-- Every output beside its session and the price that one was sold at (Sessions/store_media.sql says what an output costs).
WITH broken AS MATERIALIZED (
    SELECT *
    FROM (
        SELECT m.media_id, m.session_id, m.user_id, m.credits, s.user_id AS session_user_id, priced.credits AS price,
               s.session_id IS NULL AS session_missing,
               s.user_id <> m.user_id AS of_another,
               m.credits <> priced.credits AS price_differs
        FROM media AS m
        LEFT JOIN generation_sessions AS s ON s.session_id = m.session_id
        LEFT JOIN price_rows AS p ON p.price_version = s.price_version
        CROSS JOIN LATERAL (
            SELECT CASE WHEN p.usage_field IS NOT NULL AND jsonb_typeof(m.usage -> p.usage_field) = 'number'
                        THEN least(greatest(ceil((m.usage ->> p.usage_field)::numeric * p.credits_per_unit), 1), 1000000000000)::bigint
                        ELSE s.unit_price END AS credits
        ) AS priced
    ) AS m
    WHERE session_missing OR of_another OR price_differs
)
SELECT 'media-has-session' AS rule, media_id::text AS id, 'session ' || session_id AS expected, 'none' AS actual
FROM broken WHERE session_missing
UNION ALL
SELECT 'media-of-session-user', media_id::text, session_user_id::text, user_id::text
FROM broken WHERE of_another
UNION ALL
SELECT 'media-costs-its-price', media_id::text, price::text, credits::text
FROM broken WHERE price_differs
