-- Operators pause lanes, move sessions and weigh users. From here on the set of actions is open: the code that does one names it, and another one
-- needs no migration. Wider than before, so the previous release's rows pass.
ALTER TABLE admin_actions
    DROP CONSTRAINT admin_actions_action_check,
    ADD CONSTRAINT admin_actions_action_check CHECK (action ~ '^[a-z][a-z_]{0,49}$') NOT VALID;
ALTER TABLE admin_actions VALIDATE CONSTRAINT admin_actions_action_check;
