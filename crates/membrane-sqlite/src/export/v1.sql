CREATE TABLE chat_sessions (
    id TEXT PRIMARY KEY,
    project_id TEXT,
    parent_id TEXT REFERENCES chat_sessions(id),
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
    last_active TEXT NOT NULL
);
CREATE TABLE chat_turns (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id TEXT NOT NULL REFERENCES chat_sessions(id) ON DELETE CASCADE,
    turn_number INTEGER NOT NULL,
    user_message TEXT NOT NULL,
    assistant_response TEXT NOT NULL,
    user_linearity TEXT NOT NULL DEFAULT 'preserved',
    assistant_linearity TEXT NOT NULL DEFAULT 'preserved',
    tools_json TEXT,
    evidence_delta_json TEXT,
    confidence REAL,
    started_at TEXT NOT NULL,
    completed_at TEXT NOT NULL,
    UNIQUE(session_id, turn_number)
);
CREATE TABLE chat_crystals (
    session_id TEXT PRIMARY KEY REFERENCES chat_sessions(id) ON DELETE CASCADE,
    title TEXT NOT NULL,
    summary TEXT NOT NULL,
    key_decisions_json TEXT,
    artifacts_json TEXT,
    final_evidence_json TEXT,
    final_turn_count INTEGER NOT NULL,
    created_at TEXT NOT NULL
);
CREATE TABLE chat_checkpoints (
    id TEXT PRIMARY KEY,
    session_id TEXT NOT NULL REFERENCES chat_sessions(id) ON DELETE CASCADE,
    turn_count INTEGER NOT NULL,
    context_json TEXT NOT NULL,
    evidence_json TEXT NOT NULL,
    created_at TEXT NOT NULL
);
CREATE INDEX idx_chat_sessions_project ON chat_sessions(project_id);
CREATE INDEX idx_chat_sessions_parent ON chat_sessions(parent_id);
CREATE INDEX idx_chat_sessions_active ON chat_sessions(last_active);
CREATE INDEX idx_chat_turns_session ON chat_turns(session_id, turn_number);
