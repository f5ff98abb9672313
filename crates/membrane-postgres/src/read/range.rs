//! What is read of a range of turns, as SQL: of a session's thread, or of a cut.
//!
//! Macros, so that each statement is one constant text.

/// The session whose thread is read, as `s`: $1 its id, $2 the first turn, $3 one past the last.
macro_rules! of_session {
    () => {
        "(SELECT history_id, least(turn_count, $3) AS stop, flipped FROM chat_sessions WHERE id = $1) s"
    };
}

/// A cut, in the same shape: $1 its history, $3 at most its end.
macro_rules! of_cut {
    () => {
        "(SELECT $1::BIGINT AS history_id, $3::BIGINT AS stop, 1 AS flipped) s"
    };
}

/// What hangs on positions of segments in the range, as `at`.
macro_rules! in_range {
    ($table:literal) => {
        concat!(
            " JOIN slices sl ON sl.history_id = s.history_id AND sl.start < s.stop \
             AND (sl.stop IS NULL OR sl.stop > $2) JOIN ",
            $table,
            " at ON at.segment_id = sl.segment_id AND at.position >= sl.segment_offset + greatest($2 - sl.start, 0) \
             AND at.position < sl.segment_offset - sl.start + least(coalesce(sl.stop, s.stop), s.stop)"
        )
    };
}

/// What a turn's row holds of its content.
macro_rules! content {
    () => {
        "at.id, at.status, at.user_linearity, at.assistant_linearity, at.user_message, at.assistant_response, \
         at.tools_json, at.extra_json"
    };
}

/// Not put in order: an index is read in order anyway, and sorting would move all the text.
macro_rules! turns {
    ($of:ident) => {
        concat!(
            "SELECT at.segment_id, at.position, sl.start + at.position - sl.segment_offset, at.order_at, at.started_at, \
             at.completed_at, at.observes IS NULL, sl.base_succeeded + at.sum_succeeded, \
             sl.base_failed + at.sum_failed, sl.base_tool_calls + at.sum_tool_calls, \
             sl.base_tokens + at.sum_tokens, sl.base_chars + at.sum_chars, \
             sl.base_code_blocks + at.sum_code_blocks, ",
            content!(),
            " FROM ",
            $of!(),
            in_range!("turns")
        )
    };
}

/// What was said of turns in the range, oldest first.
macro_rules! signals {
    ($of:ident) => {
        concat!(
            "SELECT at.number, at.segment_id, at.position, at.kind, at.comment, at.created_at FROM ",
            $of!(),
            in_range!("turn_signals"),
            " ORDER BY at.number"
        )
    };
}

/// The turns in the range that signals turned.
macro_rules! flips {
    ($of:ident) => {
        concat!(
            "SELECT at.segment_id, at.position FROM ",
            $of!(),
            in_range!("flipped_turns"),
            " WHERE s.flipped > 0"
        )
    };
}

/// How many turns before the range signals turned.
macro_rules! flips_before {
    ($of:ident) => {
        concat!(
            "SELECT count(*) FROM ",
            $of!(),
            " JOIN slices sl ON sl.history_id = s.history_id AND sl.start < least($2, s.stop) \
             JOIN flipped_turns f ON f.segment_id = sl.segment_id AND f.position >= sl.segment_offset \
             AND f.position < sl.segment_offset - sl.start + least(coalesce(sl.stop, s.stop), s.stop, $2) \
             WHERE s.flipped > 0"
        )
    };
}

pub(super) use {content, flips, flips_before, in_range, of_cut, of_session, signals, turns};
