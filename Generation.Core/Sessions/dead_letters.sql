-- Sessions that failed although nobody asked for anything wrong, the latest first, with what was tried. Nothing is held for them.
-- $1 code · $2 model · $3 provider · $4 before this moment · $5 only these · $6 without those that were redriven · $7 limit
SELECT s.session_id, s.user_id, u.handle, s.model, s.provider, s.lane, s.error_code, s.error_message, s.attempt, s.lost_leases,
       s.created_at, s.completed_at, s.requested_outputs, s.held_credits, s.retry_of,
       (SELECT r.session_id FROM generation_sessions AS r WHERE r.retry_of = s.session_id ORDER BY r.session_id LIMIT 1) AS redriven_as,
       (SELECT json_agg(h.entry ORDER BY h.at)
        FROM (
            SELECT t.updated_at AS at, json_build_object(
                       'at', t.updated_at, 'what', 'call', 'ordinal', t.first_ordinal, 'state', t.state, 'failure', t.failure, 'providerCode',
                           t.failure_code,
                       'taskId', t.task_id, 'requestId', t.request_id) AS entry
            FROM provider_tasks AS t
            WHERE t.session_id = s.session_id
            UNION ALL
            SELECT e.created_at, json_build_object('at', e.created_at, 'what', e.code, 'message', e.message, 'detail', e.detail)
            FROM error_events AS e
            WHERE e.session_id = s.session_id
            ORDER BY at DESC
            LIMIT 30
        ) AS h)::text AS history,
       s.params::text, s.traceparent
FROM generation_sessions AS s
JOIN users AS u USING (user_id)
WHERE s.status = 'failed'
  AND s.error_code NOT IN ('invalid_request', 'moderation_input', 'moderation_output')
  AND ($1::text IS NULL OR s.error_code = $1)
  AND ($2::text IS NULL OR s.model = $2)
  AND ($3::text IS NULL OR s.provider = $3)
  AND ($4::timestamptz IS NULL OR s.completed_at < $4)
  AND ($5::uuid[] IS NULL OR s.session_id = ANY ($5))
  AND NOT ($6 AND EXISTS (SELECT FROM generation_sessions AS r WHERE r.retry_of = s.session_id))
ORDER BY s.completed_at DESC, s.session_id DESC
LIMIT $7
