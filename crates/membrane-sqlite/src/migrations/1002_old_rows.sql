-- What old files held that has no place elsewhere, word for word.
--
-- session_id names the session that a row belongs to, with which it is deleted; an orphan's is that of a session
-- that was not in the file. source is a table of the old file, with a column after a full stop if it is only one;
-- value is a row as a JSON object, or a column's text. Also new since 1001: facts of a turn may begin with l: it is
-- complete, and what it showed is part of an old total (observes is NULL).
CREATE TABLE legacy_rows (
    number INTEGER PRIMARY KEY,
    session_id TEXT,
    source TEXT NOT NULL,
    row_key TEXT NOT NULL,
    value TEXT NOT NULL,
    reason TEXT NOT NULL
);
CREATE INDEX legacy_rows_session_idx ON legacy_rows (session_id);
