-- Of some objects, those that no row refers to, and whether their session is there: $1 keys, $2 the session in each key.
SELECT o.key, s.session_id IS NOT NULL
FROM unnest($1::text[], $2::uuid[]) AS o (key, session_id)
LEFT JOIN generation_sessions AS s USING (session_id)
WHERE NOT EXISTS (SELECT FROM media AS m WHERE m.session_id = o.session_id AND o.key IN (m.object_key, m.poster_key))
ORDER BY o.key COLLATE "C"
