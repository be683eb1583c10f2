-- Repairs: how far the sweeps of the object store are, what makes forgetting cheap, and a vacuum that comes before a busy table swells.

-- A sweep of the object store waits for the store, too long for a row lock: whoever works has the turn for a while, and where the
-- last one stopped is kept, so that a crash repeats a page and no more.
CREATE TABLE sweep_turns (
    sweep       text PRIMARY KEY,
    position    text NOT NULL DEFAULT '',
    taken_until timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT, INSERT, UPDATE ON sweep_turns TO generation_service;

-- Ended sessions that may have left objects behind: more than one lease (a clean one ends with token 2: claim and end), or not all that
-- was asked for. Of a hundred sessions this index has one or two, and the claim and the settlement of the others pay nothing for it.
CREATE INDEX generation_sessions_leftovers ON generation_sessions (completed_at, session_id)
    WHERE completed_at IS NOT NULL AND (status <> 'completed' OR lease_token > 2 OR failed_outputs IS NOT NULL);

-- What may be forgotten when it is old. An open outcome_unknown is money at a provider and stays until it is resolved.
GRANT DELETE ON error_events TO generation_service;
CREATE INDEX error_events_old ON error_events (created_at) WHERE code <> 'outcome_unknown' OR resolved_at IS NOT NULL;
CREATE INDEX outbox_set_aside ON outbox (set_aside_at) WHERE set_aside_at IS NOT NULL;

-- By default a table is vacuumed when a fifth of it is dead: of ten million sessions two million, and the small partial indexes (leases,
-- open sessions, open holds) would be made of dead entries for the most part. These are vacuumed by the hundredth, as the outbox is.
ALTER TABLE generation_sessions SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000, autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE credit_accounts     SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
ALTER TABLE credit_lots         SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
ALTER TABLE credit_reservations SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000);
ALTER TABLE provider_tasks      SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000);
ALTER TABLE webhook_inbox       SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
ALTER TABLE error_events        SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);

-- Vacuum may not pause in the outbox: it is small, it turns over by the second, and every dispatch reads past what is dead in it.
ALTER TABLE outbox              SET (autovacuum_vacuum_cost_delay = 0);
