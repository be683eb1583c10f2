-- A worker takes sessions: queued and due, awaiting a provider and due, or left behind by a dead worker. The row decides, not the
-- message that led here. Every claim raises the fencing token. Leases are judged by the database's clock alone.
-- Runs after lock_sessions.sql: a session that is locked elsewhere is not claimed, and release_claimed.sql sees to it that it is tried again.
-- $1 worker · $2 lease
WITH ready AS (
    SELECT session_id
    FROM generation_sessions
    WHERE session_id = ANY (string_to_array(current_setting('generation.sessions'), ',')::uuid[])
      AND deadline > now()
      AND CASE -- as a condition of its own the first would lead to the index of all open sessions: the whole backlog at every claim
              WHEN completed_at IS NOT NULL THEN false
              WHEN status = 'queued' THEN wake_at IS NULL OR wake_at <= now() OR cancel_requested_at IS NOT NULL
              WHEN phase = 'awaiting_provider' THEN wake_at <= now() OR cancel_requested_at IS NOT NULL
              ELSE lease_until <= now()
          END
)
UPDATE generation_sessions AS s
SET status = 'processing', phase = 'preparing',
    lease_owner = $1, lease_until = now() + $2, lease_token = s.lease_token + 1,
    wake_at = NULL, callback_at = NULL, started_at = coalesce(s.started_at, now()), progress_at = now(), version = s.version + 1, updated_at = now()
FROM ready
WHERE s.session_id = ANY (ARRAY[ready.session_id]) -- as in settle.sql
RETURNING s.session_id, s.user_id, s.model, s.provider, s.job_type, s.lane, s.kind, s.input_settings, s.mock, s.requested_outputs,
          s.unit_price, s.attempt, s.lost_leases, s.lease_token, s.version, s.progress, s.deadline, s.created_at,
          s.cancel_requested_at IS NOT NULL AS cancel_requested,
          (SELECT array_agg(m.ordinal) FROM media AS m WHERE m.session_id = s.session_id) AS stored_ordinals,
          (SELECT json_agg(json_build_object(
                      'providerTaskId', t.provider_task_id, 'firstOrdinal', t.first_ordinal, 'outputCount', t.output_count, 'state', t.state,
                      'taskId', t.task_id, 'requestId', t.request_id, 'deadline', t.deadline, 'result', t.result,
                      'failure', t.failure, 'failureCode', t.failure_code,
                      'createdAt', t.created_at, 'takesCallbacks', t.callback_token_hash IS NOT NULL) ORDER BY t.first_ordinal)::text
           FROM provider_tasks AS t
           WHERE t.session_id = s.session_id AND t.state <> 'rejected') AS tasks,
          CASE WHEN s.lost_leases > 0 THEN (
              SELECT count(*)::integer FROM error_events AS e WHERE e.session_id = s.session_id AND e.code = 'stuck') ELSE 0 END AS times_stuck,
          now() AS claimed_at, s.traceparent, s.work
