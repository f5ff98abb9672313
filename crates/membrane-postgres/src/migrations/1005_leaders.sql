-- Which instance does work that is done once for the whole keep, and until when it may go on without saying so again,
-- by the server's clock.
CREATE TABLE leaders (
    role TEXT COLLATE "C" PRIMARY KEY,
    instance_id TEXT COLLATE "C" NOT NULL,
    until TIMESTAMPTZ NOT NULL
);
