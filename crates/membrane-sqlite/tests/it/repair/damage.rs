//! Damage, kind by kind, with plain SQL. What it hits is chosen by a number.

use rusqlite::Connection;

use super::world::Dice;

/// A kind of damage: its name, and statements in which `{TABLE}` stands for a condition that picks one row by its
/// number, and `{n}` for a small number.
pub(super) struct Kind(pub(super) &'static str, pub(super) &'static str);

/// What is derived, column by column and row by row.
pub(super) const REPAIRABLE: &[Kind] = &[
    Kind("a session's number of turns, too great", "UPDATE chat_sessions SET turn_count = turn_count + 500 WHERE {session}"),
    Kind("a session's number of turns, one less", "UPDATE chat_sessions SET turn_count = turn_count - 1 WHERE {session with turns}"),
    Kind("a session's context size", "UPDATE chat_sessions SET context_size = context_size + 1 + {n} WHERE {session}"),
    Kind("a session's successes", "UPDATE chat_sessions SET sum_succeeded = 99 WHERE {session}"),
    Kind("a session's failures", "UPDATE chat_sessions SET sum_failed = sum_failed + 1 WHERE {session}"),
    Kind("a session's tool calls", "UPDATE chat_sessions SET sum_tool_calls = -5 WHERE {session}"),
    Kind("a session's characters", "UPDATE chat_sessions SET sum_chars = 'many' WHERE {session}"),
    Kind("a session's code blocks", "UPDATE chat_sessions SET sum_code_blocks = 7 WHERE {session}"),
    Kind("a session's place in time", "UPDATE chat_sessions SET last_order_at = NULL WHERE {session with turns}"),
    Kind("a session's turned turns", "UPDATE chat_sessions SET flipped = flipped + 1 WHERE {session}"),
    Kind("a session's old observations", "UPDATE chat_sessions SET legacy_alpha = legacy_alpha + 0.5, legacy_beta = 9 WHERE {session}"),
    Kind("a session's evidence, other figures", "UPDATE chat_sessions SET evidence_json = '{\"prior_alpha\": 77}' WHERE {session}"),
    Kind("a session's evidence, no JSON", "UPDATE chat_sessions SET evidence_json = 'gone' WHERE {session}"),
    Kind("a session's state", "UPDATE chat_sessions SET state = CASE state WHEN 'idle' THEN 'processing' ELSE 'idle' END WHERE {session}"),
    Kind("a session's state, no word", "UPDATE chat_sessions SET state = 'asleep' WHERE {session}"),
    Kind("a session's head", "UPDATE chat_sessions SET head_segment_id = NULL, head_position = NULL WHERE {session with head}"),
    Kind("a session's head, half of it", "UPDATE chat_sessions SET head_position = NULL WHERE {session with head}"),
    Kind("a session's head, too far", "UPDATE chat_sessions SET head_position = head_position + 9 WHERE {session with head}"),
    Kind("a head where there is none", "UPDATE chat_sessions SET head_segment_id = 1, head_position = 40 WHERE {session without head}"),
    Kind("a turn's running totals", "UPDATE turns SET sum_chars = sum_chars + 1, sum_tokens = 0, sum_succeeded = sum_succeeded - 1 WHERE {turn}"),
    Kind("all running totals", "UPDATE turns SET sum_chars = number * 13, sum_tokens = -number"),
    Kind("a turn's tokens", "UPDATE turns SET own_tokens = own_tokens + 3 WHERE {turn}"),
    Kind("a turn's characters", "UPDATE turns SET own_chars = 0 WHERE {turn}"),
    Kind("a turn's code blocks", "UPDATE turns SET own_code_blocks = 'two' WHERE {turn}"),
    Kind("a turn's tool calls", "UPDATE turns SET own_tool_calls = own_tool_calls + 1 WHERE {turn}"),
    Kind("what a turn observes", "UPDATE turns SET observes = CASE observes WHEN 1 THEN 0 WHEN 0 THEN NULL ELSE 1 END WHERE {turn}"),
    Kind("a turn's facts", "UPDATE turns SET facts = 'what?' WHERE {turn}"),
    Kind("a turn's facts, other ones", "UPDATE turns SET facts = 'fdr0,1,2,3,4,5,6,7,8,9' WHERE {turn}"),
    Kind("all facts", "UPDATE turns SET facts = ''"),
    Kind("a turn's place in time", "UPDATE turns SET order_at = order_at + 10000000 WHERE {turn}"),
    Kind("what a slice adds", "UPDATE slices SET base_tokens = base_tokens + 5, base_succeeded = 3 WHERE {slice}"),
    Kind("what all slices add", "UPDATE slices SET base_chars = 11, base_failed = 2"),
    Kind("that signals turned a turn", "DELETE FROM flipped_turns WHERE {flipped}"),
    Kind("a turn that no signal turned", "INSERT INTO flipped_turns SELECT segment_id, position FROM turns WHERE {turn} ON CONFLICT DO NOTHING; DELETE FROM flipped_turns WHERE {flipped}"),
    Kind("a turned turn that never was", "INSERT INTO flipped_turns VALUES (99999, {n})"),
    Kind("the table of turned turns", "DROP TABLE flipped_turns"),
    Kind("a history's row", "DELETE FROM histories WHERE {history with slices}"),
    Kind("a segment's row", "DELETE FROM segments WHERE {segment}"),
    Kind("a segment's owner", "UPDATE segments SET owner_id = NULL WHERE {segment with head}"),
    Kind("a segment's owner, another one", "UPDATE segments SET owner_id = 'nobody' WHERE {segment}"),
    Kind("a seal that is gone", "UPDATE segments SET sealed_at = NULL WHERE {sealed segment}"),
    Kind("a seal that is too early", "UPDATE segments SET sealed_at = 0 WHERE {segment with turns}"),
    Kind("a history that nothing points at", "INSERT INTO histories (id, family_id) VALUES (99999, 'x')"),
    Kind(
        "a history of known turns that nothing points at",
        "INSERT INTO histories (id, family_id) VALUES (99999, 'x');
         INSERT INTO slices SELECT 99999, start, stop, segment_id, segment_offset, base_succeeded, base_failed,
            base_tool_calls, base_tokens, base_chars, base_code_blocks FROM slices
            WHERE history_id = (SELECT history_id FROM chat_sessions WHERE {session without head}) AND stop IS NOT NULL",
    ),
    Kind("a segment that nothing reads", "INSERT INTO segments (id, family_id) VALUES (99999, 'x')"),
    Kind("a checkpoint beyond the end", "UPDATE chat_checkpoints SET turn_count = turn_count + 1000 WHERE {named checkpoint}"),
    Kind("a tombstone of no family", "INSERT INTO deleted_sessions VALUES ('gone', 'gone', NULL, NULL, '2026-01-01T00:00:00.000000Z')"),
    Kind("a tombstone of the living", "INSERT INTO deleted_sessions SELECT id, family_id, NULL, NULL, created_at FROM chat_sessions WHERE {session}"),
    Kind("a key whose session is gone", "INSERT INTO idempotency_key_creations SELECT 'gone', route, session_id, key FROM idempotency_keys"),
    Kind("an ended run whose session is gone", "INSERT INTO ended_runs VALUES ('gone', 'turn-x', {n}, 1, 't5', 0)"),
    Kind("the table of ended runs", "DROP TABLE ended_runs"),
    Kind("an index that is missing", "DROP INDEX chat_sessions_family_idx; DROP INDEX turn_signals_turn_idx"),
    Kind("the index of turns", "DROP INDEX idx_chat_turns_session"),
    Kind("an index that is another", "DROP INDEX slices_segment_idx; CREATE INDEX slices_segment_idx ON slices (start)"),
    Kind("the view", "DROP VIEW chat_turns"),
    Kind("a trigger", "DROP TRIGGER chat_turns_insert"),
    Kind("a trigger that does nothing", "DROP TRIGGER chat_turns_update; CREATE TRIGGER chat_turns_update INSTEAD OF UPDATE ON chat_turns BEGIN SELECT 1; END"),
];

/// Carries one kind out.
pub(super) fn damage(conn: &Connection, kind: &Kind, dice: &mut Dice) {
    let pick = |condition: &str, dice: &mut Dice| {
        let (table, key, having) = match condition {
            "session" => ("chat_sessions", "number", "1"),
            "session with turns" => ("chat_sessions", "number", "turn_count > 0"),
            "session with head" => ("chat_sessions", "number", "head_segment_id IS NOT NULL"),
            "session without head" => ("chat_sessions", "number", "head_segment_id IS NULL"),
            "turn" => ("turns", "number", "1"),
            "slice" => ("slices", "history_id", "1"),
            "flipped" => ("flipped_turns", "segment_id", "1"),
            "history with slices" => ("histories", "id", "id IN (SELECT history_id FROM slices)"),
            "segment" => ("segments", "id", "1"),
            "segment with head" => ("segments", "id", "id IN (SELECT head_segment_id FROM chat_sessions)"),
            "sealed segment" => ("segments", "id", "sealed_at IS NOT NULL AND owner_id IS NOT NULL"),
            "segment with turns" => {
                ("segments", "id", "sealed_at IS NOT NULL AND id IN (SELECT segment_id FROM turns)")
            }
            "named checkpoint" => ("chat_checkpoints", "number", "kind = 'named'"),
            other => panic!("{other}"),
        };
        let keys: Vec<i64> = crate::keep::column(
            conn,
            &format!("SELECT DISTINCT {key} FROM {table} WHERE {having} ORDER BY 1"),
            [],
        );
        assert!(!keys.is_empty(), "{}: there is nothing to damage", kind.0);
        let index = dice.roll(u64::try_from(keys.len()).unwrap());
        format!("{key} = {}", keys[usize::try_from(index).unwrap()])
    };
    let mut sql = kind.1.replace("{n}", &dice.roll(9).to_string());
    // A brace before a quote is JSON's.
    let place =
        |sql: &str| sql.match_indices('{').map(|(at, _)| at).find(|at| !sql[at + 1..].starts_with('"'));
    while let Some(from) = place(&sql) {
        let to = from + sql[from..].find('}').unwrap();
        let condition = pick(&sql[from + 1..to], dice);
        sql.replace_range(from..=to, &condition);
    }
    conn.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
    conn.execute_batch(&sql).unwrap_or_else(|error| panic!("{}: {error}: {sql}", kind.0));
}
