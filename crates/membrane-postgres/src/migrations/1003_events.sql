-- What happened to sessions, for readers that follow: written in the transaction of the change, kept for a day.
--
-- number is the order of writing. seq is the order that readers see: it is given after the commit, by whoever looks next,
-- one at a time, so that a transaction which is held open hides nothing and is overtaken by nothing. at is the
-- change's time in microseconds since 1970 UTC. The oldest row is only a mark: events up to it are forgotten or were
-- never there. Numbers begin above those of all databases that were made before.
CREATE TABLE events (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    seq BIGINT,
    kind TEXT COLLATE "C" NOT NULL,
    session_id TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    at BIGINT NOT NULL
);
CREATE UNIQUE INDEX events_seq_idx ON events (seq) WHERE seq IS NOT NULL;
CREATE INDEX events_unnumbered_idx ON events (number) WHERE seq IS NULL;
INSERT INTO events (seq, kind, session_id, version, at)
VALUES (floor(extract(epoch FROM clock_timestamp()))::BIGINT * 1048576, 'mark', '', 0, 0);
