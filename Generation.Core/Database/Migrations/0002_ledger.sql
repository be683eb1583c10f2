-- The ledger in full: prices by what a provider counts, charges beyond a hold, holds that live as long as their work,
-- and what administrators do to credits.

-- prices: what is held is credits per output or per second of an output; what is captured may follow the provider's usage -------

ALTER TABLE model_pricing
    ADD COLUMN per              text NOT NULL DEFAULT 'output' CHECK (per IN ('output', 'second')), -- what credits are for
    ADD COLUMN usage_field      text,           -- of the provider's usage, such as total_tokens; without it the listed price is the cost
    ADD COLUMN credits_per_unit numeric(18, 9) CHECK (credits_per_unit > 0),
    ADD COLUMN usd_per_output   numeric(12, 6) CHECK (usd_per_output >= 0), -- what the provider takes from us
    ADD COLUMN usd_per_unit     numeric(18, 12) CHECK (usd_per_unit >= 0),
    ADD CONSTRAINT a_metered_price_has_a_rate CHECK ((usage_field IS NULL) = (credits_per_unit IS NULL));
ALTER TABLE image_variant_pricing
    ADD COLUMN per              text NOT NULL DEFAULT 'output' CHECK (per IN ('output', 'second')),
    ADD COLUMN usage_field      text,
    ADD COLUMN credits_per_unit numeric(18, 9) CHECK (credits_per_unit > 0),
    ADD COLUMN usd_per_output   numeric(12, 6) CHECK (usd_per_output >= 0),
    ADD COLUMN usd_per_unit     numeric(18, 12) CHECK (usd_per_unit >= 0),
    ADD CONSTRAINT a_metered_price_has_a_rate CHECK ((usage_field IS NULL) = (credits_per_unit IS NULL));

-- All prices that ever were, by the version that a session keeps.
CREATE VIEW price_rows WITH (security_invoker = true) AS
    SELECT price_version, model, NULL::text AS resolution, '' AS quality, credits, per, usage_field, credits_per_unit, usd_per_output, usd_per_unit, retired_at
    FROM model_pricing
    UNION ALL
    SELECT price_version, model, resolution, quality, credits, per, usage_field, credits_per_unit, usd_per_output, usd_per_unit, retired_at
    FROM image_variant_pricing;

-- A price is never changed, it is retired: the services may write nothing else of it.
REVOKE UPDATE ON model_pricing, image_variant_pricing FROM generation_service;
GRANT UPDATE (retired_at) ON model_pricing, image_variant_pricing TO generation_service;
GRANT SELECT ON price_rows TO generation_service;

-- the cost of a session may differ from its hold --------------------------------------------------------------------------------

ALTER TABLE media ADD COLUMN usage jsonb; -- what the provider counted for this output, if it says so

ALTER TABLE generation_sessions
    DROP CONSTRAINT generation_sessions_check1, -- captured_credits BETWEEN 0 AND held_credits
    ADD COLUMN extra_credits     bigint NOT NULL DEFAULT 0 CHECK (extra_credits >= 0),     -- of captured_credits, what the hold did not cover
    ADD COLUMN shortfall_credits bigint NOT NULL DEFAULT 0 CHECK (shortfall_credits >= 0), -- of the cost, what nobody paid
    ADD CONSTRAINT captured_is_held_or_extra CHECK (captured_credits - extra_credits BETWEEN 0 AND held_credits),
    ADD CONSTRAINT extra_follows_the_whole_hold CHECK (extra_credits + shortfall_credits = 0 OR captured_credits - extra_credits = held_credits);

ALTER TABLE credit_reservations
    ADD COLUMN extra bigint NOT NULL DEFAULT 0 CHECK (extra >= 0), -- charged beyond the hold from what was available (Credits:CostPolicy)
    ADD CONSTRAINT extra_follows_the_whole_hold CHECK (extra = 0 OR captured = amount);
CREATE INDEX credit_reservations_expiring ON credit_reservations (expires_at) WHERE status = 'held';

ALTER TABLE credit_reservation_draws
    ADD COLUMN extra boolean NOT NULL DEFAULT false, -- drawn at the end, beyond the hold
    ADD CONSTRAINT extra_is_spent CHECK (NOT extra OR captured = amount);

-- what administrators do to credits: who, whom, why -----------------------------------------------------------------------------

CREATE TABLE admin_actions (
    admin_action_id uuid PRIMARY KEY,
    idempotency_key text NOT NULL UNIQUE CHECK (length(idempotency_key) BETWEEN 1 AND 200),
    request_hash    bytea NOT NULL CHECK (octet_length(request_hash) = 32), -- the same key with another request is refused
    actor_id        uuid NOT NULL REFERENCES users,
    user_id         uuid NOT NULL REFERENCES credit_accounts,
    action          text NOT NULL CHECK (action IN ('grant', 'adjustment', 'freeze', 'unfreeze')),
    reason          text NOT NULL CHECK (length(reason) BETWEEN 1 AND 1000),
    result          jsonb NOT NULL, -- the answer that the first request got, and its repetitions get
    created_at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX admin_actions_user ON admin_actions (user_id, created_at DESC, admin_action_id);
CREATE INDEX admin_actions_recent ON admin_actions (created_at DESC, admin_action_id);

CREATE OR REPLACE FUNCTION refuse_ledger_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused. Correct a mistake with a new row.', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER admin_actions_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON admin_actions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_ledger_change();
GRANT SELECT, INSERT ON admin_actions TO generation_service;

ALTER TABLE credit_transactions
    ADD COLUMN admin_action_id uuid REFERENCES admin_actions,
    ADD CONSTRAINT every_row_has_a_cause CHECK (coalesce(reservation_id, lot_id, admin_action_id) IS NOT NULL);
CREATE UNIQUE INDEX credit_transactions_admin_action ON credit_transactions (admin_action_id) WHERE admin_action_id IS NOT NULL;

ALTER TABLE credit_lots
    ADD COLUMN withdrawn bigint NOT NULL DEFAULT 0 CHECK (withdrawn >= 0), -- taken back by an adjustment
    DROP CONSTRAINT a_lot_adds_up,
    ADD CONSTRAINT a_lot_adds_up CHECK (granted = available + held + spent + expired + withdrawn),
    -- In the predicate of an index the amount itself would make every hold write all indexes of the table anew (no heap-only update).
    ADD COLUMN drawable boolean NOT NULL GENERATED ALWAYS AS (available > 0) STORED,
    SET (fillfactor = 70);
DROP INDEX credit_lots_drawable, credit_lots_expiring;
CREATE INDEX credit_lots_drawable ON credit_lots (user_id, priority, expires_at, created_at, lot_id) WHERE drawable;
CREATE INDEX credit_lots_expiring ON credit_lots (expires_at) WHERE drawable AND expires_at IS NOT NULL;
ALTER TABLE credit_accounts SET (fillfactor = 70);

-- What Ark lists per picture (2026-06), for the operator's margin; a contract may say otherwise.
UPDATE model_pricing SET usd_per_output = CASE model WHEN 'seedream-4.5' THEN 0.04 ELSE 0.03 END WHERE model LIKE 'seedream-%';
UPDATE image_variant_pricing SET usd_per_output = CASE model WHEN 'seedream-4.5' THEN 0.04 ELSE 0.03 END WHERE model LIKE 'seedream-%';
