-- Which instance does work that is done once for the whole keep, and until when it may go on without saying so again:
-- in milliseconds since 1970 UTC, by SQLite's clock.
CREATE TABLE leaders (
    role TEXT PRIMARY KEY,
    instance_id TEXT NOT NULL,
    until INTEGER NOT NULL
);
