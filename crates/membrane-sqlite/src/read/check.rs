//! Rows that contradict each other. Each check is one query whose rows are its findings.

use membrane_store::StoreError;
use rusqlite::Connection;

use crate::error::Doing;

/// What is checked: a sentence about the finding, and the query that finds the rows it is about.
const CHECKS: &[(&str, &str)] = &[
    (
        "session {}: turn_count is not the number of turns that its history shows",
        "SELECT s.id FROM chat_sessions s WHERE s.turn_count <> (
            SELECT count(*) FROM slices sl JOIN turns t ON t.segment_id = sl.segment_id
                AND t.position >= sl.segment_offset
                AND t.position < sl.segment_offset - sl.start + min(coalesce(sl.stop, s.turn_count), s.turn_count)
            WHERE sl.history_id = s.history_id AND sl.start < s.turn_count)",
    ),
    (
        "session {}: totals are not the sum over its turns",
        "SELECT s.id FROM chat_sessions s WHERE
            (s.sum_succeeded, s.sum_failed, s.sum_tool_calls, s.context_size, s.sum_chars, s.sum_code_blocks)
            IS NOT (SELECT coalesce(sum(t.observes IS 1), 0), coalesce(sum(t.observes IS 0), 0),
                coalesce(sum(t.own_tool_calls), 0), coalesce(sum(t.own_tokens), 0),
                coalesce(sum(t.own_chars), 0), coalesce(sum(t.own_code_blocks), 0)
            FROM slices sl JOIN turns t ON t.segment_id = sl.segment_id
                AND t.position >= sl.segment_offset
                AND t.position < sl.segment_offset - sl.start + min(coalesce(sl.stop, s.turn_count), s.turn_count)
            WHERE sl.history_id = s.history_id AND sl.start < s.turn_count)",
    ),
    (
        "session {}: the count of turns that signals turned is wrong",
        "SELECT s.id FROM chat_sessions s WHERE s.flipped <> (
            SELECT count(*) FROM slices sl JOIN flipped_turns f ON f.segment_id = sl.segment_id
                AND f.position >= sl.segment_offset
                AND f.position < sl.segment_offset - sl.start + min(coalesce(sl.stop, s.turn_count), s.turn_count)
            WHERE sl.history_id = s.history_id AND sl.start < s.turn_count)",
    ),
    (
        "session {}: legacy observations are not the sum of its history's",
        "SELECT s.id FROM chat_sessions s WHERE
            abs(s.legacy_alpha - (SELECT coalesce(sum(alpha), 0) FROM legacy_sets WHERE history_id = s.history_id)) > 1e-9
            OR abs(s.legacy_beta - (SELECT coalesce(sum(beta), 0) FROM legacy_sets WHERE history_id = s.history_id)) > 1e-9",
    ),
    (
        "session {}: evidence_json is not what its turns and signals say",
        "SELECT id FROM chat_sessions WHERE
            abs(coalesce(evidence_json ->> 'prior_alpha', -1) - (1 + legacy_alpha + sum_succeeded - flipped)) > 1e-9
            OR abs(coalesce(evidence_json ->> 'prior_beta', -1) - (1 + legacy_beta + sum_failed + flipped)) > 1e-9",
    ),
    (
        "session {}: it may append to a segment at whose end it does not stand",
        "SELECT s.id FROM chat_sessions s LEFT JOIN segments g ON g.id = s.head_segment_id
            WHERE s.head_segment_id IS NOT NULL AND (g.id IS NULL OR g.owner_id IS NOT s.id OR g.sealed_at IS NOT NULL
                OR s.head_position <= coalesce((SELECT max(position) FROM turns WHERE segment_id = g.id), -1)
                OR NOT EXISTS (SELECT 1 FROM slices sl WHERE sl.history_id = s.history_id AND sl.segment_id = g.id
                    AND sl.stop IS NULL AND sl.segment_offset + s.turn_count - sl.start = s.head_position))",
    ),
    (
        "session {}: its state does not fit its run",
        "SELECT s.id FROM chat_sessions s LEFT JOIN runs r ON r.session_id = s.id
            WHERE s.state <> CASE r.phase WHEN 'running' THEN 'processing' WHEN 'awaiting_tool' THEN 'awaiting_tool'
                ELSE 'idle' END",
    ),
    (
        "history {}: its slices leave a gap or overlap",
        "SELECT DISTINCT history_id FROM (SELECT history_id, start,
                lag(stop, 1, 0) OVER (PARTITION BY history_id ORDER BY start) AS expected, stop FROM slices)
            WHERE start IS NOT expected OR stop <= start",
    ),
    (
        "history {}: nothing points at it",
        "SELECT h.id FROM histories h WHERE NOT EXISTS (SELECT 1 FROM chat_sessions WHERE history_id = h.id)
            AND NOT EXISTS (SELECT 1 FROM chat_checkpoints WHERE history_id = h.id)",
    ),
    (
        "segment {}: no history reads from it",
        "SELECT g.id FROM segments g WHERE NOT EXISTS (SELECT 1 FROM slices WHERE segment_id = g.id)",
    ),
    (
        "turn {}: no session and no checkpoint reaches it",
        "SELECT t.segment_id || ':' || t.position FROM turns t WHERE NOT EXISTS (
            SELECT 1 FROM slices sl JOIN (
                SELECT history_id, max(turn_count) AS turn_count FROM (
                    SELECT history_id, turn_count FROM chat_sessions
                    UNION ALL SELECT history_id, turn_count FROM chat_checkpoints)
                GROUP BY history_id) c ON c.history_id = sl.history_id
            WHERE sl.segment_id = t.segment_id AND t.position >= sl.segment_offset
                AND t.position < sl.segment_offset - sl.start + min(coalesce(sl.stop, c.turn_count), c.turn_count))",
    ),
    (
        "turn {}: its running totals do not follow from the turn before",
        "SELECT t.segment_id || ':' || t.position FROM turns t JOIN turns p
            ON p.segment_id = t.segment_id AND p.position = t.position - 1
            WHERE (t.sum_succeeded, t.sum_failed, t.sum_tool_calls, t.sum_tokens, t.sum_chars, t.sum_code_blocks)
            IS NOT (p.sum_succeeded + (t.observes IS 1), p.sum_failed + (t.observes IS 0),
                p.sum_tool_calls + t.own_tool_calls, p.sum_tokens + t.own_tokens,
                p.sum_chars + t.own_chars, p.sum_code_blocks + t.own_code_blocks)",
    ),
    (
        "turn {}: facts are not what its columns say",
        "SELECT segment_id || ':' || position FROM turns WHERE facts IS NOT
            CASE WHEN status = 'complete' AND observes IS NULL THEN 'l' ELSE substr(status, 1, 1) END || substr(user_linearity, 1, 1) || substr(assistant_linearity, 1, 1)
            || (tools_json IS NOT NULL OR extra_json IS NOT NULL) || ',' || order_at || ',' || (order_at - started_at) || ','
            || (completed_at - started_at) || ',' || sum_succeeded || ',' || sum_failed || ',' || sum_tool_calls || ','
            || sum_tokens || ',' || sum_chars || ',' || sum_code_blocks",
    ),
    (
        "signal {}: its turn is gone",
        "SELECT x.number FROM turn_signals x LEFT JOIN turns t
            ON t.segment_id = x.segment_id AND t.position = x.position WHERE t.number IS NULL",
    ),
    (
        "turn {}: whether signals turned it is not what its newest signal says",
        "SELECT t.segment_id || ':' || t.position FROM turns t
            WHERE (t.segment_id, t.position) IN (SELECT segment_id, position FROM turn_signals
                UNION SELECT segment_id, position FROM flipped_turns)
            AND EXISTS (SELECT 1 FROM flipped_turns f WHERE f.segment_id = t.segment_id AND f.position = t.position)
            IS NOT (t.observes IS 1 AND coalesce((SELECT kind IN ('negative', 'correction') FROM turn_signals x
                WHERE x.segment_id = t.segment_id AND x.position = t.position ORDER BY number DESC LIMIT 1), 0))",
    ),
    (
        "tombstone {}: its family is gone",
        "SELECT d.id FROM deleted_sessions d WHERE NOT EXISTS (
            SELECT 1 FROM chat_sessions s WHERE s.family_id = d.family_id)",
    ),
];

/// Of our tables only: one of others may refer to what has become a view.
const FOREIGN_KEYS: &str = "SELECT m.name FROM sqlite_schema m, pragma_foreign_key_check(m.name) f
    WHERE m.type = 'table' AND m.name IN ('slices', 'legacy_sets', 'turns', 'chat_sessions', 'chat_checkpoints',
        'chat_crystals', 'runs', 'run_pieces', 'idempotency_key_creations')";

/// Runs all checks, SQLite's own included.
pub(crate) fn check(conn: &Connection) -> Result<Vec<String>, StoreError> {
    let doing = "check the keep";
    let mut findings = Vec::new();
    let mut collect = |sentence: &str, sql: &str| -> rusqlite::Result<()> {
        let mut statement = conn.prepare(sql)?;
        let mut found = statement.query([])?;
        while let Some(row) = found.next()? {
            let name = match row.get_ref(0)? {
                rusqlite::types::ValueRef::Integer(number) => number.to_string(),
                other => String::from_utf8_lossy(other.as_bytes_or_null()?.unwrap_or_default()).into_owned(),
            };
            if name != "ok" {
                findings.push(sentence.replacen("{}", &name, 1));
            }
        }
        Ok(())
    };
    collect("file: {}", "PRAGMA integrity_check").doing(doing)?;
    collect("table {}: a row refers to one that is gone", FOREIGN_KEYS).doing(doing)?;
    for (sentence, sql) in CHECKS {
        collect(sentence, sql).doing(doing)?;
    }
    Ok(findings)
}
