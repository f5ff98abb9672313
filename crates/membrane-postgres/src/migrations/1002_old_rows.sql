-- What old files held that has no place elsewhere, word for word.
--
-- session_id names the session that a row belongs to, with which it is deleted; an orphan's is that of a session
-- that was not in the file. source is a table of the old file, with a column after a full stop if it is only one;
-- value is a row as a JSON object, or a column's text.
CREATE TABLE legacy_rows (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    session_id TEXT COLLATE "C",
    source TEXT COLLATE "C" NOT NULL,
    row_key TEXT COLLATE "C" NOT NULL,
    value TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C" NOT NULL
);
CREATE INDEX legacy_rows_session_idx ON legacy_rows (session_id);
