-- The views of outputs say which request of the client's they belong to; redrives and mock tokens are admin actions.
CREATE OR REPLACE VIEW images WITH (security_invoker = true) AS
SELECT m.media_id, m.session_id, m.user_id, m.ordinal, m.kind, m.object_key, m.content_type, m.bytes, m.sha256, m.width, m.height,
       m.duration_seconds, m.credits, m.lease_token, m.session_version, m.created_at, s.client_key
FROM media AS m
JOIN generation_sessions AS s ON s.session_id = m.session_id
WHERE m.kind = 'image';

CREATE OR REPLACE VIEW videos WITH (security_invoker = true) AS
SELECT m.media_id, m.session_id, m.user_id, m.ordinal, m.kind, m.object_key, m.content_type, m.bytes, m.sha256, m.width, m.height,
       m.duration_seconds, m.credits, m.lease_token, m.session_version, m.created_at, s.client_key
FROM media AS m
JOIN generation_sessions AS s ON s.session_id = m.session_id
WHERE m.kind = 'video';

ALTER TABLE admin_actions
    DROP CONSTRAINT admin_actions_action_check,
    ADD CONSTRAINT admin_actions_action_check
        CHECK (action IN ('grant', 'adjustment', 'freeze', 'unfreeze', 'create_admin', 'redrive', 'mock_override')) NOT VALID;
ALTER TABLE admin_actions VALIDATE CONSTRAINT admin_actions_action_check;
