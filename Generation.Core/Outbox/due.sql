-- What of a lane is to be dispatched next, locked until it is marked. Runs after lock_lane.sql. The message is made from the
-- session as it is now: parameters are inlined up to 8 KiB, else the worker has them from its claim.
-- By rank (decision 0022): this order is the queue's order. A release before this one wrote no traceparent to sessions.
SELECT o.outbox_id, o.event_type, o.session_id, coalesce(s.traceparent, o.traceparent) AS traceparent, o.available_at,
       s.completed_at IS NOT NULL AS obsolete, o.rank,
       s.job_type IS DISTINCT FROM o.event_type AS unknown, -- the session says what is to be done, not a list of tools: a new one needs no new relay
       json_build_object(
           'payloadVersion', 1, 'jobType', o.event_type, 'sessionId', o.session_id, 'outboxId', o.outbox_id, 'attempt', s.attempt,
           'params', CASE WHEN octet_length(s.params::text) <= 8192 THEN s.params END,
           'meta', json_build_object('requestedOutputs', s.requested_outputs, 'resolution', s.input_settings ->> 'size',
                                     'model', s.model, 'mock', s.mock))::text AS envelope
FROM outbox AS o
LEFT JOIN LATERAL (SELECT * FROM generation_sessions AS s WHERE s.session_id = o.session_id OFFSET 0) AS s ON true -- a look-up each, in every plan
WHERE o.lane = current_setting('generation.lane')
  AND o.dispatched_at IS NULL
  AND o.set_aside_at IS NULL
  AND o.rank <= current_setting('generation.max_rank')::double precision
  AND o.available_at <= now() -- the release before put ranked rows off without taking their rank
ORDER BY o.rank, o.outbox_id
LIMIT $1
FOR UPDATE OF o SKIP LOCKED
