-- One order for everything that waits (decision 0022): a lane's rows are taken by rank, the virtual start time of start-time fair queuing.
-- A row without a rank waits for its time; the dispatcher gives it its session's rank when that has come. So do rows of the release before,
-- which writes none; that release takes its rows by their age, whatever their rank.
CREATE TABLE lanes (
    lane text PRIMARY KEY CHECK (lane IN ('image', 'video', 'gpu')),
    clock double precision NOT NULL DEFAULT 0 CHECK (clock >= 0 AND clock < 'Infinity'),
    clocked_at timestamptz NOT NULL DEFAULT now(),
    paused_at timestamptz,
    paused_by text,
    CONSTRAINT a_pause_has_an_author CHECK ((paused_at IS NULL) = (paused_by IS NULL))
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
COMMENT ON TABLE lanes IS 'One row a lane: its virtual time, and whether an operator has paused it.';
COMMENT ON COLUMN lanes.clock IS 'The lane''s virtual time: the largest rank that was dispatched, at most a tenth of a second old.';
COMMENT ON COLUMN lanes.paused_at IS 'Nothing is dispatched since then; what is under way goes on.';
INSERT INTO lanes (lane) VALUES ('image'), ('video'), ('gpu');

ALTER TABLE generation_sessions
    ADD COLUMN priority text NOT NULL DEFAULT 'interactive'
        CONSTRAINT generation_sessions_priority_check CHECK (priority IN ('interactive', 'batch')),
    ADD COLUMN work double precision CONSTRAINT generation_sessions_work_check CHECK (work > 0 AND work < 'Infinity'),
    ADD COLUMN rank double precision CONSTRAINT generation_sessions_rank_check CHECK (rank >= 0 AND rank < 'Infinity');
COMMENT ON COLUMN generation_sessions.priority IS 'interactive, or batch: a quarter of the user''s share.';
COMMENT ON COLUMN generation_sessions.work IS 'Expected slot-seconds: the model''s typical seconds for each output.';
COMMENT ON COLUMN generation_sessions.rank IS 'Its place in the lane: virtual start time. Kept over retries; null from the release before.';

ALTER TABLE outbox
    ADD COLUMN rank double precision CONSTRAINT outbox_rank_check CHECK (rank >= -1 AND rank < 'Infinity');
COMMENT ON COLUMN outbox.rank IS 'Rows of a lane are taken by (rank, outbox_id); -1 goes on with work that was begun; null waits for available_at.';

ALTER TABLE credit_accounts
    ADD COLUMN share double precision NOT NULL DEFAULT 1 CONSTRAINT credit_accounts_share_check CHECK (share >= 0.01 AND share <= 100),
    ADD COLUMN image_finish double precision NOT NULL DEFAULT 0,
    ADD COLUMN video_finish double precision NOT NULL DEFAULT 0,
    ADD COLUMN gpu_finish double precision NOT NULL DEFAULT 0,
    ADD COLUMN image_batch_finish double precision NOT NULL DEFAULT 0,
    ADD COLUMN video_batch_finish double precision NOT NULL DEFAULT 0,
    ADD COLUMN gpu_batch_finish double precision NOT NULL DEFAULT 0;
COMMENT ON COLUMN credit_accounts.share IS 'Weight of the user''s work in the order; 2 is twice the slots of others while all wait.';
COMMENT ON COLUMN credit_accounts.image_finish IS
    'Virtual time at which the user''s last request of this lane and priority is done: the rank of the next at the earliest.';

DROP INDEX outbox_waiting;
CREATE INDEX outbox_waiting ON outbox (lane, rank, outbox_id) WHERE dispatched_at IS NULL AND set_aside_at IS NULL AND rank IS NOT NULL;
CREATE INDEX outbox_delayed ON outbox (lane, available_at) WHERE dispatched_at IS NULL AND set_aside_at IS NULL AND rank IS NULL;
GRANT SELECT, UPDATE ON lanes TO generation_service;
