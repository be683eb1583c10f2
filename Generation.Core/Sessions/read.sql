-- Sessions with their outputs, as users see them. Ends in a WHERE of the caller's ({0}).
SELECT s.session_id, s.user_id, s.client_key, s.model, s.tool, s.kind, s.status, s.phase, s.progress, s.version, s.attempt, s.lease_token,
       s.params::text, s.created_at, s.started_at, s.completed_at, s.error_code, s.error_message, s.error_retryable,
       s.held_credits, s.captured_credits, s.price_version, s.provider_usage::text, s.failed_outputs::text, s.requested_outputs, s.retry_of,
       s.cancel_requested_at, s.mock, s.extra_credits,
       (SELECT json_agg(json_build_object(
                   'mediaId', m.media_id, 'ordinal', m.ordinal, 'kind', m.kind, 'contentType', m.content_type, 'bytes', m.bytes,
                   'width', m.width, 'height', m.height, 'durationSeconds', m.duration_seconds, 'sha256', encode(m.sha256, 'hex'),
                   'objectKey', m.object_key, 'posterKey', m.poster_key, 'version', m.session_version) ORDER BY m.ordinal)::text
        FROM media AS m
        WHERE m.session_id = s.session_id) AS media,
       s.status = 'failed' AND s.error_code = 'provider_unavailable' AND s.input_settings @> '{{"allow_placeholder": true}}' AS wants_placeholder,
       s.traceparent, s.lane, s.provider, s.work,
       CASE WHEN s.completed_at IS NULL THEN (s.input_settings - '{{prompt,negative_prompt,images}}'::text[])::text END AS variant_settings
FROM generation_sessions AS s
WHERE {0}
