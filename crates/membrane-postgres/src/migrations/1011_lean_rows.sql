-- Rows that a statement writes without thinking about them.
--
-- PostgreSQL parses and plans a CHECK and a generated column anew for each statement that writes the table, prepared or not:
-- 35 and 30 of the 330 microseconds that an append took the server. So Membrane writes active_slot itself, as the first 18
-- characters of last_active, and what another program tells wrongly is left out when numbers are given.
LOCK TABLE chat_sessions, told_events IN ACCESS EXCLUSIVE MODE;
ALTER TABLE told_events DROP CONSTRAINT IF EXISTS one_for_each;
ALTER TABLE chat_sessions ALTER COLUMN active_slot DROP EXPRESSION IF EXISTS;

-- What a batch tells is kept in its row as it is: to compress ids gains nothing, and a row elsewhere is a second one.
ALTER TABLE told_events
    SET (toast_tuple_target = 8160),
    ALTER COLUMN session_ids SET STORAGE EXTERNAL,
    ALTER COLUMN versions SET STORAGE EXTERNAL;
