-- What positions, estimates and bulkheads read from a lane's rows without a look at their sessions: rows of the release before, and those that wait
-- for their time, have neither until they are ranked.
ALTER TABLE outbox
    ADD COLUMN provider text,
    ADD COLUMN work double precision CONSTRAINT outbox_work_check CHECK (work > 0 AND work < 'Infinity');
COMMENT ON COLUMN outbox.provider IS 'Of the session: a provider that holds more than its share of a lane''s slots is passed over.';
COMMENT ON COLUMN outbox.work IS 'Of the session, in slot-seconds: what waits before a row says when it starts.';

DROP INDEX outbox_waiting;
CREATE INDEX outbox_waiting ON outbox (lane, rank, outbox_id) INCLUDE (work)
    WHERE dispatched_at IS NULL AND set_aside_at IS NULL AND rank IS NOT NULL;

-- An operator moves a session before its user's first, whose rank may be 0.
ALTER TABLE generation_sessions
    DROP CONSTRAINT generation_sessions_rank_check,
    ADD CONSTRAINT generation_sessions_rank_check CHECK (rank > -1 AND rank < 'Infinity') NOT VALID;

-- A worker takes a GPU first and a job for it second. The release before knows only slots that a session's lease holds.
ALTER TABLE gpu_slots
    ADD COLUMN reserved_by text,
    ADD COLUMN reserved_until timestamptz,
    ADD CONSTRAINT a_reservation_has_an_end CHECK ((reserved_by IS NULL) = (reserved_until IS NULL));
COMMENT ON COLUMN gpu_slots.reserved_by IS 'The worker that is about to claim a job for it, until reserved_until.';
