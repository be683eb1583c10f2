-- What psql's \d+ and every tool that draws a schema show. Comments change no row and take no lock that a reader or writer waits for.

COMMENT ON TABLE users IS 'Who may call: customers and administrators.';
COMMENT ON COLUMN users.handle IS 'A name for people; unique.';
COMMENT ON TABLE api_keys IS 'API keys by the SHA-256 of the key, which is shown once and never stored.';
COMMENT ON COLUMN api_keys.revoked_at IS 'Since when it opens nothing; takes effect within APP_SETTINGS_CACHE_MS.';
COMMENT ON TABLE app_settings IS 'Settings that take effect while services run: mock_mode, disabled_models, gen_worker_concurrency, …';

COMMENT ON TABLE model_pricing IS 'Prices by model. A row is never changed: it is retired and followed by the next version.';
COMMENT ON COLUMN model_pricing.credits IS 'Whole credits, per output or per second (per).';
COMMENT ON COLUMN model_pricing.usage_field IS
    'A field of the provider''s usage that decides the cost, such as total_tokens; null: the listed price does.';
COMMENT ON COLUMN model_pricing.credits_per_unit IS 'Credits for one of usage_field.';
COMMENT ON COLUMN model_pricing.usd_per_output IS 'What the provider takes from us.';
COMMENT ON TABLE image_variant_pricing IS 'Prices by model, resolution and quality; found before model_pricing.';

COMMENT ON TABLE generation_sessions IS 'One request of a customer and its state machine (docs/state-machine.md). settle.sql alone ends it.';
COMMENT ON COLUMN generation_sessions.client_key IS 'The idempotency key: one (user_id, client_key) is one session.';
COMMENT ON COLUMN generation_sessions.request_hash IS 'SHA-256 of the canonical model and params as sent: tells a repetition from another request.';
COMMENT ON COLUMN generation_sessions.params IS 'As the client sent them.';
COMMENT ON COLUMN generation_sessions.input_settings IS 'What the handler gets: defaults filled in, the provider''s model id as of the submit.';
COMMENT ON COLUMN generation_sessions.held_credits IS 'The hold: unit_price for each of requested_outputs.';
COMMENT ON COLUMN generation_sessions.captured_credits IS 'Null until it has ended, then what was charged.';
COMMENT ON COLUMN generation_sessions.extra_credits IS 'Of captured_credits, what the hold did not cover (Credits:CostPolicy).';
COMMENT ON COLUMN generation_sessions.shortfall_credits IS 'Of the cost, what nobody was charged.';
COMMENT ON COLUMN generation_sessions.provider_usd IS 'What the provider bills us for all calls with a result.';
COMMENT ON COLUMN generation_sessions.version IS 'Grows with every change that a watcher may see; the id of events.';
COMMENT ON COLUMN generation_sessions.attempt IS 'Failures so far; only failures raise it.';
COMMENT ON COLUMN generation_sessions.lost_leases IS 'How often a worker died while it held the session.';
COMMENT ON COLUMN generation_sessions.lease_owner IS 'Host and process of the worker that has it; null when nobody has.';
COMMENT ON COLUMN generation_sessions.lease_token IS
    'The fencing token: raised by every claim and revocation, compared by every write of a worker.';
COMMENT ON COLUMN generation_sessions.lease_until IS 'By this database''s clock.';
COMMENT ON COLUMN generation_sessions.wake_at IS 'When a session in awaiting_provider is claimed again at the latest.';
COMMENT ON COLUMN generation_sessions.callback_at IS 'The last callback; whichever of callback and suspension comes second sees the other.';
COMMENT ON COLUMN generation_sessions.progress_at IS 'When its worker last moved on; a renewed lease without this is a job that hangs.';
COMMENT ON COLUMN generation_sessions.deadline IS 'After it the session is ended with what there is.';
COMMENT ON COLUMN generation_sessions.failed_outputs IS '[{ordinal, code, message}]: outputs that did not come.';
COMMENT ON COLUMN generation_sessions.traceparent IS 'W3C trace context of the submit: everything that happens later continues it.';

COMMENT ON TABLE credit_accounts IS 'A user''s balance; locked after sessions and before lots.';
COMMENT ON COLUMN credit_accounts.available IS 'The sum of the lots'' available.';
COMMENT ON COLUMN credit_accounts.reserved IS 'The sum of the open holds.';
COMMENT ON TABLE credit_lots IS 'Credits that came together. granted = available + held + spent + expired + withdrawn.';
COMMENT ON COLUMN credit_lots.priority IS 'Lower is drawn first; then the earliest expiry, then the oldest.';
COMMENT ON COLUMN credit_lots.reference IS 'Unique: granting twice under one reference grants once.';
COMMENT ON COLUMN credit_lots.withdrawn IS 'Taken back by an adjustment.';
COMMENT ON TABLE credit_reservations IS 'Holds, one a session: held, then captured, released or expired.';
COMMENT ON COLUMN credit_reservations.extra IS 'Charged beyond the hold from what was available (Credits:CostPolicy).';
COMMENT ON TABLE credit_reservation_draws IS 'Which lots a hold was drawn from, in drawing order (docs/ledger.md).';
COMMENT ON COLUMN credit_reservation_draws.extra IS 'Drawn at the end, beyond the hold.';
COMMENT ON TABLE credit_transactions IS 'The ledger: append-only, double entry. A trigger refuses every change; replaying it gives the balances.';
COMMENT ON COLUMN credit_transactions.available_after IS 'credit_accounts.available after this row.';
COMMENT ON TABLE admin_actions IS 'Who changed what and why; the answer is kept for a repetition of the idempotency key.';

COMMENT ON TABLE outbox IS 'The only way into the queue. A row is deleted by the claim of its session (decision 0003).';
COMMENT ON COLUMN outbox.available_at IS 'Not sent before: retries and timers wait here.';
COMMENT ON COLUMN outbox.dispatched_at IS 'Sent as message_id, and not claimed yet.';
COMMENT ON COLUMN outbox.set_aside_at IS 'It could not be made into a message: for an operator.';
COMMENT ON TABLE provider_tasks IS 'Every paid call: the intent before it, the outcome right after (decision 0005). One row that counts an output.';
COMMENT ON COLUMN provider_tasks.state IS
    'intent, running (a task to ask for), delivered, failed, unknown (never repeated), rejected (not executed: another may follow).';
COMMENT ON COLUMN provider_tasks.callback_token_hash IS 'SHA-256 of the token in the callback''s address.';
COMMENT ON COLUMN provider_tasks.request_id IS 'The provider''s, for its support; not shown to users.';
COMMENT ON TABLE webhook_inbox IS 'Callbacks as they came. A hint: the provider is asked before anything is booked (decision 0008).';
COMMENT ON TABLE media IS 'Outputs. A row is written under the lease, after its object was stored.';
COMMENT ON COLUMN media.credits IS 'What this output costs, decided when it is stored (decision 0006).';
COMMENT ON COLUMN media.lease_token IS 'The token it was written under; a part of object_key.';
COMMENT ON COLUMN media.session_version IS 'The session''s version when it was attached.';
COMMENT ON TABLE uploads IS 'Reference pictures that users sent; they go after a week.';
COMMENT ON TABLE gpu_slots IS 'One job a GPU: a slot is taken as long as the session named here has its lease under this token (decision 0009).';
COMMENT ON TABLE error_events IS 'What operators should know. outcome_unknown is kept until it is resolved.';
COMMENT ON TABLE sweep_turns IS 'Maintenance leases: which sweep was run until when, by any relay.';
