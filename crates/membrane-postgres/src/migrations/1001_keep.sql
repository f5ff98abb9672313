-- The keep: sessions that point into histories, histories that are slices over segments of turns.
--
-- chat_sessions, chat_checkpoints and chat_crystals hold the columns that existing SQL readers know, in
-- their old order, then Membrane's own. chat_turns is a view (see below). Text is compared by its bytes
-- (COLLATE "C"). A NUL, which text cannot hold, is U+0001 and '0'; U+0001 is U+0001 and '1'.
--
-- Numbers of segments and histories begin with 15 bits of a hash of their family's id, then 48 of a
-- sequence: a family of forks is one range of keys in every table but the sessions' own.
CREATE SEQUENCE membrane_numbers AS BIGINT MAXVALUE 281474976710655;

-- Append-only runs of turns. A turn's identity is (segment, position). While sealed_at is NULL the owner
-- may append in place and its head tells the next position; once sealed, nobody appends.
CREATE TABLE segments (
    id BIGINT PRIMARY KEY,
    family_id TEXT COLLATE "C" NOT NULL,
    owner_id TEXT COLLATE "C",
    sealed_at BIGINT,
    has_gaps BOOLEAN NOT NULL DEFAULT FALSE
);
CREATE INDEX segments_owner_idx ON segments (owner_id) WHERE owner_id IS NOT NULL;

CREATE TABLE histories (
    id BIGINT PRIMARY KEY,
    family_id TEXT COLLATE "C" NOT NULL
);

-- Turns start..stop of a history are the positions from segment_offset on of a segment. An open slice
-- (stop IS NULL) grows with appends. A history's totals at a turn are the turn's sums plus base.
CREATE TABLE slices (
    history_id BIGINT NOT NULL REFERENCES histories (id),
    start BIGINT NOT NULL,
    stop BIGINT,
    segment_id BIGINT NOT NULL REFERENCES segments (id),
    segment_offset BIGINT NOT NULL,
    base_succeeded BIGINT NOT NULL,
    base_failed BIGINT NOT NULL,
    base_tool_calls BIGINT NOT NULL,
    base_tokens BIGINT NOT NULL,
    base_chars BIGINT NOT NULL,
    base_code_blocks BIGINT NOT NULL,
    PRIMARY KEY (history_id, start)
);
CREATE INDEX slices_segment_idx ON slices (segment_id);

-- What old files knew of a session without knowing of which turn.
CREATE TABLE legacy_sets (
    history_id BIGINT NOT NULL REFERENCES histories (id),
    origin_id TEXT COLLATE "C" NOT NULL,
    alpha DOUBLE PRECISION NOT NULL,
    beta DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (history_id, origin_id)
);

-- Finished turns: written once. Times are microseconds since 1970 UTC. own_* is what the turn adds,
-- sum_* the segment's running totals with it; observes is true, false or NULL (observes nothing). A
-- complete turn that observes nothing is part of an old total.
CREATE TABLE turns (
    segment_id BIGINT NOT NULL,
    position BIGINT NOT NULL,
    order_at BIGINT NOT NULL,
    started_at BIGINT NOT NULL,
    completed_at BIGINT NOT NULL,
    own_tool_calls BIGINT NOT NULL,
    own_tokens BIGINT NOT NULL,
    own_chars BIGINT NOT NULL,
    own_code_blocks BIGINT NOT NULL,
    sum_succeeded BIGINT NOT NULL,
    sum_failed BIGINT NOT NULL,
    sum_tool_calls BIGINT NOT NULL,
    sum_tokens BIGINT NOT NULL,
    sum_chars BIGINT NOT NULL,
    sum_code_blocks BIGINT NOT NULL,
    observes BOOLEAN,
    id TEXT COLLATE "C" NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    user_linearity TEXT COLLATE "C" NOT NULL,
    assistant_linearity TEXT COLLATE "C" NOT NULL,
    tools_json TEXT COLLATE "C",
    extra_json TEXT COLLATE "C",
    user_message TEXT COLLATE "C" NOT NULL,
    assistant_response TEXT COLLATE "C" NOT NULL,
    CONSTRAINT idx_chat_turns_session PRIMARY KEY (segment_id, position)
);

-- Signals on a turn's identity; the newest one counts.
CREATE TABLE turn_signals (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    segment_id BIGINT NOT NULL,
    position BIGINT NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    comment TEXT COLLATE "C",
    created_at BIGINT NOT NULL
);
CREATE INDEX turn_signals_turn_idx ON turn_signals (segment_id, position);

-- The turns that observed a success and count as a failure because of their newest signal.
CREATE TABLE flipped_turns (
    segment_id BIGINT NOT NULL,
    position BIGINT NOT NULL,
    PRIMARY KEY (segment_id, position)
);

-- parent_id and merged_into hold the ids of sessions that may be deleted by now: no foreign keys.
-- turn_count, context_size, evidence_json and sum_* are derived from the history and kept exact.
CREATE TABLE chat_sessions (
    id TEXT COLLATE "C" PRIMARY KEY,
    project_id TEXT COLLATE "C",
    parent_id TEXT COLLATE "C",
    fork_point BIGINT,
    branch_name TEXT COLLATE "C" NOT NULL DEFAULT 'main',
    state TEXT COLLATE "C" NOT NULL DEFAULT 'idle',
    turn_count BIGINT NOT NULL DEFAULT 0,
    context_size BIGINT NOT NULL DEFAULT 0,
    evidence_json TEXT COLLATE "C" NOT NULL DEFAULT '{}',
    metadata_json TEXT COLLATE "C" NOT NULL DEFAULT '{}',
    is_merged BOOLEAN NOT NULL DEFAULT FALSE,
    merged_into TEXT COLLATE "C",
    created_at TEXT COLLATE "C" NOT NULL,
    last_active TEXT COLLATE "C" NOT NULL,
    number BIGINT GENERATED ALWAYS AS IDENTITY UNIQUE,
    family_id TEXT COLLATE "C" NOT NULL,
    title TEXT COLLATE "C",
    tags_json TEXT COLLATE "C" NOT NULL DEFAULT '[]',
    pinned BOOLEAN NOT NULL DEFAULT FALSE,
    archived BOOLEAN NOT NULL DEFAULT FALSE,
    "trailing" BOOLEAN NOT NULL DEFAULT FALSE,
    version BIGINT NOT NULL,
    history_id BIGINT NOT NULL REFERENCES histories (id),
    head_segment_id BIGINT,
    head_position BIGINT,
    last_order_at BIGINT,
    flipped BIGINT NOT NULL DEFAULT 0,
    legacy_alpha DOUBLE PRECISION NOT NULL DEFAULT 0,
    legacy_beta DOUBLE PRECISION NOT NULL DEFAULT 0,
    sum_succeeded BIGINT NOT NULL DEFAULT 0,
    sum_failed BIGINT NOT NULL DEFAULT 0,
    sum_tool_calls BIGINT NOT NULL DEFAULT 0,
    sum_chars BIGINT NOT NULL DEFAULT 0,
    sum_code_blocks BIGINT NOT NULL DEFAULT 0
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
    id TEXT COLLATE "C" PRIMARY KEY,
    family_id TEXT COLLATE "C" NOT NULL,
    parent_id TEXT COLLATE "C",
    fork_point BIGINT,
    deleted_at TEXT COLLATE "C" NOT NULL
);
CREATE INDEX deleted_sessions_family_idx ON deleted_sessions (family_id);

-- Checkpoints point; context_json is for old readers and stays '{}'. number is the order of making, which
-- a clock that is set back does not change.
CREATE TABLE chat_checkpoints (
    id TEXT COLLATE "C" PRIMARY KEY,
    session_id TEXT COLLATE "C" NOT NULL REFERENCES chat_sessions (id) ON DELETE CASCADE,
    turn_count BIGINT NOT NULL,
    context_json TEXT COLLATE "C" NOT NULL DEFAULT '{}',
    evidence_json TEXT COLLATE "C" NOT NULL,
    created_at TEXT COLLATE "C" NOT NULL,
    number BIGINT GENERATED ALWAYS AS IDENTITY UNIQUE,
    name TEXT COLLATE "C",
    kind TEXT COLLATE "C" NOT NULL,
    history_id BIGINT NOT NULL REFERENCES histories (id)
);
CREATE INDEX chat_checkpoints_session_idx ON chat_checkpoints (session_id, number);
CREATE INDEX chat_checkpoints_automatic_idx ON chat_checkpoints (session_id, number)
    WHERE kind <> 'named';
CREATE INDEX chat_checkpoints_history_idx ON chat_checkpoints (history_id);

CREATE TABLE chat_crystals (
    session_id TEXT COLLATE "C" PRIMARY KEY REFERENCES chat_sessions (id) ON DELETE CASCADE,
    title TEXT COLLATE "C" NOT NULL,
    summary TEXT COLLATE "C" NOT NULL,
    key_decisions_json TEXT COLLATE "C",
    artifacts_json TEXT COLLATE "C",
    final_evidence_json TEXT COLLATE "C",
    final_turn_count BIGINT NOT NULL,
    created_at TEXT COLLATE "C" NOT NULL
);

-- Unfinished turns. lease_until is by the database's clock; NULL: no lease.
CREATE TABLE runs (
    id TEXT COLLATE "C" PRIMARY KEY,
    session_id TEXT COLLATE "C" NOT NULL UNIQUE REFERENCES chat_sessions (id) ON DELETE CASCADE,
    turn_id TEXT COLLATE "C" NOT NULL,
    user_message TEXT COLLATE "C" NOT NULL,
    user_mentions_json TEXT COLLATE "C",
    user_linearity TEXT COLLATE "C" NOT NULL,
    model TEXT COLLATE "C",
    phase TEXT COLLATE "C" NOT NULL,
    owner_id TEXT COLLATE "C" NOT NULL,
    lease_token BIGINT NOT NULL,
    lease_until TIMESTAMPTZ,
    started_at TEXT COLLATE "C" NOT NULL
);

CREATE TABLE run_pieces (
    run_id TEXT COLLATE "C" NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    seq BIGINT NOT NULL,
    body_json TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (run_id, seq)
);

-- Requests that must not happen twice. session_id is '' for a route that creates a session.
CREATE TABLE idempotency_keys (
    route TEXT COLLATE "C" NOT NULL,
    session_id TEXT COLLATE "C" NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    body_hash BYTEA NOT NULL,
    result TEXT COLLATE "C" NOT NULL,
    stamps_json TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (route, session_id, key)
);
CREATE INDEX idempotency_keys_session_idx ON idempotency_keys (session_id);
CREATE INDEX idempotency_keys_created_idx ON idempotency_keys (created_at);

-- The sessions that a key's change created: the key goes with any of them.
CREATE TABLE idempotency_key_creations (
    created_session_id TEXT COLLATE "C" NOT NULL,
    route TEXT COLLATE "C" NOT NULL,
    session_id TEXT COLLATE "C" NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (created_session_id, route, session_id, key),
    FOREIGN KEY (route, session_id, key) REFERENCES idempotency_keys (route, session_id, key)
        ON DELETE CASCADE
);
CREATE INDEX idempotency_key_creations_key_idx ON idempotency_key_creations (route, session_id, key);

-- A time of ours as the guide's columns hold it. Intervals are multiplied as floating point, which is exact for each part.
CREATE FUNCTION membrane_time(micros BIGINT) RETURNS TEXT LANGUAGE SQL IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT to_char(
        TIMESTAMP '1970-01-01' + micros / 1000000 * INTERVAL '1 second' + micros % 1000000 * INTERVAL '1 microsecond',
        'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
    )
$$;

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
       json_build_object(
           'tools_executed', own_tool_calls,
           'tools_succeeded', (SELECT count(*) FROM json_array_elements(tools_json::json) AS tool
                               WHERE tool ->> 'success' = 'true'),
           'confidence_change', alpha / (alpha + beta) - CASE
               WHEN observes IS NULL THEN alpha / (alpha + beta)
               WHEN observes AND NOT is_flipped THEN (alpha - 1) / (alpha + beta - 1)
               ELSE alpha / (alpha + beta - 1)
           END
       )::text AS evidence_delta_json,
       alpha / (alpha + beta) AS confidence,
       membrane_time(started_at) AS started_at,
       membrane_time(completed_at) AS completed_at
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
                           + least(coalesce(before.stop, s.turn_count),
                                   sl.start + t.position - sl.segment_offset + 1)
                   WHERE before.history_id = s.history_id
                       AND before.start <= sl.start + t.position - sl.segment_offset
               ) END AS flips,
               t.started_at,
               t.completed_at
        FROM chat_sessions s
        JOIN slices sl ON sl.history_id = s.history_id AND sl.start < s.turn_count
        JOIN turns t ON t.segment_id = sl.segment_id
            AND t.position >= sl.segment_offset
            AND t.position < sl.segment_offset - sl.start + least(coalesce(sl.stop, s.turn_count), s.turn_count)
    ) AS thread
) AS counted;

CREATE FUNCTION membrane_refuse_write() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'feature_not_supported', MESSAGE = CASE TG_OP
        WHEN 'INSERT' THEN
            'chat_turns is a view for reading: write with POST /api/chat/{id}/send or membrane append'
        WHEN 'UPDATE' THEN
            'finished turns never change: fork or rewind with the API and send again'
        ELSE
            'chat_turns is a view for reading: use POST /api/chat/{id}/rewind or DELETE /api/chat/{id}'
        END;
END
$$;
CREATE TRIGGER chat_turns_refuse_write INSTEAD OF INSERT OR UPDATE OR DELETE ON chat_turns
    FOR EACH ROW EXECUTE FUNCTION membrane_refuse_write();
