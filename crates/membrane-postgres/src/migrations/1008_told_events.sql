-- Events as changes tell them: one row for all of a change, or of a batch of appends, and one index.
--
-- Before, each event had a row of its own in events from the first, with three indexes, and was written once more when it
-- got its number: a seventh of what an append cost. Now whoever gives numbers moves it there.
-- What an older server has under way is waited for.
LOCK TABLE events IN ACCESS EXCLUSIVE MODE;
CREATE TABLE told_events (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- One for each, or one for all.
    kinds TEXT[] COLLATE "C" NOT NULL,
    session_ids TEXT[] COLLATE "C" NOT NULL,
    versions BIGINT[] NOT NULL,
    at BIGINT NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);
UPDATE events e SET seq = new.seq FROM (
    SELECT number, (SELECT max(seq) FROM events) + row_number() OVER (ORDER BY number) AS seq
    FROM events WHERE seq IS NULL
) AS new WHERE e.number = new.number;
DROP INDEX events_seq_idx, events_unnumbered_idx;
ALTER TABLE events DROP COLUMN number, ADD PRIMARY KEY (seq);
