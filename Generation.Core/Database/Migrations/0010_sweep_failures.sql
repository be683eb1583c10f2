-- What a sweep cannot do for one row: it is left out and tried again ever more rarely, so that it holds up nobody else's.
CREATE TABLE sweep_failures (
    sweep text NOT NULL CHECK (length(sweep) BETWEEN 1 AND 100),
    subject_id uuid NOT NULL,
    failures integer NOT NULL DEFAULT 1 CHECK (failures > 0),
    problem text NOT NULL,
    next_try_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (sweep, subject_id)
);
COMMENT ON TABLE sweep_failures IS 'Rows that a sweep could not process; each is tried again at next_try_at, ever more rarely';
COMMENT ON COLUMN sweep_failures.sweep IS 'The sweep, as in its metrics';
COMMENT ON COLUMN sweep_failures.subject_id IS 'The session or the user whose row it is';
COMMENT ON COLUMN sweep_failures.failures IS 'Failures in a row';
COMMENT ON COLUMN sweep_failures.problem IS 'What the database said the last time';
COMMENT ON COLUMN sweep_failures.next_try_at IS 'Left out until then';
GRANT SELECT, INSERT, UPDATE, DELETE ON sweep_failures TO generation_service;
