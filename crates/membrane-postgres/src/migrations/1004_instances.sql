-- Who holds, or held, an instance. While it is held, its advisory lock is taken; incarnation is when the server was
-- started under which that was. A lock that is free tells of a death only within that incarnation: when the server
-- stops, all locks go, and their holders may live. NULL: no lock was taken (behind a pooler), and held_since is renewed.
CREATE TABLE instances (
    id TEXT COLLATE "C" PRIMARY KEY,
    incarnation TIMESTAMPTZ,
    held_since TIMESTAMPTZ NOT NULL
);
