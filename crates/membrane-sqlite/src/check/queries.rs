//! Checks that are one query each: its rows are the findings, its first column names the row.

use super::report::Theme;

/// A check: its theme, a sentence about each finding, and the query.
pub(super) struct Query(pub(super) Theme, pub(super) &'static str, pub(super) &'static str);

/// The turns that session `s` sees, as `t`.
macro_rules! seen {
    () => {
        "FROM slices sl JOIN turns t ON t.segment_id = sl.segment_id AND t.position >= sl.segment_offset
            AND t.position < sl.segment_offset - sl.start + min(coalesce(sl.stop, s.turn_count), s.turn_count)
        WHERE sl.history_id = s.history_id AND sl.start < s.turn_count"
    };
}

/// How many turns each history has: `stop` of its last slice, or up to the end of its open segment. `turn_count` is as
/// far as any checkpoint may see: a segment whose owner was deleted while it was open has no known end. `known` is as
/// far as a named one may, which keeps all its turns.
macro_rules! ends {
    () => {
        "SELECT history_id, max(known) AS known, max(CASE WHEN is_endless THEN 9223372036854775807 ELSE known END) AS turn_count
        FROM (SELECT h.id AS history_id,
            sl.stop IS NULL AND sl.history_id IS NOT NULL AND g.owner_id IS NULL AND g.sealed_at IS NULL AS is_endless,
            CASE WHEN sl.stop IS NOT NULL THEN sl.stop WHEN sl.history_id IS NULL THEN 0
                ELSE sl.start - sl.segment_offset + max(coalesce(g.sealed_at, 0),
                    coalesce((SELECT max(position) + 1 FROM turns WHERE segment_id = sl.segment_id), 0),
                    coalesce((SELECT max(head_position) FROM chat_sessions WHERE head_segment_id = g.id
                        AND g.sealed_at IS NULL AND id = g.owner_id AND turn_count = sl.start - sl.segment_offset + head_position), 0))
            END AS known
        FROM histories h LEFT JOIN slices sl ON sl.history_id = h.id LEFT JOIN segments g ON g.id = sl.segment_id)
        GROUP BY history_id"
    };
}

/// How many turns each history has.
pub(crate) const HISTORY_ENDS: &str = ends!();

/// The turns that no session and no checkpoint reaches.
pub(crate) const UNREACHED: &str = "SELECT t.number FROM turns t WHERE NOT EXISTS (
        SELECT 1 FROM slices sl JOIN (
            SELECT history_id, max(turn_count) AS turn_count FROM (
                SELECT history_id, turn_count FROM chat_sessions
                UNION ALL SELECT history_id, turn_count FROM chat_checkpoints)
            GROUP BY history_id) c ON c.history_id = sl.history_id
        WHERE sl.segment_id = t.segment_id AND t.position >= sl.segment_offset
            AND t.position < sl.segment_offset - sl.start + min(coalesce(sl.stop, c.turn_count), c.turn_count))";

pub(super) const QUERIES: &[Query] = &[
    Query(
        Theme::References,
        "history {}: it is named, and not there",
        "SELECT DISTINCT history_id FROM (SELECT history_id FROM chat_sessions UNION SELECT history_id FROM slices
            UNION SELECT history_id FROM chat_checkpoints UNION SELECT history_id FROM legacy_sets)
            WHERE history_id NOT IN (SELECT id FROM histories)",
    ),
    Query(
        Theme::References,
        "segment {}: it is named, and not there",
        "SELECT DISTINCT segment_id FROM (SELECT segment_id FROM turns UNION SELECT segment_id FROM slices)
            WHERE segment_id NOT IN (SELECT id FROM segments)",
    ),
    Query(
        Theme::Counts,
        "session {}: turn_count is not the number of turns that its history shows",
        concat!("SELECT s.id FROM chat_sessions s WHERE s.turn_count <> (SELECT count(*) ", seen!(), ")"),
    ),
    Query(
        Theme::Slices,
        "history {}: its slices leave a gap or overlap",
        "SELECT DISTINCT history_id FROM (SELECT history_id, start,
                lag(stop, 1, 0) OVER (PARTITION BY history_id ORDER BY start) AS expected, stop, segment_offset FROM slices)
            WHERE start IS NOT expected OR stop <= start OR segment_offset < 0",
    ),
    Query(
        Theme::Slices,
        "segment {}: two histories could append to it",
        "SELECT segment_id FROM slices WHERE stop IS NULL GROUP BY segment_id HAVING count(*) > 1",
    ),
    Query(
        Theme::Slices,
        "history {}: the totals of its slices do not go on from one to the next",
        "SELECT DISTINCT history_id FROM (
            SELECT sl.history_id, sl.start, sl.stop, f.number,
                (sl.base_succeeded, sl.base_failed, sl.base_tool_calls, sl.base_tokens, sl.base_chars, sl.base_code_blocks)
                    IS NOT (0, 0, 0, 0, 0, 0) AS has_base,
                (sl.base_succeeded + f.sum_succeeded - (f.observes IS 1), sl.base_failed + f.sum_failed - (f.observes IS 0),
                 sl.base_tool_calls + f.sum_tool_calls - f.own_tool_calls, sl.base_tokens + f.sum_tokens - f.own_tokens,
                 sl.base_chars + f.sum_chars - f.own_chars, sl.base_code_blocks + f.sum_code_blocks - f.own_code_blocks)
                IS NOT (coalesce(p.base_succeeded + l.sum_succeeded, 0), coalesce(p.base_failed + l.sum_failed, 0),
                 coalesce(p.base_tool_calls + l.sum_tool_calls, 0), coalesce(p.base_tokens + l.sum_tokens, 0),
                 coalesce(p.base_chars + l.sum_chars, 0), coalesce(p.base_code_blocks + l.sum_code_blocks, 0)) AS breaks,
                l.number AS last
            FROM slices sl
            LEFT JOIN turns f ON f.segment_id = sl.segment_id AND f.position = sl.segment_offset
            LEFT JOIN slices p ON p.history_id = sl.history_id AND p.stop = sl.start
            LEFT JOIN turns l ON l.segment_id = p.segment_id AND l.position = p.segment_offset + p.stop - p.start - 1)
        WHERE (stop IS NULL AND has_base)
            OR (number IS NOT NULL AND (start = 0 OR last IS NOT NULL) AND breaks)",
    ),
    Query(
        Theme::Totals,
        "session {}: totals are not the sum over its turns",
        concat!(
            "SELECT s.id FROM chat_sessions s WHERE s.turn_count = (SELECT count(*) ",
            seen!(),
            ") AND (s.sum_succeeded, s.sum_failed, s.sum_tool_calls, s.context_size, s.sum_chars, s.sum_code_blocks)
            IS NOT (SELECT coalesce(sum(t.observes IS 1), 0), coalesce(sum(t.observes IS 0), 0),
                coalesce(sum(t.own_tool_calls), 0), coalesce(sum(t.own_tokens), 0),
                coalesce(sum(t.own_chars), 0), coalesce(sum(t.own_code_blocks), 0) ",
            seen!(),
            ")"
        ),
    ),
    Query(
        Theme::Totals,
        "session {}: last_order_at is not its last turn's",
        concat!(
            "SELECT s.id FROM chat_sessions s WHERE s.turn_count = (SELECT count(*) ",
            seen!(),
            ") AND s.last_order_at IS NOT (SELECT t.order_at ",
            seen!(),
            " ORDER BY sl.start DESC, t.position DESC LIMIT 1)"
        ),
    ),
    Query(
        Theme::Totals,
        "turn {}: its running totals do not follow from the turn before",
        "SELECT t.segment_id || ':' || t.position FROM turns t JOIN turns p
            ON p.segment_id = t.segment_id AND p.position = t.position - 1
            WHERE (t.sum_succeeded, t.sum_failed, t.sum_tool_calls, t.sum_tokens, t.sum_chars, t.sum_code_blocks)
            IS NOT (p.sum_succeeded + (t.observes IS 1), p.sum_failed + (t.observes IS 0),
                p.sum_tool_calls + t.own_tool_calls, p.sum_tokens + t.own_tokens,
                p.sum_chars + t.own_chars, p.sum_code_blocks + t.own_code_blocks)",
    ),
    Query(
        Theme::Totals,
        "turn {}: its place in time does not follow from the turn before",
        "SELECT t.segment_id || ':' || t.position FROM turns t LEFT JOIN turns p
            ON p.segment_id = t.segment_id AND p.position = t.position - 1
            WHERE t.order_at < t.started_at OR t.order_at <> max(t.started_at, p.order_at + 1)",
    ),
    Query(
        Theme::Totals,
        "turn {}: facts are not what its columns say",
        "SELECT segment_id || ':' || position FROM turns WHERE facts IS NOT
            CASE WHEN status = 'complete' AND observes IS NULL THEN 'l' ELSE substr(status, 1, 1) END || substr(user_linearity, 1, 1) || substr(assistant_linearity, 1, 1)
            || (tools_json IS NOT NULL OR extra_json IS NOT NULL) || ',' || order_at || ',' || (order_at - started_at) || ','
            || (completed_at - started_at) || ',' || sum_succeeded || ',' || sum_failed || ',' || sum_tool_calls || ','
            || sum_tokens || ',' || sum_chars || ',' || sum_code_blocks",
    ),
    Query(
        Theme::Evidence,
        "session {}: the count of turns that signals turned is wrong",
        "SELECT s.id FROM chat_sessions s WHERE s.flipped <> (
            SELECT count(*) FROM slices sl JOIN flipped_turns f ON f.segment_id = sl.segment_id
                AND f.position >= sl.segment_offset
                AND f.position < sl.segment_offset - sl.start + min(coalesce(sl.stop, s.turn_count), s.turn_count)
            WHERE sl.history_id = s.history_id AND sl.start < s.turn_count)",
    ),
    Query(
        Theme::Evidence,
        "session {}: legacy observations are not the sum of its history's",
        "SELECT s.id FROM chat_sessions s WHERE
            abs(s.legacy_alpha - (SELECT coalesce(sum(alpha), 0) FROM legacy_sets WHERE history_id = s.history_id)) > 1e-9
            OR abs(s.legacy_beta - (SELECT coalesce(sum(beta), 0) FROM legacy_sets WHERE history_id = s.history_id)) > 1e-9",
    ),
    Query(
        Theme::Signals,
        "signal {}: its turn is gone",
        "SELECT x.number FROM turn_signals x LEFT JOIN turns t
            ON t.segment_id = x.segment_id AND t.position = x.position WHERE t.number IS NULL",
    ),
    Query(
        Theme::Signals,
        "turn {}: whether signals turned it is not what its newest signal says",
        "SELECT t.segment_id || ':' || t.position FROM turns t
            WHERE (t.segment_id, t.position) IN (SELECT segment_id, position FROM turn_signals
                UNION SELECT segment_id, position FROM flipped_turns)
            AND EXISTS (SELECT 1 FROM flipped_turns f WHERE f.segment_id = t.segment_id AND f.position = t.position)
            IS NOT (t.observes IS 1 AND coalesce((SELECT kind IN ('negative', 'correction') FROM turn_signals x
                WHERE x.segment_id = t.segment_id AND x.position = t.position ORDER BY number DESC LIMIT 1), 0))",
    ),
    Query(
        Theme::Signals,
        "turn {}: it counts as turned by signals, and neither it nor a signal is there",
        "SELECT f.segment_id || ':' || f.position FROM flipped_turns f WHERE NOT EXISTS (
                SELECT 1 FROM turns t WHERE t.segment_id = f.segment_id AND t.position = f.position)
            AND NOT EXISTS (SELECT 1 FROM turn_signals x WHERE x.segment_id = f.segment_id AND x.position = f.position)",
    ),
    Query(
        Theme::Heads,
        "session {}: it may append to a segment at whose end it does not stand",
        "SELECT s.id FROM chat_sessions s LEFT JOIN segments g ON g.id = s.head_segment_id
            WHERE (s.head_segment_id IS NULL) <> (s.head_position IS NULL)
                OR s.head_segment_id IS NOT NULL AND (g.id IS NULL OR g.owner_id IS NOT s.id OR g.sealed_at IS NOT NULL
                OR s.head_position <= coalesce((SELECT max(position) FROM turns WHERE segment_id = g.id), -1)
                OR NOT EXISTS (SELECT 1 FROM slices sl WHERE sl.history_id = s.history_id AND sl.segment_id = g.id
                    AND sl.stop IS NULL AND sl.segment_offset + s.turn_count - sl.start = s.head_position))",
    ),
    Query(
        Theme::Heads,
        "segment {}: its owner is gone",
        "SELECT id FROM segments WHERE owner_id NOT IN (SELECT id FROM chat_sessions)",
    ),
    Query(
        Theme::Heads,
        "segment {}: it is open, and its owner does not stand at its end",
        "SELECT g.id FROM segments g JOIN chat_sessions s ON s.id = g.owner_id
            WHERE g.sealed_at IS NULL AND s.head_segment_id IS NOT g.id",
    ),
    Query(
        Theme::Heads,
        "segment {}: it is sealed before its last turn",
        "SELECT g.id FROM segments g WHERE g.sealed_at <= (SELECT max(position) FROM turns WHERE segment_id = g.id)",
    ),
    Query(
        Theme::Heads,
        "segment {}: turns are missing in it, and has_gaps does not say so",
        "SELECT g.id FROM segments g WHERE g.has_gaps = 0 AND (SELECT count(*) <> coalesce(max(position) + 1, 0)
            FROM turns WHERE segment_id = g.id)",
    ),
    Query(
        Theme::Reach,
        "history {}: nothing points at it",
        "SELECT h.id FROM histories h WHERE NOT EXISTS (SELECT 1 FROM chat_sessions WHERE history_id = h.id)
            AND NOT EXISTS (SELECT 1 FROM chat_checkpoints WHERE history_id = h.id)",
    ),
    Query(
        Theme::Reach,
        "segment {}: no history reads from it",
        "SELECT g.id FROM segments g WHERE NOT EXISTS (SELECT 1 FROM slices WHERE segment_id = g.id)",
    ),
    Query(
        Theme::Reach,
        "turn {}: no session and no checkpoint reaches it",
        // The same as UNREACHED, by name.
        "SELECT t.segment_id || ':' || t.position FROM turns t WHERE NOT EXISTS (
            SELECT 1 FROM slices sl JOIN (
                SELECT history_id, max(turn_count) AS turn_count FROM (
                    SELECT history_id, turn_count FROM chat_sessions
                    UNION ALL SELECT history_id, turn_count FROM chat_checkpoints)
                GROUP BY history_id) c ON c.history_id = sl.history_id
            WHERE sl.segment_id = t.segment_id AND t.position >= sl.segment_offset
                AND t.position < sl.segment_offset - sl.start + min(coalesce(sl.stop, c.turn_count), c.turn_count))",
    ),
    Query(
        Theme::Checkpoints,
        "checkpoint {}: its session is gone",
        "SELECT id FROM chat_checkpoints WHERE session_id NOT IN (SELECT id FROM chat_sessions)",
    ),
    Query(
        Theme::Checkpoints,
        "checkpoint {}: turn_count is more than its history has",
        concat!(
            "SELECT c.id FROM chat_checkpoints c JOIN (",
            ends!(),
            ") e ON e.history_id = c.history_id WHERE c.turn_count NOT BETWEEN 0 AND iif(c.kind = 'named', e.known, e.turn_count)"
        ),
    ),
    Query(
        Theme::Checkpoints,
        "checkpoint {}: some of its turns are gone",
        concat!(
            "SELECT s.id FROM chat_checkpoints s JOIN (",
            ends!(),
            ") e ON e.history_id = s.history_id AND s.turn_count <= e.known
            WHERE s.kind = 'named' AND s.turn_count <> (SELECT count(*) ",
            seen!(),
            ")"
        ),
    ),
    Query(
        Theme::Crystals,
        "crystal of session {}: the session is gone",
        "SELECT session_id FROM chat_crystals WHERE session_id NOT IN (SELECT id FROM chat_sessions)",
    ),
    Query(
        Theme::Runs,
        "session {}: its state does not fit its run",
        "SELECT s.id FROM chat_sessions s LEFT JOIN runs r ON r.session_id = s.id
            WHERE s.state <> CASE r.phase WHEN 'running' THEN 'processing' WHEN 'awaiting_tool' THEN 'awaiting_tool'
                ELSE 'idle' END",
    ),
    Query(
        Theme::Runs,
        "run {}: its session is gone",
        "SELECT id FROM runs WHERE session_id NOT IN (SELECT id FROM chat_sessions)",
    ),
    Query(
        Theme::Runs,
        "pieces of run {}: the run is gone",
        "SELECT DISTINCT run_id FROM run_pieces WHERE run_id NOT IN (SELECT id FROM runs)",
    ),
    Query(
        Theme::Runs,
        "ended run of session {}: the session is gone",
        "SELECT session_id FROM ended_runs WHERE session_id NOT IN (SELECT id FROM chat_sessions)",
    ),
    // A key may name a session that is gone: the one under which it was deleted.
    Query(
        Theme::Keys,
        "idempotency key {}: the session that it created is gone",
        "SELECT route || ' ' || key FROM idempotency_key_creations
            WHERE created_session_id NOT IN (SELECT id FROM chat_sessions)",
    ),
    Query(
        Theme::Keys,
        "idempotency key {}: it is named, and not there",
        "SELECT c.route || ' ' || c.key FROM idempotency_key_creations c WHERE NOT EXISTS (
            SELECT 1 FROM idempotency_keys k WHERE k.route = c.route AND k.session_id = c.session_id AND k.key = c.key)",
    ),
    Query(
        Theme::Tombstones,
        "tombstone {}: its family is gone",
        "SELECT d.id FROM deleted_sessions d WHERE NOT EXISTS (
            SELECT 1 FROM chat_sessions s WHERE s.family_id = d.family_id)",
    ),
    Query(
        Theme::Tombstones,
        "tombstone {}: the session lives",
        "SELECT id FROM deleted_sessions WHERE id IN (SELECT id FROM chat_sessions)",
    ),
];
