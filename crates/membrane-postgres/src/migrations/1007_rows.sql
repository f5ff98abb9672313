-- What appends are sent as: whole rows, and not an array for each column.
--
-- A statement that takes its rows apart from 32 arrays sets up as many functions and as many lists, which cost it 120
-- microseconds and another 7 for each row. From an array of rows it costs 10, and 1 for each row.

-- A session as an append expects to find it, and what becomes of it.
CREATE TYPE membrane_session_end AS (
    session_id TEXT,
    was_state TEXT,
    evidence_json TEXT,
    last_active TEXT,
    was_version BIGINT,
    was_flipped BIGINT,
    was_turn_count BIGINT,
    was_segment BIGINT,
    was_position BIGINT,
    is_version BIGINT,
    is_turn_count BIGINT,
    is_position BIGINT,
    is_order_at BIGINT,
    is_succeeded BIGINT,
    is_failed BIGINT,
    is_tool_calls BIGINT,
    is_context_size BIGINT,
    is_chars BIGINT,
    is_code_blocks BIGINT
);

-- A row of turns, after the place of its session among those of the statement.
CREATE TYPE membrane_turn_row AS (
    place BIGINT,
    segment_id BIGINT,
    position BIGINT,
    order_at BIGINT,
    started_at BIGINT,
    completed_at BIGINT,
    own_tool_calls BIGINT,
    own_tokens BIGINT,
    own_chars BIGINT,
    own_code_blocks BIGINT,
    sum_succeeded BIGINT,
    sum_failed BIGINT,
    sum_tool_calls BIGINT,
    sum_tokens BIGINT,
    sum_chars BIGINT,
    sum_code_blocks BIGINT,
    observes BOOLEAN,
    id TEXT,
    status TEXT,
    user_linearity TEXT,
    assistant_linearity TEXT,
    tools_json TEXT,
    extra_json TEXT,
    user_message TEXT,
    assistant_response TEXT
);
