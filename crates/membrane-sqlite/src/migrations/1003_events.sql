-- What happened to sessions, for readers that follow: written in the transaction of the change, kept for a day.
--
-- seq is the order of commits, since one transaction writes at a time; at is the change's time in microseconds
-- since 1970 UTC. The oldest row is only a mark: events up to it are forgotten or were never there. So the newest is
-- never deleted, and no number is used twice. Numbers begin above those of all files that were made before, so that
-- a place in one of them is not taken for a place in this one.
CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    session_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    at INTEGER NOT NULL
);
INSERT INTO events (seq, kind, session_id, version, at) VALUES (unixepoch() * 1048576, 'mark', '', 0, 0);
