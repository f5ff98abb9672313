-- The log of runs in the order in which it is written.
--
-- In the order of its key each run has pages of its own, and whatever is added splits one of them and moves its neighbours. In
-- the order of writing, all that is flushed at a moment lies together, whosever it is.
ALTER TABLE run_pieces RENAME TO run_pieces_by_key;
CREATE TABLE run_pieces (
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    body_json TEXT NOT NULL,
    PRIMARY KEY (run_id, seq)
);
INSERT INTO run_pieces SELECT run_id, seq, body_json FROM run_pieces_by_key ORDER BY run_id, seq;
DROP TABLE run_pieces_by_key;
