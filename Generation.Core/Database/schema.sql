CREATE FUNCTION public.refuse_ledger_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused. Correct a mistake with a new row.', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TABLE public."__EFMigrationsHistory" (
    "MigrationId" character varying(150) NOT NULL,
    "ProductVersion" character varying(32) NOT NULL
);
CREATE TABLE public.admin_actions (
    admin_action_id uuid NOT NULL,
    idempotency_key text NOT NULL,
    request_hash bytea NOT NULL,
    actor_id uuid NOT NULL,
    user_id uuid NOT NULL,
    action text NOT NULL,
    reason text NOT NULL,
    result jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT admin_actions_action_check CHECK ((action ~ '^[a-z][a-z_]{0,49}$'::text)),
    CONSTRAINT admin_actions_idempotency_key_check CHECK (((length(idempotency_key) >= 1) AND (length(idempotency_key) <= 200))),
    CONSTRAINT admin_actions_reason_check CHECK (((length(reason) >= 1) AND (length(reason) <= 1000))),
    CONSTRAINT admin_actions_request_hash_check CHECK ((octet_length(request_hash) = 32))
);
COMMENT ON TABLE public.admin_actions IS 'Who changed what and why; the answer is kept for a repetition of the idempotency key.';
CREATE TABLE public.api_keys (
    key_hash bytea NOT NULL,
    user_id uuid NOT NULL,
    name text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    revoked_at timestamp with time zone,
    CONSTRAINT api_keys_key_hash_check CHECK ((octet_length(key_hash) = 32))
);
COMMENT ON TABLE public.api_keys IS 'API keys by the SHA-256 of the key, which is shown once and never stored.';
COMMENT ON COLUMN public.api_keys.revoked_at IS 'Since when it opens nothing; takes effect within APP_SETTINGS_CACHE_MS.';
CREATE TABLE public.app_settings (
    key text NOT NULL,
    value jsonb NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_by uuid
);
COMMENT ON TABLE public.app_settings IS 'Settings that take effect while services run: mock_mode, disabled_models, gen_worker_concurrency, …';
CREATE TABLE public.credit_accounts (
    user_id uuid NOT NULL,
    available bigint DEFAULT 0 NOT NULL,
    reserved bigint DEFAULT 0 NOT NULL,
    frozen_at timestamp with time zone,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    share double precision DEFAULT 1 NOT NULL,
    image_finish double precision DEFAULT 0 NOT NULL,
    video_finish double precision DEFAULT 0 NOT NULL,
    gpu_finish double precision DEFAULT 0 NOT NULL,
    image_batch_finish double precision DEFAULT 0 NOT NULL,
    video_batch_finish double precision DEFAULT 0 NOT NULL,
    gpu_batch_finish double precision DEFAULT 0 NOT NULL,
    CONSTRAINT credit_accounts_available_check CHECK ((available >= 0)),
    CONSTRAINT credit_accounts_reserved_check CHECK ((reserved >= 0)),
    CONSTRAINT credit_accounts_share_check CHECK (((share >= (0.01)::double precision) AND (share <= (100)::double precision)))
)
WITH (fillfactor='70', autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='1000');
COMMENT ON TABLE public.credit_accounts IS 'A user''s balance; locked after sessions and before lots.';
COMMENT ON COLUMN public.credit_accounts.available IS 'The sum of the lots'' available.';
COMMENT ON COLUMN public.credit_accounts.reserved IS 'The sum of the open holds.';
COMMENT ON COLUMN public.credit_accounts.share IS 'Weight of the user''s work in the order; 2 is twice the slots of others while all wait.';
COMMENT ON COLUMN public.credit_accounts.image_finish IS 'Virtual time at which the user''s last request of this lane and priority is done: the rank of the next at the earliest.';
CREATE TABLE public.credit_lots (
    lot_id uuid NOT NULL,
    user_id uuid NOT NULL,
    kind text NOT NULL,
    priority integer DEFAULT 100 NOT NULL,
    granted bigint NOT NULL,
    available bigint NOT NULL,
    held bigint DEFAULT 0 NOT NULL,
    spent bigint DEFAULT 0 NOT NULL,
    expired bigint DEFAULT 0 NOT NULL,
    expires_at timestamp with time zone,
    reference text NOT NULL,
    reason text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    withdrawn bigint DEFAULT 0 NOT NULL,
    drawable boolean GENERATED ALWAYS AS ((available > 0)) STORED NOT NULL,
    CONSTRAINT a_lot_adds_up CHECK ((granted = ((((available + held) + spent) + expired) + withdrawn))),
    CONSTRAINT credit_lots_available_check CHECK ((available >= 0)),
    CONSTRAINT credit_lots_expired_check CHECK ((expired >= 0)),
    CONSTRAINT credit_lots_granted_check CHECK ((granted > 0)),
    CONSTRAINT credit_lots_held_check CHECK ((held >= 0)),
    CONSTRAINT credit_lots_kind_check CHECK ((kind = ANY (ARRAY['purchase'::text, 'bonus'::text, 'grant'::text, 'plan'::text]))),
    CONSTRAINT credit_lots_spent_check CHECK ((spent >= 0)),
    CONSTRAINT credit_lots_withdrawn_check CHECK ((withdrawn >= 0))
)
WITH (fillfactor='70', autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='1000');
COMMENT ON TABLE public.credit_lots IS 'Credits that came together. granted = available + held + spent + expired + withdrawn.';
COMMENT ON COLUMN public.credit_lots.priority IS 'Lower is drawn first; then the earliest expiry, then the oldest.';
COMMENT ON COLUMN public.credit_lots.reference IS 'Unique: granting twice under one reference grants once.';
COMMENT ON COLUMN public.credit_lots.withdrawn IS 'Taken back by an adjustment.';
CREATE TABLE public.credit_reservation_draws (
    reservation_id uuid NOT NULL,
    lot_id uuid NOT NULL,
    ordinal smallint NOT NULL,
    amount bigint NOT NULL,
    captured bigint DEFAULT 0 NOT NULL,
    released bigint DEFAULT 0 NOT NULL,
    extra boolean DEFAULT false NOT NULL,
    CONSTRAINT credit_reservation_draws_amount_check CHECK ((amount > 0)),
    CONSTRAINT credit_reservation_draws_captured_check CHECK ((captured >= 0)),
    CONSTRAINT credit_reservation_draws_check CHECK ((((captured + released) = 0) OR ((captured + released) = amount))),
    CONSTRAINT credit_reservation_draws_released_check CHECK ((released >= 0)),
    CONSTRAINT extra_is_spent CHECK (((NOT extra) OR (captured = amount)))
);
COMMENT ON TABLE public.credit_reservation_draws IS 'Which lots a hold was drawn from, in drawing order (docs/ledger.md).';
COMMENT ON COLUMN public.credit_reservation_draws.extra IS 'Drawn at the end, beyond the hold.';
CREATE TABLE public.credit_reservations (
    reservation_id uuid NOT NULL,
    session_id uuid NOT NULL,
    user_id uuid NOT NULL,
    amount bigint NOT NULL,
    captured bigint DEFAULT 0 NOT NULL,
    released bigint DEFAULT 0 NOT NULL,
    status text DEFAULT 'held'::text NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    closed_at timestamp with time zone,
    extra bigint DEFAULT 0 NOT NULL,
    CONSTRAINT closed_means_divided CHECK (
CASE
    WHEN (status = 'held'::text) THEN ((captured = 0) AND (released = 0) AND (closed_at IS NULL))
    ELSE (((captured + released) = amount) AND (closed_at IS NOT NULL) AND ((captured > 0) = (status = 'captured'::text)))
END),
    CONSTRAINT credit_reservations_amount_check CHECK ((amount > 0)),
    CONSTRAINT credit_reservations_captured_check CHECK ((captured >= 0)),
    CONSTRAINT credit_reservations_extra_check CHECK ((extra >= 0)),
    CONSTRAINT credit_reservations_released_check CHECK ((released >= 0)),
    CONSTRAINT credit_reservations_status_check CHECK ((status = ANY (ARRAY['held'::text, 'captured'::text, 'released'::text, 'expired'::text]))),
    CONSTRAINT extra_follows_the_whole_hold CHECK (((extra = 0) OR (captured = amount)))
)
WITH (autovacuum_vacuum_scale_factor='0.01', autovacuum_vacuum_threshold='5000');
COMMENT ON TABLE public.credit_reservations IS 'Holds, one a session: held, then captured, released or expired.';
COMMENT ON COLUMN public.credit_reservations.extra IS 'Charged beyond the hold from what was available (Credits:CostPolicy).';
CREATE TABLE public.credit_transactions (
    transaction_id bigint NOT NULL,
    user_id uuid NOT NULL,
    type text NOT NULL,
    from_bucket text NOT NULL,
    to_bucket text NOT NULL,
    amount bigint NOT NULL,
    available_after bigint NOT NULL,
    reserved_after bigint NOT NULL,
    reservation_id uuid,
    session_id uuid,
    lot_id uuid,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    admin_action_id uuid,
    CONSTRAINT credit_transactions_amount_check CHECK ((amount > 0)),
    CONSTRAINT credit_transactions_available_after_check CHECK ((available_after >= 0)),
    CONSTRAINT credit_transactions_check CHECK ((from_bucket <> to_bucket)),
    CONSTRAINT credit_transactions_from_bucket_check CHECK ((from_bucket = ANY (ARRAY['external'::text, 'available'::text, 'reserved'::text, 'spent'::text, 'expired'::text]))),
    CONSTRAINT credit_transactions_reserved_after_check CHECK ((reserved_after >= 0)),
    CONSTRAINT credit_transactions_to_bucket_check CHECK ((to_bucket = ANY (ARRAY['external'::text, 'available'::text, 'reserved'::text, 'spent'::text, 'expired'::text]))),
    CONSTRAINT credit_transactions_type_check CHECK ((type = ANY (ARRAY['reservation'::text, 'usage'::text, 'refund'::text, 'adjustment'::text, 'purchase'::text, 'bonus'::text, 'expiry'::text]))),
    CONSTRAINT every_row_has_a_cause CHECK ((COALESCE(reservation_id, lot_id, admin_action_id) IS NOT NULL))
);
COMMENT ON TABLE public.credit_transactions IS 'The ledger: append-only, double entry. A trigger refuses every change; replaying it gives the balances.';
COMMENT ON COLUMN public.credit_transactions.available_after IS 'credit_accounts.available after this row.';
ALTER TABLE public.credit_transactions ALTER COLUMN transaction_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.credit_transactions_transaction_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.error_events (
    error_event_id bigint NOT NULL,
    session_id uuid,
    user_id uuid,
    code text NOT NULL,
    message text NOT NULL,
    detail jsonb,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    resolved_at timestamp with time zone
)
WITH (autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='1000');
COMMENT ON TABLE public.error_events IS 'What operators should know. outcome_unknown is kept until it is resolved.';
ALTER TABLE public.error_events ALTER COLUMN error_event_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.error_events_error_event_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.generation_sessions (
    session_id uuid NOT NULL,
    user_id uuid NOT NULL,
    client_key text NOT NULL,
    request_hash bytea NOT NULL,
    model text NOT NULL,
    tool text NOT NULL,
    provider text NOT NULL,
    job_type text NOT NULL,
    lane text NOT NULL,
    kind text NOT NULL,
    params jsonb NOT NULL,
    input_settings jsonb NOT NULL,
    mock boolean DEFAULT false NOT NULL,
    requested_outputs integer NOT NULL,
    unit_price bigint NOT NULL,
    price_version bigint NOT NULL,
    held_credits bigint NOT NULL,
    captured_credits bigint,
    provider_usage jsonb,
    provider_usd numeric(12,6),
    status text DEFAULT 'queued'::text NOT NULL,
    phase text DEFAULT 'queued'::text NOT NULL,
    progress smallint DEFAULT 0 NOT NULL,
    version bigint DEFAULT 1 NOT NULL,
    attempt integer DEFAULT 0 NOT NULL,
    lost_leases integer DEFAULT 0 NOT NULL,
    lease_owner text,
    lease_token bigint DEFAULT 0 NOT NULL,
    lease_until timestamp with time zone,
    deadline timestamp with time zone NOT NULL,
    wake_at timestamp with time zone,
    cancel_requested_at timestamp with time zone,
    retry_of uuid,
    batch_id uuid,
    error_code text,
    error_message text,
    error_retryable boolean,
    failed_outputs jsonb,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    started_at timestamp with time zone,
    completed_at timestamp with time zone,
    extra_credits bigint DEFAULT 0 NOT NULL,
    shortfall_credits bigint DEFAULT 0 NOT NULL,
    callback_at timestamp with time zone,
    progress_at timestamp with time zone,
    traceparent text,
    priority text DEFAULT 'interactive'::text NOT NULL,
    work double precision,
    rank double precision,
    CONSTRAINT a_lease_has_an_owner CHECK (((lease_owner IS NULL) = (lease_until IS NULL))),
    CONSTRAINT a_lease_is_for_work CHECK (((lease_until IS NOT NULL) = ((status = 'processing'::text) AND (phase <> 'awaiting_provider'::text)))),
    CONSTRAINT a_traceparent_is_short CHECK (((length(traceparent) >= 55) AND (length(traceparent) <= 128))),
    CONSTRAINT captured_is_held_or_extra CHECK ((((captured_credits - extra_credits) >= 0) AND ((captured_credits - extra_credits) <= held_credits))),
    CONSTRAINT completed_means_charged_and_whole CHECK (((status <> 'completed'::text) OR ((captured_credits > 0) AND (progress = 100)))),
    CONSTRAINT ended_sessions_are_settled CHECK (((completed_at IS NOT NULL) = (captured_credits IS NOT NULL))),
    CONSTRAINT ended_sessions_have_an_end CHECK (((status = ANY (ARRAY['completed'::text, 'failed'::text, 'canceled'::text])) = (completed_at IS NOT NULL))),
    CONSTRAINT extra_follows_the_whole_hold CHECK ((((extra_credits + shortfall_credits) = 0) OR ((captured_credits - extra_credits) = held_credits))),
    CONSTRAINT failed_means_free_and_explained CHECK (((status <> 'failed'::text) OR ((captured_credits = 0) AND (error_code IS NOT NULL)))),
    CONSTRAINT generation_sessions_attempt_check CHECK ((attempt >= 0)),
    CONSTRAINT generation_sessions_check CHECK ((held_credits = (unit_price * requested_outputs))),
    CONSTRAINT generation_sessions_client_key_check CHECK (((length(client_key) >= 1) AND (length(client_key) <= 200))),
    CONSTRAINT generation_sessions_extra_credits_check CHECK ((extra_credits >= 0)),
    CONSTRAINT generation_sessions_kind_check CHECK ((kind = ANY (ARRAY['image'::text, 'video'::text, 'audio'::text]))),
    CONSTRAINT generation_sessions_lane_check CHECK ((lane = ANY (ARRAY['image'::text, 'video'::text, 'gpu'::text]))),
    CONSTRAINT generation_sessions_lost_leases_check CHECK ((lost_leases >= 0)),
    CONSTRAINT generation_sessions_priority_check CHECK ((priority = ANY (ARRAY['interactive'::text, 'batch'::text]))),
    CONSTRAINT generation_sessions_progress_check CHECK (((progress >= 0) AND (progress <= 100))),
    CONSTRAINT generation_sessions_request_hash_check CHECK ((octet_length(request_hash) = 32)),
    CONSTRAINT generation_sessions_requested_outputs_check CHECK (((requested_outputs >= 1) AND (requested_outputs <= 100))),
    CONSTRAINT generation_sessions_shortfall_credits_check CHECK ((shortfall_credits >= 0)),
    CONSTRAINT generation_sessions_status_check CHECK ((status = ANY (ARRAY['queued'::text, 'processing'::text, 'completed'::text, 'failed'::text, 'canceled'::text]))),
    CONSTRAINT generation_sessions_unit_price_check CHECK ((unit_price > 0)),
    CONSTRAINT generation_sessions_version_check CHECK ((version > 0)),
    CONSTRAINT generation_sessions_work_check CHECK (((work > (0)::double precision) AND (work < 'Infinity'::double precision))),
    CONSTRAINT waiting_has_a_timer CHECK (((NOT ((status = 'processing'::text) AND (phase = 'awaiting_provider'::text))) OR (wake_at IS NOT NULL))),
    CONSTRAINT work_has_started CHECK (((status <> 'processing'::text) OR (started_at IS NOT NULL)))
)
WITH (autovacuum_vacuum_scale_factor='0.01', autovacuum_vacuum_threshold='5000', autovacuum_analyze_scale_factor='0.02');
COMMENT ON TABLE public.generation_sessions IS 'One request of a customer and its state machine (docs/state-machine.md). settle.sql alone ends it.';
COMMENT ON COLUMN public.generation_sessions.client_key IS 'The idempotency key: one (user_id, client_key) is one session.';
COMMENT ON COLUMN public.generation_sessions.request_hash IS 'SHA-256 of the canonical model and params as sent: tells a repetition from another request.';
COMMENT ON COLUMN public.generation_sessions.params IS 'As the client sent them.';
COMMENT ON COLUMN public.generation_sessions.input_settings IS 'What the handler gets: defaults filled in, the provider''s model id as of the submit.';
COMMENT ON COLUMN public.generation_sessions.held_credits IS 'The hold: unit_price for each of requested_outputs.';
COMMENT ON COLUMN public.generation_sessions.captured_credits IS 'Null until it has ended, then what was charged.';
COMMENT ON COLUMN public.generation_sessions.provider_usd IS 'What the provider bills us for all calls with a result.';
COMMENT ON COLUMN public.generation_sessions.version IS 'Grows with every change that a watcher may see; the id of events.';
COMMENT ON COLUMN public.generation_sessions.attempt IS 'Failures so far; only failures raise it.';
COMMENT ON COLUMN public.generation_sessions.lost_leases IS 'How often a worker died while it held the session.';
COMMENT ON COLUMN public.generation_sessions.lease_owner IS 'Host and process of the worker that has it; null when nobody has.';
COMMENT ON COLUMN public.generation_sessions.lease_token IS 'The fencing token: raised by every claim and revocation, compared by every write of a worker.';
COMMENT ON COLUMN public.generation_sessions.lease_until IS 'By this database''s clock.';
COMMENT ON COLUMN public.generation_sessions.deadline IS 'After it the session is ended with what there is.';
COMMENT ON COLUMN public.generation_sessions.wake_at IS 'When a session in awaiting_provider is claimed again at the latest.';
COMMENT ON COLUMN public.generation_sessions.failed_outputs IS '[{ordinal, code, message}]: outputs that did not come.';
COMMENT ON COLUMN public.generation_sessions.extra_credits IS 'Of captured_credits, what the hold did not cover (Credits:CostPolicy).';
COMMENT ON COLUMN public.generation_sessions.shortfall_credits IS 'Of the cost, what nobody was charged.';
COMMENT ON COLUMN public.generation_sessions.callback_at IS 'The last callback; whichever of callback and suspension comes second sees the other.';
COMMENT ON COLUMN public.generation_sessions.progress_at IS 'When its worker last moved on; a renewed lease without this is a job that hangs.';
COMMENT ON COLUMN public.generation_sessions.traceparent IS 'W3C trace context of the submit: everything that happens later continues it.';
COMMENT ON COLUMN public.generation_sessions.priority IS 'interactive, or batch: a quarter of the user''s share.';
COMMENT ON COLUMN public.generation_sessions.work IS 'Expected slot-seconds: the model''s typical seconds for each output.';
COMMENT ON COLUMN public.generation_sessions.rank IS 'Its place in the lane: virtual start time. Kept over retries; null from the release before.';
CREATE TABLE public.gpu_slots (
    endpoint text NOT NULL,
    session_id uuid,
    lease_token bigint,
    taken_at timestamp with time zone,
    reserved_by text,
    reserved_until timestamp with time zone,
    CONSTRAINT a_reservation_has_an_end CHECK (((reserved_by IS NULL) = (reserved_until IS NULL))),
    CONSTRAINT taken_by_a_lease CHECK ((((session_id IS NULL) = (lease_token IS NULL)) AND ((session_id IS NULL) = (taken_at IS NULL))))
);
COMMENT ON TABLE public.gpu_slots IS 'One job a GPU: a slot is taken as long as the session named here has its lease under this token (decision 0009).';
COMMENT ON COLUMN public.gpu_slots.reserved_by IS 'The worker that is about to claim a job for it, until reserved_until.';
CREATE SEQUENCE public.price_version
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
CREATE TABLE public.image_variant_pricing (
    price_version bigint DEFAULT nextval('public.price_version'::regclass) NOT NULL,
    model text NOT NULL,
    resolution text NOT NULL,
    quality text DEFAULT ''::text NOT NULL,
    credits bigint NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    retired_at timestamp with time zone,
    per text DEFAULT 'output'::text NOT NULL,
    usage_field text,
    credits_per_unit numeric(18,9),
    usd_per_output numeric(12,6),
    usd_per_unit numeric(18,12),
    CONSTRAINT a_metered_price_has_a_rate CHECK (((usage_field IS NULL) = (credits_per_unit IS NULL))),
    CONSTRAINT image_variant_pricing_check CHECK ((retired_at >= created_at)),
    CONSTRAINT image_variant_pricing_credits_check CHECK ((credits > 0)),
    CONSTRAINT image_variant_pricing_credits_per_unit_check CHECK ((credits_per_unit > (0)::numeric)),
    CONSTRAINT image_variant_pricing_per_check CHECK ((per = ANY (ARRAY['output'::text, 'second'::text]))),
    CONSTRAINT image_variant_pricing_usd_per_output_check CHECK ((usd_per_output >= (0)::numeric)),
    CONSTRAINT image_variant_pricing_usd_per_unit_check CHECK ((usd_per_unit >= (0)::numeric))
);
COMMENT ON TABLE public.image_variant_pricing IS 'Prices by model, resolution and quality; found before model_pricing.';
CREATE TABLE public.media (
    media_id uuid NOT NULL,
    session_id uuid NOT NULL,
    user_id uuid NOT NULL,
    ordinal integer NOT NULL,
    kind text NOT NULL,
    object_key text NOT NULL,
    content_type text NOT NULL,
    bytes bigint NOT NULL,
    sha256 bytea NOT NULL,
    width integer,
    height integer,
    duration_seconds double precision,
    credits bigint NOT NULL,
    lease_token bigint NOT NULL,
    session_version bigint NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    usage jsonb,
    poster_key text,
    CONSTRAINT media_bytes_check CHECK ((bytes > 0)),
    CONSTRAINT media_credits_check CHECK ((credits > 0)),
    CONSTRAINT media_duration_seconds_check CHECK ((duration_seconds >= (0)::double precision)),
    CONSTRAINT media_height_check CHECK ((height > 0)),
    CONSTRAINT media_kind_check CHECK ((kind = ANY (ARRAY['image'::text, 'video'::text, 'audio'::text]))),
    CONSTRAINT media_ordinal_check CHECK ((ordinal >= 0)),
    CONSTRAINT media_sha256_check CHECK ((octet_length(sha256) = 32)),
    CONSTRAINT media_width_check CHECK ((width > 0))
);
COMMENT ON TABLE public.media IS 'Outputs. A row is written under the lease, after its object was stored.';
COMMENT ON COLUMN public.media.credits IS 'What this output costs, decided when it is stored (decision 0006).';
COMMENT ON COLUMN public.media.lease_token IS 'The token it was written under; a part of object_key.';
COMMENT ON COLUMN public.media.session_version IS 'The session''s version when it was attached.';
CREATE VIEW public.images WITH (security_invoker='true') AS
 SELECT m.media_id,
    m.session_id,
    m.user_id,
    m.ordinal,
    m.kind,
    m.object_key,
    m.content_type,
    m.bytes,
    m.sha256,
    m.width,
    m.height,
    m.duration_seconds,
    m.credits,
    m.lease_token,
    m.session_version,
    m.created_at,
    s.client_key
   FROM (public.media m
     JOIN public.generation_sessions s ON ((s.session_id = m.session_id)))
  WHERE (m.kind = 'image'::text);
CREATE TABLE public.lanes (
    lane text NOT NULL,
    clock double precision DEFAULT 0 NOT NULL,
    clocked_at timestamp with time zone DEFAULT now() NOT NULL,
    paused_at timestamp with time zone,
    paused_by text,
    CONSTRAINT a_pause_has_an_author CHECK (((paused_at IS NULL) = (paused_by IS NULL))),
    CONSTRAINT lanes_clock_check CHECK (((clock >= (0)::double precision) AND (clock < 'Infinity'::double precision))),
    CONSTRAINT lanes_lane_check CHECK ((lane = ANY (ARRAY['image'::text, 'video'::text, 'gpu'::text])))
)
WITH (fillfactor='10', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='1000');
COMMENT ON TABLE public.lanes IS 'One row a lane: its virtual time, and whether an operator has paused it.';
COMMENT ON COLUMN public.lanes.clock IS 'The lane''s virtual time: the largest rank that was dispatched, at most a tenth of a second old.';
COMMENT ON COLUMN public.lanes.paused_at IS 'Nothing is dispatched since then; what is under way goes on.';
CREATE TABLE public.model_pricing (
    price_version bigint DEFAULT nextval('public.price_version'::regclass) NOT NULL,
    model text NOT NULL,
    credits bigint NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    retired_at timestamp with time zone,
    per text DEFAULT 'output'::text NOT NULL,
    usage_field text,
    credits_per_unit numeric(18,9),
    usd_per_output numeric(12,6),
    usd_per_unit numeric(18,12),
    CONSTRAINT a_metered_price_has_a_rate CHECK (((usage_field IS NULL) = (credits_per_unit IS NULL))),
    CONSTRAINT model_pricing_check CHECK ((retired_at >= created_at)),
    CONSTRAINT model_pricing_credits_check CHECK ((credits > 0)),
    CONSTRAINT model_pricing_credits_per_unit_check CHECK ((credits_per_unit > (0)::numeric)),
    CONSTRAINT model_pricing_per_check CHECK ((per = ANY (ARRAY['output'::text, 'second'::text]))),
    CONSTRAINT model_pricing_usd_per_output_check CHECK ((usd_per_output >= (0)::numeric)),
    CONSTRAINT model_pricing_usd_per_unit_check CHECK ((usd_per_unit >= (0)::numeric))
);
COMMENT ON TABLE public.model_pricing IS 'Prices by model. A row is never changed: it is retired and followed by the next version.';
COMMENT ON COLUMN public.model_pricing.credits IS 'Whole credits, per output or per second (per).';
COMMENT ON COLUMN public.model_pricing.usage_field IS 'A field of the provider''s usage that decides the cost, such as total_tokens; null: the listed price does.';
COMMENT ON COLUMN public.model_pricing.credits_per_unit IS 'Credits for one of usage_field.';
COMMENT ON COLUMN public.model_pricing.usd_per_output IS 'What the provider takes from us.';
CREATE TABLE public.outbox (
    outbox_id bigint NOT NULL,
    event_type text NOT NULL,
    lane text NOT NULL,
    session_id uuid NOT NULL,
    traceparent text,
    available_at timestamp with time zone DEFAULT now() NOT NULL,
    dispatched_at timestamp with time zone,
    message_id text,
    set_aside_at timestamp with time zone,
    set_aside_reason text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    rank double precision,
    provider text,
    work double precision,
    CONSTRAINT dispatched_has_a_message CHECK (((dispatched_at IS NULL) = (message_id IS NULL))),
    CONSTRAINT outbox_lane_check CHECK ((lane = ANY (ARRAY['image'::text, 'video'::text, 'gpu'::text]))),
    CONSTRAINT outbox_rank_check CHECK (((rank >= ('-1'::integer)::double precision) AND (rank < 'Infinity'::double precision))),
    CONSTRAINT outbox_work_check CHECK (((work > (0)::double precision) AND (work < 'Infinity'::double precision))),
    CONSTRAINT set_aside_has_a_reason CHECK (((set_aside_at IS NULL) = (set_aside_reason IS NULL)))
)
WITH (fillfactor='80', autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='1000', autovacuum_vacuum_cost_delay='0');
COMMENT ON TABLE public.outbox IS 'The only way into the queue. A row is deleted by the claim of its session (decision 0003).';
COMMENT ON COLUMN public.outbox.available_at IS 'Not sent before: retries and timers wait here.';
COMMENT ON COLUMN public.outbox.dispatched_at IS 'Sent as message_id, and not claimed yet.';
COMMENT ON COLUMN public.outbox.set_aside_at IS 'It could not be made into a message: for an operator.';
COMMENT ON COLUMN public.outbox.rank IS 'Rows of a lane are taken by (rank, outbox_id); -1 goes on with work that was begun; null waits for available_at.';
COMMENT ON COLUMN public.outbox.provider IS 'Of the session: a provider that holds more than its share of a lane''s slots is passed over.';
COMMENT ON COLUMN public.outbox.work IS 'Of the session, in slot-seconds: what waits before a row says when it starts.';
ALTER TABLE public.outbox ALTER COLUMN outbox_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.outbox_outbox_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE VIEW public.price_rows WITH (security_invoker='true') AS
 SELECT model_pricing.price_version,
    model_pricing.model,
    NULL::text AS resolution,
    ''::text AS quality,
    model_pricing.credits,
    model_pricing.per,
    model_pricing.usage_field,
    model_pricing.credits_per_unit,
    model_pricing.usd_per_output,
    model_pricing.usd_per_unit,
    model_pricing.retired_at
   FROM public.model_pricing
UNION ALL
 SELECT image_variant_pricing.price_version,
    image_variant_pricing.model,
    image_variant_pricing.resolution,
    image_variant_pricing.quality,
    image_variant_pricing.credits,
    image_variant_pricing.per,
    image_variant_pricing.usage_field,
    image_variant_pricing.credits_per_unit,
    image_variant_pricing.usd_per_output,
    image_variant_pricing.usd_per_unit,
    image_variant_pricing.retired_at
   FROM public.image_variant_pricing;
CREATE TABLE public.provider_tasks (
    provider_task_id uuid NOT NULL,
    session_id uuid NOT NULL,
    lease_token bigint NOT NULL,
    provider text NOT NULL,
    first_ordinal integer NOT NULL,
    output_count integer NOT NULL,
    state text DEFAULT 'intent'::text NOT NULL,
    task_id text,
    request_id text,
    callback_token_hash bytea,
    deadline timestamp with time zone,
    result jsonb,
    failure text,
    failure_code text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT delivered_has_a_result CHECK (((state <> 'delivered'::text) OR (result IS NOT NULL))),
    CONSTRAINT failed_has_a_failure CHECK (((state = ANY (ARRAY['failed'::text, 'unknown'::text, 'rejected'::text])) = (failure IS NOT NULL))),
    CONSTRAINT provider_tasks_first_ordinal_check CHECK ((first_ordinal >= 0)),
    CONSTRAINT provider_tasks_output_count_check CHECK ((output_count > 0)),
    CONSTRAINT provider_tasks_state_check CHECK ((state = ANY (ARRAY['intent'::text, 'running'::text, 'delivered'::text, 'failed'::text, 'unknown'::text, 'rejected'::text]))),
    CONSTRAINT running_has_a_task CHECK (((state <> 'running'::text) OR (task_id IS NOT NULL)))
)
WITH (autovacuum_vacuum_scale_factor='0.01', autovacuum_vacuum_threshold='5000');
COMMENT ON TABLE public.provider_tasks IS 'Every paid call: the intent before it, the outcome right after (decision 0005). One row that counts an output.';
COMMENT ON COLUMN public.provider_tasks.state IS 'intent, running (a task to ask for), delivered, failed, unknown (never repeated), rejected (not executed: another may follow).';
COMMENT ON COLUMN public.provider_tasks.request_id IS 'The provider''s, for its support; not shown to users.';
COMMENT ON COLUMN public.provider_tasks.callback_token_hash IS 'SHA-256 of the token in the callback''s address.';
CREATE TABLE public.sweep_failures (
    sweep text NOT NULL,
    subject_id uuid NOT NULL,
    failures integer DEFAULT 1 NOT NULL,
    problem text NOT NULL,
    next_try_at timestamp with time zone NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT sweep_failures_failures_check CHECK ((failures > 0)),
    CONSTRAINT sweep_failures_sweep_check CHECK (((length(sweep) >= 1) AND (length(sweep) <= 100)))
);
COMMENT ON TABLE public.sweep_failures IS 'Rows that a sweep could not process; each is tried again at next_try_at, ever more rarely';
COMMENT ON COLUMN public.sweep_failures.sweep IS 'The sweep, as in its metrics';
COMMENT ON COLUMN public.sweep_failures.subject_id IS 'The session or the user whose row it is';
COMMENT ON COLUMN public.sweep_failures.failures IS 'Failures in a row';
COMMENT ON COLUMN public.sweep_failures.problem IS 'What the database said the last time';
COMMENT ON COLUMN public.sweep_failures.next_try_at IS 'Left out until then';
CREATE TABLE public.sweep_turns (
    sweep text NOT NULL,
    "position" text DEFAULT ''::text NOT NULL,
    taken_until timestamp with time zone DEFAULT now() NOT NULL
);
COMMENT ON TABLE public.sweep_turns IS 'Maintenance leases: which sweep was run until when, by any relay.';
CREATE TABLE public.uploads (
    upload_id uuid NOT NULL,
    user_id uuid NOT NULL,
    object_key text NOT NULL,
    content_type text NOT NULL,
    bytes bigint NOT NULL,
    sha256 bytea NOT NULL,
    width integer,
    height integer,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT uploads_bytes_check CHECK ((bytes > 0)),
    CONSTRAINT uploads_height_check CHECK ((height > 0)),
    CONSTRAINT uploads_sha256_check CHECK ((octet_length(sha256) = 32)),
    CONSTRAINT uploads_width_check CHECK ((width > 0))
);
COMMENT ON TABLE public.uploads IS 'Reference pictures that users sent; they go after a week.';
CREATE TABLE public.users (
    user_id uuid NOT NULL,
    handle text NOT NULL,
    role text DEFAULT 'user'::text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT users_handle_check CHECK ((handle ~ '^[a-z0-9][a-z0-9._-]{0,62}$'::text)),
    CONSTRAINT users_role_check CHECK ((role = ANY (ARRAY['user'::text, 'admin'::text])))
);
COMMENT ON TABLE public.users IS 'Who may call: customers and administrators.';
COMMENT ON COLUMN public.users.handle IS 'A name for people; unique.';
CREATE VIEW public.videos WITH (security_invoker='true') AS
 SELECT m.media_id,
    m.session_id,
    m.user_id,
    m.ordinal,
    m.kind,
    m.object_key,
    m.content_type,
    m.bytes,
    m.sha256,
    m.width,
    m.height,
    m.duration_seconds,
    m.credits,
    m.lease_token,
    m.session_version,
    m.created_at,
    s.client_key
   FROM (public.media m
     JOIN public.generation_sessions s ON ((s.session_id = m.session_id)))
  WHERE (m.kind = 'video'::text);
CREATE TABLE public.webhook_inbox (
    inbox_id bigint NOT NULL,
    provider_task_id uuid NOT NULL,
    provider text NOT NULL,
    token_hash bytea NOT NULL,
    body_hash bytea NOT NULL,
    body text NOT NULL,
    received_at timestamp with time zone DEFAULT now() NOT NULL,
    booked_at timestamp with time zone,
    CONSTRAINT webhook_inbox_body_hash_check CHECK ((octet_length(body_hash) = 32)),
    CONSTRAINT webhook_inbox_token_hash_check CHECK ((octet_length(token_hash) = 32))
)
WITH (autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='1000');
COMMENT ON TABLE public.webhook_inbox IS 'Callbacks as they came. A hint: the provider is asked before anything is booked (decision 0008).';
ALTER TABLE public.webhook_inbox ALTER COLUMN inbox_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.webhook_inbox_inbox_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
ALTER TABLE ONLY public."__EFMigrationsHistory"
    ADD CONSTRAINT "PK___EFMigrationsHistory" PRIMARY KEY ("MigrationId");
ALTER TABLE ONLY public.admin_actions
    ADD CONSTRAINT admin_actions_idempotency_key_key UNIQUE (idempotency_key);
ALTER TABLE ONLY public.admin_actions
    ADD CONSTRAINT admin_actions_pkey PRIMARY KEY (admin_action_id);
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_pkey PRIMARY KEY (key_hash);
ALTER TABLE ONLY public.app_settings
    ADD CONSTRAINT app_settings_pkey PRIMARY KEY (key);
ALTER TABLE ONLY public.credit_accounts
    ADD CONSTRAINT credit_accounts_pkey PRIMARY KEY (user_id);
ALTER TABLE ONLY public.credit_lots
    ADD CONSTRAINT credit_lots_pkey PRIMARY KEY (lot_id);
ALTER TABLE ONLY public.credit_lots
    ADD CONSTRAINT credit_lots_user_id_reference_key UNIQUE (user_id, reference);
ALTER TABLE ONLY public.credit_reservation_draws
    ADD CONSTRAINT credit_reservation_draws_pkey PRIMARY KEY (reservation_id, ordinal);
ALTER TABLE ONLY public.credit_reservations
    ADD CONSTRAINT credit_reservations_pkey PRIMARY KEY (reservation_id);
ALTER TABLE ONLY public.credit_reservations
    ADD CONSTRAINT credit_reservations_session_id_key UNIQUE (session_id);
ALTER TABLE ONLY public.credit_transactions
    ADD CONSTRAINT credit_transactions_pkey PRIMARY KEY (transaction_id);
ALTER TABLE ONLY public.error_events
    ADD CONSTRAINT error_events_pkey PRIMARY KEY (error_event_id);
ALTER TABLE ONLY public.generation_sessions
    ADD CONSTRAINT generation_sessions_pkey PRIMARY KEY (session_id);
ALTER TABLE public.generation_sessions
    ADD CONSTRAINT generation_sessions_rank_check CHECK (((rank > ('-1'::integer)::double precision) AND (rank < 'Infinity'::double precision))) NOT VALID;
ALTER TABLE ONLY public.generation_sessions
    ADD CONSTRAINT generation_sessions_user_id_client_key_key UNIQUE (user_id, client_key);
ALTER TABLE ONLY public.gpu_slots
    ADD CONSTRAINT gpu_slots_pkey PRIMARY KEY (endpoint);
ALTER TABLE ONLY public.image_variant_pricing
    ADD CONSTRAINT image_variant_pricing_pkey PRIMARY KEY (price_version);
ALTER TABLE ONLY public.lanes
    ADD CONSTRAINT lanes_pkey PRIMARY KEY (lane);
ALTER TABLE ONLY public.media
    ADD CONSTRAINT media_pkey PRIMARY KEY (media_id);
ALTER TABLE ONLY public.media
    ADD CONSTRAINT media_session_id_ordinal_key UNIQUE (session_id, ordinal);
ALTER TABLE ONLY public.model_pricing
    ADD CONSTRAINT model_pricing_pkey PRIMARY KEY (price_version);
ALTER TABLE ONLY public.outbox
    ADD CONSTRAINT outbox_pkey PRIMARY KEY (outbox_id);
ALTER TABLE ONLY public.provider_tasks
    ADD CONSTRAINT provider_tasks_callback_token_hash_key UNIQUE (callback_token_hash);
ALTER TABLE ONLY public.provider_tasks
    ADD CONSTRAINT provider_tasks_pkey PRIMARY KEY (provider_task_id);
ALTER TABLE ONLY public.sweep_failures
    ADD CONSTRAINT sweep_failures_pkey PRIMARY KEY (sweep, subject_id);
ALTER TABLE ONLY public.sweep_turns
    ADD CONSTRAINT sweep_turns_pkey PRIMARY KEY (sweep);
ALTER TABLE ONLY public.uploads
    ADD CONSTRAINT uploads_object_key_key UNIQUE (object_key);
ALTER TABLE ONLY public.uploads
    ADD CONSTRAINT uploads_pkey PRIMARY KEY (upload_id);
ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_handle_key UNIQUE (handle);
ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (user_id);
ALTER TABLE ONLY public.webhook_inbox
    ADD CONSTRAINT webhook_inbox_pkey PRIMARY KEY (inbox_id);
ALTER TABLE ONLY public.webhook_inbox
    ADD CONSTRAINT webhook_inbox_token_hash_body_hash_key UNIQUE (token_hash, body_hash);
CREATE INDEX admin_actions_recent ON public.admin_actions USING btree (created_at DESC, admin_action_id);
CREATE INDEX admin_actions_user ON public.admin_actions USING btree (user_id, created_at DESC, admin_action_id);
CREATE INDEX api_keys_user ON public.api_keys USING btree (user_id);
CREATE INDEX credit_lots_drawable ON public.credit_lots USING btree (user_id, priority, expires_at, created_at, lot_id) WHERE drawable;
CREATE INDEX credit_lots_expiring ON public.credit_lots USING btree (expires_at) WHERE (drawable AND (expires_at IS NOT NULL));
CREATE INDEX credit_reservations_expiring ON public.credit_reservations USING btree (expires_at) WHERE (status = 'held'::text);
CREATE INDEX credit_reservations_open ON public.credit_reservations USING btree (user_id) WHERE (status = 'held'::text);
CREATE UNIQUE INDEX credit_transactions_admin_action ON public.credit_transactions USING btree (admin_action_id) WHERE (admin_action_id IS NOT NULL);
CREATE UNIQUE INDEX credit_transactions_once ON public.credit_transactions USING btree (reservation_id, type, from_bucket) WHERE (reservation_id IS NOT NULL);
CREATE INDEX credit_transactions_user ON public.credit_transactions USING btree (user_id, transaction_id DESC);
CREATE INDEX error_events_old ON public.error_events USING btree (created_at) WHERE ((code <> 'outcome_unknown'::text) OR (resolved_at IS NOT NULL));
CREATE INDEX error_events_open ON public.error_events USING btree (code, error_event_id DESC) WHERE (resolved_at IS NULL);
CREATE INDEX error_events_session ON public.error_events USING btree (session_id);
CREATE INDEX generation_sessions_failed ON public.generation_sessions USING btree (completed_at DESC, session_id DESC) WHERE (status = 'failed'::text);
CREATE INDEX generation_sessions_lease ON public.generation_sessions USING btree (lease_until) WHERE (lease_until IS NOT NULL);
CREATE INDEX generation_sessions_open ON public.generation_sessions USING btree (deadline) WHERE (completed_at IS NULL);
CREATE INDEX generation_sessions_orphans ON public.generation_sessions USING btree (completed_at, session_id) WHERE ((completed_at IS NOT NULL) AND ((status <> 'completed'::text) OR (lease_token > 2) OR (failed_outputs IS NOT NULL)));
CREATE INDEX generation_sessions_retry ON public.generation_sessions USING btree (retry_of) WHERE (retry_of IS NOT NULL);
CREATE INDEX generation_sessions_user ON public.generation_sessions USING btree (user_id, session_id DESC);
CREATE UNIQUE INDEX image_variant_pricing_current ON public.image_variant_pricing USING btree (model, resolution, quality) WHERE (retired_at IS NULL);
CREATE INDEX media_user ON public.media USING btree (user_id, media_id DESC);
CREATE UNIQUE INDEX model_pricing_current ON public.model_pricing USING btree (model) WHERE (retired_at IS NULL);
CREATE INDEX outbox_delayed ON public.outbox USING btree (lane, available_at) WHERE ((dispatched_at IS NULL) AND (set_aside_at IS NULL) AND (rank IS NULL));
CREATE INDEX outbox_in_queue ON public.outbox USING btree (lane, dispatched_at) WHERE (dispatched_at IS NOT NULL);
CREATE INDEX outbox_session ON public.outbox USING btree (session_id);
CREATE INDEX outbox_set_aside ON public.outbox USING btree (set_aside_at) WHERE (set_aside_at IS NOT NULL);
CREATE INDEX outbox_waiting ON public.outbox USING btree (lane, rank, outbox_id) INCLUDE (work) WHERE ((dispatched_at IS NULL) AND (set_aside_at IS NULL) AND (rank IS NOT NULL));
CREATE UNIQUE INDEX provider_tasks_one ON public.provider_tasks USING btree (session_id, first_ordinal) WHERE (state <> 'rejected'::text);
CREATE INDEX provider_tasks_running ON public.provider_tasks USING btree (updated_at) WHERE (state = 'running'::text);
CREATE INDEX uploads_user ON public.uploads USING btree (user_id, upload_id DESC);
CREATE INDEX webhook_inbox_old ON public.webhook_inbox USING btree (received_at);
CREATE INDEX webhook_inbox_open ON public.webhook_inbox USING btree (provider_task_id) WHERE (booked_at IS NULL);
CREATE TRIGGER admin_actions_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON public.admin_actions FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_ledger_change();
CREATE TRIGGER credit_transactions_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON public.credit_transactions FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_ledger_change();
ALTER TABLE ONLY public.admin_actions
    ADD CONSTRAINT admin_actions_actor_id_fkey FOREIGN KEY (actor_id) REFERENCES public.users(user_id);
ALTER TABLE ONLY public.admin_actions
    ADD CONSTRAINT admin_actions_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.credit_accounts(user_id);
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(user_id);
ALTER TABLE ONLY public.app_settings
    ADD CONSTRAINT app_settings_updated_by_fkey FOREIGN KEY (updated_by) REFERENCES public.users(user_id);
ALTER TABLE ONLY public.credit_accounts
    ADD CONSTRAINT credit_accounts_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(user_id);
ALTER TABLE ONLY public.credit_lots
    ADD CONSTRAINT credit_lots_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.credit_accounts(user_id);
ALTER TABLE ONLY public.credit_reservation_draws
    ADD CONSTRAINT credit_reservation_draws_lot_id_fkey FOREIGN KEY (lot_id) REFERENCES public.credit_lots(lot_id);
ALTER TABLE ONLY public.credit_reservation_draws
    ADD CONSTRAINT credit_reservation_draws_reservation_id_fkey FOREIGN KEY (reservation_id) REFERENCES public.credit_reservations(reservation_id);
ALTER TABLE ONLY public.credit_reservations
    ADD CONSTRAINT credit_reservations_session_id_fkey FOREIGN KEY (session_id) REFERENCES public.generation_sessions(session_id);
ALTER TABLE ONLY public.credit_reservations
    ADD CONSTRAINT credit_reservations_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.credit_accounts(user_id);
ALTER TABLE ONLY public.credit_transactions
    ADD CONSTRAINT credit_transactions_admin_action_id_fkey FOREIGN KEY (admin_action_id) REFERENCES public.admin_actions(admin_action_id);
ALTER TABLE ONLY public.credit_transactions
    ADD CONSTRAINT credit_transactions_lot_id_fkey FOREIGN KEY (lot_id) REFERENCES public.credit_lots(lot_id);
ALTER TABLE ONLY public.credit_transactions
    ADD CONSTRAINT credit_transactions_reservation_id_fkey FOREIGN KEY (reservation_id) REFERENCES public.credit_reservations(reservation_id);
ALTER TABLE ONLY public.credit_transactions
    ADD CONSTRAINT credit_transactions_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.credit_accounts(user_id);
ALTER TABLE ONLY public.generation_sessions
    ADD CONSTRAINT generation_sessions_retry_of_fkey FOREIGN KEY (retry_of) REFERENCES public.generation_sessions(session_id);
ALTER TABLE ONLY public.generation_sessions
    ADD CONSTRAINT generation_sessions_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(user_id);
ALTER TABLE ONLY public.media
    ADD CONSTRAINT media_session_id_fkey FOREIGN KEY (session_id) REFERENCES public.generation_sessions(session_id);
ALTER TABLE ONLY public.media
    ADD CONSTRAINT media_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(user_id);
ALTER TABLE ONLY public.provider_tasks
    ADD CONSTRAINT provider_tasks_session_id_fkey FOREIGN KEY (session_id) REFERENCES public.generation_sessions(session_id);
ALTER TABLE ONLY public.uploads
    ADD CONSTRAINT uploads_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(user_id);
ALTER TABLE ONLY public.webhook_inbox
    ADD CONSTRAINT webhook_inbox_provider_task_id_fkey FOREIGN KEY (provider_task_id) REFERENCES public.provider_tasks(provider_task_id);
ALTER TABLE public.credit_accounts ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.credit_lots ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.credit_reservations ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.credit_transactions ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.generation_sessions ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.media ENABLE ROW LEVEL SECURITY;
CREATE POLICY reader_sees_own ON public.credit_accounts FOR SELECT TO generation_reader USING ((user_id = (NULLIF(current_setting('app.user_id'::text, true), ''::text))::uuid));
CREATE POLICY reader_sees_own ON public.credit_lots FOR SELECT TO generation_reader USING ((user_id = (NULLIF(current_setting('app.user_id'::text, true), ''::text))::uuid));
CREATE POLICY reader_sees_own ON public.credit_reservations FOR SELECT TO generation_reader USING ((user_id = (NULLIF(current_setting('app.user_id'::text, true), ''::text))::uuid));
CREATE POLICY reader_sees_own ON public.credit_transactions FOR SELECT TO generation_reader USING ((user_id = (NULLIF(current_setting('app.user_id'::text, true), ''::text))::uuid));
CREATE POLICY reader_sees_own ON public.generation_sessions FOR SELECT TO generation_reader USING ((user_id = (NULLIF(current_setting('app.user_id'::text, true), ''::text))::uuid));
CREATE POLICY reader_sees_own ON public.media FOR SELECT TO generation_reader USING ((user_id = (NULLIF(current_setting('app.user_id'::text, true), ''::text))::uuid));
CREATE POLICY reader_sees_own ON public.uploads FOR SELECT TO generation_reader USING ((user_id = (NULLIF(current_setting('app.user_id'::text, true), ''::text))::uuid));
CREATE POLICY service_sees_all ON public.credit_accounts TO generation_service USING (true) WITH CHECK (true);
CREATE POLICY service_sees_all ON public.credit_lots TO generation_service USING (true) WITH CHECK (true);
CREATE POLICY service_sees_all ON public.credit_reservations TO generation_service USING (true) WITH CHECK (true);
CREATE POLICY service_sees_all ON public.credit_transactions TO generation_service USING (true) WITH CHECK (true);
CREATE POLICY service_sees_all ON public.generation_sessions TO generation_service USING (true) WITH CHECK (true);
CREATE POLICY service_sees_all ON public.media TO generation_service USING (true) WITH CHECK (true);
CREATE POLICY service_sees_all ON public.uploads TO generation_service USING (true) WITH CHECK (true);
ALTER TABLE public.uploads ENABLE ROW LEVEL SECURITY;
GRANT USAGE ON SCHEMA public TO generation_service;
GRANT USAGE ON SCHEMA public TO generation_reader;
GRANT SELECT ON TABLE public."__EFMigrationsHistory" TO generation_service;
GRANT SELECT,INSERT ON TABLE public.admin_actions TO generation_service;
GRANT SELECT,INSERT,UPDATE ON TABLE public.api_keys TO generation_service;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.app_settings TO generation_service;
GRANT SELECT,INSERT,UPDATE ON TABLE public.credit_accounts TO generation_service;
GRANT SELECT ON TABLE public.credit_accounts TO generation_reader;
GRANT SELECT,INSERT,UPDATE ON TABLE public.credit_lots TO generation_service;
GRANT SELECT ON TABLE public.credit_lots TO generation_reader;
GRANT SELECT,INSERT,UPDATE ON TABLE public.credit_reservation_draws TO generation_service;
GRANT SELECT,INSERT,UPDATE ON TABLE public.credit_reservations TO generation_service;
GRANT SELECT ON TABLE public.credit_reservations TO generation_reader;
GRANT SELECT,INSERT ON TABLE public.credit_transactions TO generation_service;
GRANT SELECT ON TABLE public.credit_transactions TO generation_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.error_events TO generation_service;
GRANT SELECT,INSERT,UPDATE ON TABLE public.generation_sessions TO generation_service;
GRANT SELECT ON TABLE public.generation_sessions TO generation_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.gpu_slots TO generation_service;
GRANT USAGE ON SEQUENCE public.price_version TO generation_service;
GRANT SELECT,INSERT ON TABLE public.image_variant_pricing TO generation_service;
GRANT UPDATE(retired_at) ON TABLE public.image_variant_pricing TO generation_service;
GRANT SELECT,INSERT,UPDATE ON TABLE public.media TO generation_service;
GRANT SELECT ON TABLE public.media TO generation_reader;
GRANT SELECT ON TABLE public.images TO generation_service;
GRANT SELECT ON TABLE public.images TO generation_reader;
GRANT SELECT,UPDATE ON TABLE public.lanes TO generation_service;
GRANT SELECT,INSERT ON TABLE public.model_pricing TO generation_service;
GRANT UPDATE(retired_at) ON TABLE public.model_pricing TO generation_service;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.outbox TO generation_service;
GRANT SELECT ON TABLE public.price_rows TO generation_service;
GRANT SELECT,INSERT,UPDATE ON TABLE public.provider_tasks TO generation_service;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.sweep_failures TO generation_service;
GRANT SELECT,INSERT,UPDATE ON TABLE public.sweep_turns TO generation_service;
GRANT SELECT,INSERT,DELETE ON TABLE public.uploads TO generation_service;
GRANT SELECT ON TABLE public.uploads TO generation_reader;
GRANT SELECT,INSERT,UPDATE ON TABLE public.users TO generation_service;
GRANT SELECT ON TABLE public.videos TO generation_service;
GRANT SELECT ON TABLE public.videos TO generation_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.webhook_inbox TO generation_service;
