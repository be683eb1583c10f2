-- Which of some objects nobody refers to, nor ever will: $1 keys, $2 the session or upload in each key, $3 whether it is an upload's,
-- $4 whether the object is old, $5 how long a session must have been over.
-- A row refers to an object while it names it, whatever else is true. Apart from that, an object of a session belongs to it until the
-- session has been over for so long (nobody can add a row any more: only a lease may). An upload's row is written after its object,
-- and a session that is not there may be in the backup that is being restored, or in another database: such objects must be old, if they go at all.
SELECT o.key
FROM unnest($1::text[], $2::uuid[], $3::boolean[], $4::boolean[]) AS o (key, owner_id, is_upload, is_old)
LEFT JOIN generation_sessions AS s ON s.session_id = o.owner_id AND NOT o.is_upload
WHERE CASE WHEN s.session_id IS NULL THEN o.is_old ELSE s.completed_at < now() - $5::interval END
  AND NOT EXISTS (SELECT FROM media AS m WHERE m.session_id = o.owner_id AND o.key IN (m.object_key, m.poster_key))
  AND NOT EXISTS (SELECT FROM uploads AS u WHERE u.object_key = o.key)
