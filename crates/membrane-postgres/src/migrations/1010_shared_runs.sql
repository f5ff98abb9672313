-- Runs that others than their owner follow and stop.

-- The session's version when the run began: what the numbers of its events are counted from.
ALTER TABLE runs ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
UPDATE runs SET version = coalesce((SELECT version FROM chat_sessions WHERE id = runs.session_id), 1);

-- Whether somebody asked for it to stop.
ALTER TABLE runs ADD COLUMN stop_requested BOOLEAN NOT NULL DEFAULT FALSE;
CREATE INDEX runs_stop_requested_idx ON runs (owner_id) WHERE stop_requested;

-- How the answer came of the run that ended last on a session, for readers who were cut off: its pieces are gone, and the
-- turn does not say where one ended and the next began. shape has a letter and a number of bytes for each piece, as in
-- 'r40 t5 t12': thoughts, text; and x for anything else. ended_at is in microseconds since 1970 UTC.
CREATE TABLE ended_runs (
    session_id TEXT COLLATE "C" PRIMARY KEY REFERENCES chat_sessions (id) ON DELETE CASCADE,
    turn_id TEXT COLLATE "C" NOT NULL,
    turn_number BIGINT NOT NULL,
    version BIGINT NOT NULL,
    shape TEXT COLLATE "C" NOT NULL,
    ended_at BIGINT NOT NULL
);
CREATE INDEX ended_runs_ended_at ON ended_runs (ended_at);
