-- The keep: sessions that point into histories, histories that are slices over segments of turns.
--
-- chat_sessions, chat_checkpoints and chat_crystals hold the columns that existing SQL readers know, in
-- their old order, then Membrane's own. chat_turns is a view (see below).

-- Append-only runs of turns. A turn's identity is (segment, position). While sealed_at is NULL the owner
-- may append in place and its head tells the next position; once sealed, nobody appends.
CREATE TABLE segments (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    family_id TEXT NOT NULL,
    owner_id TEXT,
    sealed_at INTEGER,
    has_gaps INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX segments_owner_idx ON segments (owner_id) WHERE owner_id IS NOT NULL;

CREATE TABLE histories (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    family_id TEXT NOT NULL
);

-- Turns start..stop of a history are the positions from segment_offset on of a segment. An open slice
-- (stop IS NULL) grows with appends. A history's totals at a turn are the turn's sums plus base.
CREATE TABLE slices (
    history_id INTEGER NOT NULL REFERENCES histories (id),
    start INTEGER NOT NULL,
    stop INTEGER,
    segment_id INTEGER NOT NULL REFERENCES segments (id),
    segment_offset INTEGER NOT NULL,
    base_succeeded INTEGER NOT NULL,
    base_failed INTEGER NOT NULL,
    base_tool_calls INTEGER NOT NULL,
    base_tokens INTEGER NOT NULL,
    base_chars INTEGER NOT NULL,
    base_code_blocks INTEGER NOT NULL,
    PRIMARY KEY (history_id, start)
) WITHOUT ROWID;
CREATE INDEX slices_segment_idx ON slices (segment_id);

-- What old files knew of a session without knowing of which turn.
CREATE TABLE legacy_sets (
    history_id INTEGER NOT NULL REFERENCES histories (id),
    origin_id TEXT NOT NULL,
    alpha REAL NOT NULL,
    beta REAL NOT NULL,
    PRIMARY KEY (history_id, origin_id)
) WITHOUT ROWID;

-- Finished turns: written once. Times are microseconds since 1970 UTC. own_* is what the turn adds,
-- sum_* the segment's running totals with it; observes is 1, 0 or NULL (observes nothing). facts repeats
-- what loading a turn needs of the small columns in one text (reading a column costs as much as reading
-- a hundred bytes): first letters of status and both linearities, whether there is rare text, then
-- order_at, how long started_at lies before it, completed_at after started_at, and the six sums.
CREATE TABLE turns (
    number INTEGER PRIMARY KEY,
    segment_id INTEGER NOT NULL REFERENCES segments (id),
    position INTEGER NOT NULL,
    id TEXT NOT NULL,
    status TEXT NOT NULL,
    user_linearity TEXT NOT NULL,
    assistant_linearity TEXT NOT NULL,
    observes INTEGER,
    order_at INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    completed_at INTEGER NOT NULL,
    own_tool_calls INTEGER NOT NULL,
    own_tokens INTEGER NOT NULL,
    own_chars INTEGER NOT NULL,
    own_code_blocks INTEGER NOT NULL,
    sum_succeeded INTEGER NOT NULL,
    sum_failed INTEGER NOT NULL,
    sum_tool_calls INTEGER NOT NULL,
    sum_tokens INTEGER NOT NULL,
    sum_chars INTEGER NOT NULL,
    sum_code_blocks INTEGER NOT NULL,
    facts TEXT NOT NULL,
    tools_json TEXT,
    extra_json TEXT,
    user_message TEXT NOT NULL,
    assistant_response TEXT NOT NULL
);
CREATE UNIQUE INDEX idx_chat_turns_session ON turns (segment_id, position);

-- Signals on a turn's identity; the newest one counts.
CREATE TABLE turn_signals (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    segment_id INTEGER NOT NULL,
    position INTEGER NOT NULL,
    kind TEXT NOT NULL,
    comment TEXT,
    created_at INTEGER NOT NULL
);
CREATE INDEX turn_signals_turn_idx ON turn_signals (segment_id, position);

-- The turns that observed a success and count as a failure because of their newest signal.
CREATE TABLE flipped_turns (
    segment_id INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (segment_id, position)
) WITHOUT ROWID;

-- parent_id and merged_into hold the ids of sessions that may be deleted by now: no foreign keys.
-- turn_count, context_size, evidence_json and sum_* are derived from the history and kept exact.
CREATE TABLE chat_sessions (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    project_id TEXT,
    parent_id TEXT,
    fork_point INTEGER,
    branch_name TEXT NOT NULL DEFAULT 'main',
    state TEXT NOT NULL DEFAULT 'idle',
    turn_count INTEGER NOT NULL DEFAULT 0,
    context_size INTEGER NOT NULL DEFAULT 0,
    evidence_json TEXT NOT NULL DEFAULT '{}',
    metadata_json TEXT NOT NULL DEFAULT '{}',
    is_merged INTEGER NOT NULL DEFAULT 0,
    merged_into TEXT,
    created_at TEXT NOT NULL,
    last_active TEXT NOT NULL,
    family_id TEXT NOT NULL,
    title TEXT,
    tags_json TEXT NOT NULL DEFAULT '[]',
    pinned INTEGER NOT NULL DEFAULT 0,
    archived INTEGER NOT NULL DEFAULT 0,
    trailing INTEGER NOT NULL DEFAULT 0,
    version INTEGER NOT NULL,
    history_id INTEGER NOT NULL REFERENCES histories (id),
    head_segment_id INTEGER,
    head_position INTEGER,
    last_order_at INTEGER,
    flipped INTEGER NOT NULL DEFAULT 0,
    legacy_alpha REAL NOT NULL DEFAULT 0,
    legacy_beta REAL NOT NULL DEFAULT 0,
    sum_succeeded INTEGER NOT NULL DEFAULT 0,
    sum_failed INTEGER NOT NULL DEFAULT 0,
    sum_tool_calls INTEGER NOT NULL DEFAULT 0,
    sum_chars INTEGER NOT NULL DEFAULT 0,
    sum_code_blocks INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX idx_chat_sessions_active ON chat_sessions (last_active, id);
CREATE INDEX idx_chat_sessions_project ON chat_sessions (project_id, last_active, id)
    WHERE project_id IS NOT NULL;
CREATE INDEX idx_chat_sessions_parent ON chat_sessions (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX chat_sessions_branch_idx ON chat_sessions (branch_name, last_active, id)
    WHERE branch_name <> 'main';
CREATE INDEX chat_sessions_family_idx ON chat_sessions (family_id);
CREATE INDEX chat_sessions_history_idx ON chat_sessions (history_id);

-- The place of deleted sessions in the tree of a family of which others live.
CREATE TABLE deleted_sessions (
    id TEXT PRIMARY KEY,
    family_id TEXT NOT NULL,
    parent_id TEXT,
    fork_point INTEGER,
    deleted_at TEXT NOT NULL
);
CREATE INDEX deleted_sessions_family_idx ON deleted_sessions (family_id);

-- Checkpoints point; context_json is for old readers and stays '{}'. number is the order of making, which
-- a clock that is set back does not change.
CREATE TABLE chat_checkpoints (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    session_id TEXT NOT NULL REFERENCES chat_sessions (id) ON DELETE CASCADE,
    turn_count INTEGER NOT NULL,
    context_json TEXT NOT NULL DEFAULT '{}',
    evidence_json TEXT NOT NULL,
    created_at TEXT NOT NULL,
    name TEXT,
    kind TEXT NOT NULL,
    history_id INTEGER NOT NULL REFERENCES histories (id)
);
CREATE INDEX chat_checkpoints_session_idx ON chat_checkpoints (session_id, number);
CREATE INDEX chat_checkpoints_automatic_idx ON chat_checkpoints (session_id, number)
    WHERE kind <> 'named';
CREATE INDEX chat_checkpoints_history_idx ON chat_checkpoints (history_id);

CREATE TABLE chat_crystals (
    session_id TEXT PRIMARY KEY REFERENCES chat_sessions (id) ON DELETE CASCADE,
    title TEXT NOT NULL,
    summary TEXT NOT NULL,
    key_decisions_json TEXT,
    artifacts_json TEXT,
    final_evidence_json TEXT,
    final_turn_count INTEGER NOT NULL,
    created_at TEXT NOT NULL
);

-- Unfinished turns. lease_until is in milliseconds since 1970 by the database's clock; NULL: no lease.
CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    session_id TEXT NOT NULL UNIQUE REFERENCES chat_sessions (id) ON DELETE CASCADE,
    turn_id TEXT NOT NULL,
    user_message TEXT NOT NULL,
    user_mentions_json TEXT,
    user_linearity TEXT NOT NULL,
    model TEXT,
    phase TEXT NOT NULL,
    owner_id TEXT NOT NULL,
    lease_token INTEGER NOT NULL,
    lease_until INTEGER,
    started_at TEXT NOT NULL
);

CREATE TABLE run_pieces (
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    body_json TEXT NOT NULL,
    PRIMARY KEY (run_id, seq)
) WITHOUT ROWID;

-- Requests that must not happen twice. session_id is '' for a route that creates a session.
CREATE TABLE idempotency_keys (
    route TEXT NOT NULL,
    session_id TEXT NOT NULL,
    key TEXT NOT NULL,
    body_hash BLOB NOT NULL,
    result TEXT NOT NULL,
    stamps_json TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (route, session_id, key)
) WITHOUT ROWID;
CREATE INDEX idempotency_keys_session_idx ON idempotency_keys (session_id);
CREATE INDEX idempotency_keys_created_idx ON idempotency_keys (created_at);

-- The sessions that a key's change created: the key goes with any of them.
CREATE TABLE idempotency_key_creations (
    created_session_id TEXT NOT NULL,
    route TEXT NOT NULL,
    session_id TEXT NOT NULL,
    key TEXT NOT NULL,
    PRIMARY KEY (created_session_id, route, session_id, key),
    FOREIGN KEY (route, session_id, key) REFERENCES idempotency_keys (route, session_id, key)
        ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX idempotency_key_creations_key_idx ON idempotency_key_creations (route, session_id, key);

-- Every session's whole thread, with the columns that SQL readers know. Membrane reads the tables.
-- id is unique: the session's number and the turn's in one integer (up to 16,777,216 turns a session).
CREATE VIEW chat_turns AS
SELECT (session_number << 24) | turn_number AS id,
       session_id,
       turn_number,
       user_message,
       assistant_response,
       user_linearity,
       assistant_linearity,
       tools_json,
       json_object(
           'tools_executed', own_tool_calls,
           'tools_succeeded', (SELECT count(*) FROM json_each(tools_json) AS tool WHERE tool.value ->> 'success'),
           'confidence_change', alpha / (alpha + beta) - CASE
               WHEN observes IS NULL THEN alpha / (alpha + beta)
               WHEN observes = 1 AND NOT is_flipped THEN (alpha - 1) / (alpha + beta - 1)
               ELSE alpha / (alpha + beta - 1)
           END
       ) AS evidence_delta_json,
       alpha / (alpha + beta) AS confidence,
       strftime('%Y-%m-%dT%H:%M:%S', (started_at - started_micros) / 1000000, 'unixepoch')
           || printf('.%06dZ', started_micros) AS started_at,
       strftime('%Y-%m-%dT%H:%M:%S', (completed_at - completed_micros) / 1000000, 'unixepoch')
           || printf('.%06dZ', completed_micros) AS completed_at
FROM (
    SELECT thread.*,
           1.0 + legacy_alpha + successes - flips AS alpha,
           1.0 + legacy_beta + failures + flips AS beta
    FROM (
        SELECT s.number AS session_number,
               s.id AS session_id,
               s.legacy_alpha,
               s.legacy_beta,
               sl.start + t.position - sl.segment_offset AS turn_number,
               t.user_message,
               t.assistant_response,
               t.user_linearity,
               t.assistant_linearity,
               t.tools_json,
               t.own_tool_calls,
               t.observes,
               sl.base_succeeded + t.sum_succeeded AS successes,
               sl.base_failed + t.sum_failed AS failures,
               s.flipped > 0 AND EXISTS (
                   SELECT 1 FROM flipped_turns f
                   WHERE f.segment_id = t.segment_id AND f.position = t.position
               ) AS is_flipped,
               CASE WHEN s.flipped = 0 THEN 0 ELSE (
                   SELECT count(*)
                   FROM slices before
                   JOIN flipped_turns f ON f.segment_id = before.segment_id
                       AND f.position >= before.segment_offset
                       AND f.position < before.segment_offset - before.start
                           + min(coalesce(before.stop, s.turn_count),
                                 sl.start + t.position - sl.segment_offset + 1)
                   WHERE before.history_id = s.history_id
                       AND before.start <= sl.start + t.position - sl.segment_offset
               ) END AS flips,
               t.started_at,
               t.completed_at,
               ((t.started_at % 1000000) + 1000000) % 1000000 AS started_micros,
               ((t.completed_at % 1000000) + 1000000) % 1000000 AS completed_micros
        FROM chat_sessions s
        JOIN slices sl ON sl.history_id = s.history_id AND sl.start < s.turn_count
        JOIN turns t ON t.segment_id = sl.segment_id
            AND t.position >= sl.segment_offset
            AND t.position < sl.segment_offset - sl.start + min(coalesce(sl.stop, s.turn_count), s.turn_count)
    ) AS thread
);

CREATE TRIGGER chat_turns_insert INSTEAD OF INSERT ON chat_turns BEGIN
    SELECT raise(ABORT, 'chat_turns is a view for reading: write with POST /api/chat/{id}/send or membrane append');
END;
CREATE TRIGGER chat_turns_update INSTEAD OF UPDATE ON chat_turns BEGIN
    SELECT raise(ABORT, 'finished turns never change: fork or rewind with the API and send again');
END;
CREATE TRIGGER chat_turns_delete INSTEAD OF DELETE ON chat_turns BEGIN
    SELECT raise(ABORT, 'chat_turns is a view for reading: use POST /api/chat/{id}/rewind or DELETE /api/chat/{id}');
END;
