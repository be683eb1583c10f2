-- An administrator made at a terminal leaves an audit row as every admin action does. He is his own actor: nobody else was there yet.
-- Wider than before, so the previous release's rows pass.
ALTER TABLE admin_actions
    DROP CONSTRAINT admin_actions_action_check,
    ADD CONSTRAINT admin_actions_action_check CHECK (action IN ('grant', 'adjustment', 'freeze', 'unfreeze', 'create_admin'));
