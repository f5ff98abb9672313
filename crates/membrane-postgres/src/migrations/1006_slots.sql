-- Lists by slots of time, so that an append leaves every index alone.
--
-- PostgreSQL writes a new entry into each index of a row whenever one indexed column changes, and last_active changed
-- with each append: half of what an append cost. A slot is the ten seconds that last_active lies in, as the first 18
-- characters of its text: slots are in the same order as times. Lists walk the slots and sort within each by
-- last_active and id; other readers who want that order by an index name active_slot first, too. Room is left on each
-- page for a row's next version. last_active itself is as it was.
ALTER TABLE chat_sessions
    SET (fillfactor = 70),
    ADD COLUMN active_slot TEXT COLLATE "C" NOT NULL GENERATED ALWAYS AS (left(last_active, 18)) STORED;
DROP INDEX idx_chat_sessions_active, idx_chat_sessions_project, chat_sessions_branch_idx;
CREATE INDEX idx_chat_sessions_active ON chat_sessions (active_slot);
CREATE INDEX idx_chat_sessions_project ON chat_sessions (project_id, active_slot) WHERE project_id IS NOT NULL;
CREATE INDEX chat_sessions_branch_idx ON chat_sessions (branch_name, active_slot) WHERE branch_name <> 'main';
