-- The log of runs in the order in which it is written.
--
-- In the order of its key each run has pages of its own, and whatever is added splits one of them and moves its neighbours. In
-- the order of writing, all that is flushed at a moment lies together, whosever it is. Pieces of a run that is gone go, too.
-- (Not by renaming, which would look through the views of others, and fail for one that is broken.)
CREATE TEMP TABLE run_pieces_by_key AS
    SELECT run_id, seq, body_json FROM run_pieces WHERE run_id IN (SELECT id FROM runs);
DROP TABLE run_pieces;
CREATE TABLE run_pieces (
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    body_json TEXT NOT NULL,
    PRIMARY KEY (run_id, seq)
);
INSERT INTO run_pieces SELECT run_id, seq, body_json FROM run_pieces_by_key ORDER BY run_id, seq;
DROP TABLE run_pieces_by_key;
