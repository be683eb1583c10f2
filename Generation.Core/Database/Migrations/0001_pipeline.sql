-- The tables of the pipeline. The database holds the state machine: a row that could not have come about is refused here,
-- whoever writes it. Ids are UUIDv7 made by the services; the two append-only streams (ledger, outbox) number themselves.

DO $$
BEGIN
    CREATE ROLE generation_service NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; -- roles belong to the cluster: another database made it
END $$;
DO $$
BEGIN
    CREATE ROLE generation_reader NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$;

-- who ---------------------------------------------------------------------------------------------------------------

CREATE TABLE users (
    user_id    uuid PRIMARY KEY,
    handle     text NOT NULL UNIQUE CHECK (handle ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
    role       text NOT NULL DEFAULT 'user' CHECK (role IN ('user', 'admin')),
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE api_keys (
    key_hash   bytea PRIMARY KEY CHECK (octet_length(key_hash) = 32), -- SHA-256 of the key, which is shown once
    user_id    uuid NOT NULL REFERENCES users,
    name       text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);
CREATE INDEX api_keys_user ON api_keys (user_id);

-- prices: variant first, then model; a row is never changed, it is retired and followed by the next version -----------

CREATE SEQUENCE price_version;

CREATE TABLE model_pricing (
    price_version bigint PRIMARY KEY DEFAULT nextval('price_version'),
    model         text NOT NULL,
    credits       bigint NOT NULL CHECK (credits > 0), -- per output
    created_at    timestamptz NOT NULL DEFAULT now(),
    retired_at    timestamptz CHECK (retired_at >= created_at)
);
CREATE UNIQUE INDEX model_pricing_current ON model_pricing (model) WHERE retired_at IS NULL;

CREATE TABLE image_variant_pricing (
    price_version bigint PRIMARY KEY DEFAULT nextval('price_version'),
    model         text NOT NULL,
    resolution    text NOT NULL,
    quality       text NOT NULL DEFAULT '',
    credits       bigint NOT NULL CHECK (credits > 0), -- per output
    created_at    timestamptz NOT NULL DEFAULT now(),
    retired_at    timestamptz CHECK (retired_at >= created_at)
);
CREATE UNIQUE INDEX image_variant_pricing_current ON image_variant_pricing (model, resolution, quality) WHERE retired_at IS NULL;

INSERT INTO model_pricing (model, credits) VALUES ('seedream-4', 4), ('seedream-4.5', 5), ('seedream-3', 3);
INSERT INTO image_variant_pricing (model, resolution, credits) VALUES ('seedream-4', '4K', 8), ('seedream-4.5', '4K', 10);

-- sessions: one request each -------------------------------------------------------------------------------------------

CREATE TABLE generation_sessions (
    session_id          uuid PRIMARY KEY,
    user_id             uuid NOT NULL REFERENCES users,
    client_key          text NOT NULL CHECK (length(client_key) BETWEEN 1 AND 200),
    request_hash        bytea NOT NULL CHECK (octet_length(request_hash) = 32), -- SHA-256 of the canonical {model, params} as sent
    model               text NOT NULL,
    tool                text NOT NULL,
    provider            text NOT NULL,
    job_type            text NOT NULL,
    lane                text NOT NULL CHECK (lane IN ('image', 'video', 'gpu')),
    kind                text NOT NULL CHECK (kind IN ('image', 'video', 'audio')),
    params              jsonb NOT NULL, -- as sent
    input_settings      jsonb NOT NULL, -- what the handler gets: defaults filled in, provider model id as of the submit
    mock                boolean NOT NULL DEFAULT false,
    requested_outputs   integer NOT NULL CHECK (requested_outputs BETWEEN 1 AND 100),

    unit_price          bigint NOT NULL CHECK (unit_price > 0), -- credits per output
    price_version       bigint NOT NULL,
    held_credits        bigint NOT NULL CHECK (held_credits = unit_price * requested_outputs),
    captured_credits    bigint CHECK (captured_credits BETWEEN 0 AND held_credits),
    provider_usage      jsonb,
    provider_usd        numeric(12, 6),

    status              text NOT NULL DEFAULT 'queued' CHECK (status IN ('queued', 'processing', 'completed', 'failed', 'canceled')),
    phase               text NOT NULL DEFAULT 'queued',
    progress            smallint NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 100),
    version             bigint NOT NULL DEFAULT 1 CHECK (version > 0), -- grows with every change a watcher may see
    attempt             integer NOT NULL DEFAULT 0 CHECK (attempt >= 0), -- failures so far; only failures raise it
    lost_leases         integer NOT NULL DEFAULT 0 CHECK (lost_leases >= 0), -- workers that died holding it

    lease_owner         text,
    lease_token         bigint NOT NULL DEFAULT 0, -- grows with every claim and every revocation: the fencing token
    lease_until         timestamptz,
    deadline            timestamptz NOT NULL,
    wake_at             timestamptz,
    cancel_requested_at timestamptz,
    retry_of            uuid REFERENCES generation_sessions,
    batch_id            uuid,

    error_code          text,
    error_message       text,
    error_retryable     boolean,
    failed_outputs      jsonb,

    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now(),
    started_at          timestamptz,
    completed_at        timestamptz,

    UNIQUE (user_id, client_key),
    CONSTRAINT ended_sessions_have_an_end CHECK ((status IN ('completed', 'failed', 'canceled')) = (completed_at IS NOT NULL)),
    CONSTRAINT ended_sessions_are_settled CHECK ((completed_at IS NOT NULL) = (captured_credits IS NOT NULL)),
    CONSTRAINT completed_means_charged_and_whole CHECK (status <> 'completed' OR (captured_credits > 0 AND progress = 100)),
    CONSTRAINT failed_means_free_and_explained CHECK (status <> 'failed' OR (captured_credits = 0 AND error_code IS NOT NULL)),
    CONSTRAINT a_lease_is_for_work CHECK ((lease_until IS NOT NULL) = (status = 'processing' AND phase <> 'awaiting_provider')),
    CONSTRAINT a_lease_has_an_owner CHECK ((lease_owner IS NULL) = (lease_until IS NULL)),
    CONSTRAINT waiting_has_an_alarm CHECK (NOT (status = 'processing' AND phase = 'awaiting_provider') OR wake_at IS NOT NULL),
    CONSTRAINT work_has_started CHECK (status <> 'processing' OR started_at IS NOT NULL)
);
CREATE INDEX generation_sessions_user ON generation_sessions (user_id, session_id DESC);
CREATE INDEX generation_sessions_lease ON generation_sessions (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX generation_sessions_open ON generation_sessions (deadline) WHERE completed_at IS NULL;

-- credits ----------------------------------------------------------------------------------------------------------------

CREATE TABLE credit_accounts (
    user_id    uuid PRIMARY KEY REFERENCES users,
    available  bigint NOT NULL DEFAULT 0 CHECK (available >= 0),
    reserved   bigint NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    frozen_at  timestamptz,
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE credit_lots (
    lot_id     uuid PRIMARY KEY,
    user_id    uuid NOT NULL REFERENCES credit_accounts,
    kind       text NOT NULL CHECK (kind IN ('purchase', 'bonus', 'grant', 'plan')),
    priority   integer NOT NULL DEFAULT 100, -- lower is drawn first
    granted    bigint NOT NULL CHECK (granted > 0),
    available  bigint NOT NULL CHECK (available >= 0),
    held       bigint NOT NULL DEFAULT 0 CHECK (held >= 0),
    spent      bigint NOT NULL DEFAULT 0 CHECK (spent >= 0),
    expired    bigint NOT NULL DEFAULT 0 CHECK (expired >= 0),
    expires_at timestamptz,
    reference  text NOT NULL, -- the idempotency key of the grant
    reason     text,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (user_id, reference),
    CONSTRAINT a_lot_adds_up CHECK (granted = available + held + spent + expired)
);
CREATE INDEX credit_lots_drawable ON credit_lots (user_id, priority, expires_at, created_at, lot_id) WHERE available > 0;
CREATE INDEX credit_lots_expiring ON credit_lots (expires_at) WHERE available > 0 AND expires_at IS NOT NULL;

CREATE TABLE credit_reservations (
    reservation_id uuid PRIMARY KEY,
    session_id     uuid NOT NULL UNIQUE REFERENCES generation_sessions,
    user_id        uuid NOT NULL REFERENCES credit_accounts,
    amount         bigint NOT NULL CHECK (amount > 0),
    captured       bigint NOT NULL DEFAULT 0 CHECK (captured >= 0),
    released       bigint NOT NULL DEFAULT 0 CHECK (released >= 0),
    status         text NOT NULL DEFAULT 'held' CHECK (status IN ('held', 'captured', 'released', 'expired')),
    expires_at     timestamptz NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    closed_at      timestamptz,
    CONSTRAINT closed_means_divided CHECK (
        CASE WHEN status = 'held' THEN captured = 0 AND released = 0 AND closed_at IS NULL
             ELSE captured + released = amount AND closed_at IS NOT NULL AND (captured > 0) = (status = 'captured') END)
);
CREATE INDEX credit_reservations_open ON credit_reservations (user_id) WHERE status = 'held';

CREATE TABLE credit_reservation_draws (
    reservation_id uuid NOT NULL REFERENCES credit_reservations,
    lot_id         uuid NOT NULL REFERENCES credit_lots,
    ordinal        smallint NOT NULL, -- capture consumes the draws in this order
    amount         bigint NOT NULL CHECK (amount > 0),
    captured       bigint NOT NULL DEFAULT 0 CHECK (captured >= 0),
    released       bigint NOT NULL DEFAULT 0 CHECK (released >= 0),
    PRIMARY KEY (reservation_id, ordinal),
    CHECK (captured + released IN (0, amount))
);

CREATE TABLE credit_transactions (
    transaction_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id         uuid NOT NULL REFERENCES credit_accounts,
    type            text NOT NULL CHECK (type IN ('reservation', 'usage', 'refund', 'adjustment', 'purchase', 'bonus', 'expiry')),
    from_bucket     text NOT NULL CHECK (from_bucket IN ('external', 'available', 'reserved', 'spent', 'expired')),
    to_bucket       text NOT NULL CHECK (to_bucket IN ('external', 'available', 'reserved', 'spent', 'expired')),
    amount          bigint NOT NULL CHECK (amount > 0),
    available_after bigint NOT NULL CHECK (available_after >= 0),
    reserved_after  bigint NOT NULL CHECK (reserved_after >= 0),
    reservation_id  uuid REFERENCES credit_reservations,
    session_id      uuid,
    lot_id          uuid REFERENCES credit_lots,
    created_at      timestamptz NOT NULL DEFAULT now(),
    CHECK (from_bucket <> to_bucket)
);
CREATE UNIQUE INDEX credit_transactions_once ON credit_transactions (reservation_id, type, from_bucket) WHERE reservation_id IS NOT NULL;
CREATE INDEX credit_transactions_user ON credit_transactions (user_id, transaction_id DESC);

CREATE FUNCTION refuse_ledger_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'credit_transactions is append-only: % refused. Correct a mistake with a new adjustment row.', TG_OP
        USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER credit_transactions_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON credit_transactions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_ledger_change();

-- work and its results ------------------------------------------------------------------------------------------------

CREATE TABLE media (
    media_id         uuid PRIMARY KEY,
    session_id       uuid NOT NULL REFERENCES generation_sessions,
    user_id          uuid NOT NULL REFERENCES users,
    ordinal          integer NOT NULL CHECK (ordinal >= 0),
    kind             text NOT NULL CHECK (kind IN ('image', 'video', 'audio')),
    object_key       text NOT NULL,
    content_type     text NOT NULL,
    bytes            bigint NOT NULL CHECK (bytes > 0),
    sha256           bytea NOT NULL CHECK (octet_length(sha256) = 32),
    width            integer CHECK (width > 0),
    height           integer CHECK (height > 0),
    duration_seconds double precision CHECK (duration_seconds >= 0),
    credits          bigint NOT NULL CHECK (credits > 0), -- what this output costs; the capture is the sum of these
    lease_token      bigint NOT NULL,
    session_version  bigint NOT NULL, -- the session's version when it was attached: the id of its event
    created_at       timestamptz NOT NULL DEFAULT now(),
    UNIQUE (session_id, ordinal)
);
CREATE INDEX media_user ON media (user_id, media_id DESC);
CREATE VIEW images WITH (security_invoker = true) AS SELECT * FROM media WHERE kind = 'image';
CREATE VIEW videos WITH (security_invoker = true) AS SELECT * FROM media WHERE kind = 'video';

-- A call to a provider that costs money: the intent is written before it, what came of it right after.
CREATE TABLE provider_tasks (
    provider_task_id    uuid PRIMARY KEY,
    session_id          uuid NOT NULL REFERENCES generation_sessions,
    lease_token         bigint NOT NULL,
    provider            text NOT NULL,
    first_ordinal       integer NOT NULL CHECK (first_ordinal >= 0),
    output_count        integer NOT NULL CHECK (output_count > 0),
    state               text NOT NULL DEFAULT 'intent' CHECK (state IN ('intent', 'running', 'delivered', 'failed', 'unknown', 'rejected')),
    task_id             text,
    request_id          text, -- the provider's, for support; not shown to users
    callback_token_hash bytea UNIQUE,
    deadline            timestamptz,
    result              jsonb,
    failure             text,
    failure_code        text,
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT running_has_a_task CHECK (state <> 'running' OR task_id IS NOT NULL),
    CONSTRAINT delivered_has_a_result CHECK (state <> 'delivered' OR result IS NOT NULL),
    CONSTRAINT failed_has_a_failure CHECK ((state IN ('failed', 'unknown', 'rejected')) = (failure IS NOT NULL))
);
-- One row that counts per output. A rejected call was never executed, so another may follow it.
CREATE UNIQUE INDEX provider_tasks_one ON provider_tasks (session_id, first_ordinal) WHERE state <> 'rejected';

-- The only way into the queue. A row lives until a worker has claimed its session; the message is made from the session row
-- when it is dispatched (docs/decisions/0003-outbox-rows-end-at-the-claim.md).
CREATE TABLE outbox (
    outbox_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_type       text NOT NULL,
    lane             text NOT NULL CHECK (lane IN ('image', 'video', 'gpu')),
    session_id       uuid NOT NULL,
    traceparent      text,
    available_at     timestamptz NOT NULL DEFAULT now(),
    dispatched_at    timestamptz,
    message_id       text,
    set_aside_at     timestamptz,
    set_aside_reason text,
    created_at       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT dispatched_has_a_message CHECK ((dispatched_at IS NULL) = (message_id IS NULL)),
    CONSTRAINT set_aside_has_a_reason CHECK ((set_aside_at IS NULL) = (set_aside_reason IS NULL))
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
CREATE INDEX outbox_waiting ON outbox (lane, available_at, outbox_id) WHERE dispatched_at IS NULL AND set_aside_at IS NULL;
CREATE INDEX outbox_in_queue ON outbox (lane, dispatched_at) WHERE dispatched_at IS NOT NULL;
CREATE INDEX outbox_session ON outbox (session_id);

CREATE TABLE app_settings (
    key        text PRIMARY KEY,
    value      jsonb NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    updated_by uuid REFERENCES users
);

CREATE TABLE error_events (
    error_event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    session_id     uuid,
    user_id        uuid,
    code           text NOT NULL,
    message        text NOT NULL,
    detail         jsonb,
    created_at     timestamptz NOT NULL DEFAULT now(),
    resolved_at    timestamptz
);
CREATE INDEX error_events_session ON error_events (session_id);
CREATE INDEX error_events_open ON error_events (code, error_event_id DESC) WHERE resolved_at IS NULL;

-- rights: neither role owns a table; the ledger may only grow; a user's reads see the user's rows -----------------------

GRANT USAGE ON SCHEMA public TO generation_service, generation_reader;
GRANT generation_reader TO generation_service;
GRANT SELECT, INSERT, UPDATE ON users, api_keys, model_pricing, image_variant_pricing, generation_sessions, credit_accounts, credit_lots,
    credit_reservations, credit_reservation_draws, media, provider_tasks, outbox, app_settings, error_events TO generation_service;
GRANT SELECT, INSERT ON credit_transactions TO generation_service;
GRANT DELETE ON outbox, app_settings TO generation_service;
GRANT USAGE ON SEQUENCE price_version TO generation_service;
GRANT SELECT ON images, videos TO generation_service, generation_reader;
GRANT SELECT ON generation_sessions, media, credit_accounts, credit_lots, credit_reservations, credit_transactions TO generation_reader;

DO $$
DECLARE owned text;
BEGIN
    FOREACH owned IN ARRAY ARRAY['generation_sessions', 'media', 'credit_accounts', 'credit_lots', 'credit_reservations', 'credit_transactions'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', owned);
        EXECUTE format('CREATE POLICY service_sees_all ON %I TO generation_service USING (true) WITH CHECK (true)', owned);
        EXECUTE format('CREATE POLICY reader_sees_own ON %I FOR SELECT TO generation_reader
                        USING (user_id = nullif(current_setting(''app.user_id'', true), '''')::uuid)', owned);
    END LOOP;
END $$;
