-- Whether another worker than $2 has reserved one of the GPUs $1, or a session holds one.
SELECT EXISTS (
    SELECT FROM gpu_slots AS g
    WHERE g.endpoint = ANY ($1)
      AND (g.reserved_by <> $2 AND g.reserved_until > now()
           OR EXISTS (
               SELECT FROM generation_sessions AS s
               WHERE s.session_id = g.session_id AND s.lease_token = g.lease_token AND s.lease_until > now())))
