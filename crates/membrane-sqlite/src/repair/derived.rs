//! What follows from other rows in one statement or two: turned turns, states, checkpoints' numbers, keys, tombstones.

use membrane_core::history::Cut;
use membrane_core::ids::HistoryId;
use membrane_core::time::Timestamp;
use membrane_core::turn::Totals;
use membrane_store::StoreError;
use rusqlite::{Connection, params};
use serde_json::Value as Json;

use super::run::Log;
use crate::check::HISTORY_ENDS;
use crate::error::Doing;
use crate::read::histories;
use crate::rows::unsigned;

/// The newest signal on turn `t` is against a success.
const IS_TURNED: &str = "t.observes IS 1 AND coalesce((SELECT kind IN ('negative', 'correction') \
     FROM turn_signals x WHERE x.segment_id = t.segment_id AND x.position = t.position \
     ORDER BY number DESC LIMIT 1), 0)";

fn execute(conn: &Connection, sql: &str) -> Result<usize, StoreError> {
    conn.execute(sql, []).doing("derive rows again")
}

/// Which turns signals turned.
pub(super) fn flipped(conn: &Connection, log: &mut Log) -> Result<(), StoreError> {
    let removed = execute(
        conn,
        &format!(
            "DELETE FROM flipped_turns WHERE (segment_id, position) NOT IN \
             (SELECT t.segment_id, t.position FROM turns t WHERE {IS_TURNED}) \
             AND (EXISTS (SELECT 1 FROM turns t WHERE t.segment_id = flipped_turns.segment_id \
                     AND t.position = flipped_turns.position) \
                 OR NOT EXISTS (SELECT 1 FROM turn_signals x WHERE x.segment_id = flipped_turns.segment_id \
                     AND x.position = flipped_turns.position))"
        ),
    )?;
    let added = execute(
        conn,
        &format!(
            "INSERT INTO flipped_turns (segment_id, position) SELECT t.segment_id, t.position FROM turns t \
             WHERE (t.segment_id, t.position) IN (SELECT segment_id, position FROM turn_signals) AND {IS_TURNED} \
             ON CONFLICT DO NOTHING"
        ),
    )?;
    log.done(removed + added, "turn", "turns", "whether signals turned it was worked out again");
    Ok(())
}

/// Sessions' states, which follow from their runs.
pub(super) fn states(conn: &Connection, log: &mut Log) -> Result<(), StoreError> {
    const FITTING: &str = "coalesce((SELECT CASE phase WHEN 'running' THEN 'processing' \
         WHEN 'awaiting_tool' THEN 'awaiting_tool' END FROM runs WHERE session_id = chat_sessions.id), 'idle')";
    let changed =
        execute(conn, &format!("UPDATE chat_sessions SET state = {FITTING} WHERE state IS NOT {FITTING}"))?;
    log.done(changed, "session", "sessions", "its state was set by its run");
    Ok(())
}

/// Checkpoints that see more turns than their histories have: what their evidence tells, else all that there are.
pub(super) fn checkpoints(conn: &Connection, log: &mut Log) -> Result<(), StoreError> {
    let doing = "repair checkpoints";
    let sql = format!(
        "SELECT c.number, c.id, c.history_id, c.turn_count, e.known, c.evidence_json, \
         c.created_at \
         FROM chat_checkpoints c JOIN ({HISTORY_ENDS}) e ON e.history_id = c.history_id \
         WHERE c.turn_count NOT BETWEEN 0 AND iif(c.kind = 'named', e.known, e.turn_count)"
    );
    let wrong: Vec<(i64, String, i64, i64, i64, String, String)> = {
        let mut statement = conn.prepare(&sql).doing(doing)?;
        let rows = statement
            .query_map([], |row| {
                let text = |column| row.get::<_, String>(column).unwrap_or_default();
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, text(5), text(6)))
            })
            .doing(doing)?;
        rows.collect::<rusqlite::Result<_>>().doing(doing)?
    };
    for (number, id, history, told, end, evidence, created_at) in wrong {
        let turn_count = match by_evidence(conn, HistoryId(history), end, &evidence, &created_at)? {
            Told::Turns(turn_count) => turn_count,
            Told::Nothing => end,
            // Turns of it are gone: it keeps its number.
            Told::MoreThanThere => continue,
        };
        conn.execute(
            "UPDATE chat_checkpoints SET turn_count = ?2 WHERE number = ?1",
            params![number, turn_count],
        )
        .doing(doing)?;
        log.done.push(format!("checkpoint {id}: {turn_count} turns, not {told}"));
    }
    Ok(())
}

/// What a checkpoint's evidence tells of its number of turns.
enum Told {
    /// So many.
    Turns(i64),
    /// It cannot be read.
    Nothing,
    /// No number of the turns that are there gives it.
    MoreThanThere,
}

/// The most turns of a history that give the evidence which a checkpoint holds, signals aside; before those that came
/// after it, if there are any.
fn by_evidence(
    conn: &Connection,
    history: HistoryId,
    end: i64,
    evidence: &str,
    created_at: &str,
) -> Result<Told, StoreError> {
    let said: Option<Json> = serde_json::from_str(evidence).ok();
    let count = |key: &str| said.as_ref()?.get(key)?.as_i64();
    let Some(said) = count("tools_succeeded").zip(count("tools_failed")) else { return Ok(Told::Nothing) };
    let marks = histories::list_marks(conn, Cut { history, turn_count: unsigned(end) })?;
    if i64::try_from(marks.len()) != Ok(end) {
        return Ok(Told::MoreThanThere);
    }
    let mut totals = Totals::ZERO;
    let created_at = Timestamp::parse(created_at).unwrap_or(Timestamp::MAX);
    let mut found = (said == (0, 0)).then_some(0);
    let mut is_in_time = found.is_some();
    for (number, mark) in (1..).zip(&marks) {
        totals = totals + mark.own;
        let was_there = mark.order_at <= created_at;
        if said == (totals.succeeded, totals.failed) && (was_there || !is_in_time) {
            found = Some(number);
            is_in_time |= was_there;
        }
    }
    Ok(found.map_or(Told::MoreThanThere, Told::Turns))
}

/// How a session's last answer came goes with the session.
pub(super) fn ended_runs(conn: &Connection, log: &mut Log) -> Result<(), StoreError> {
    let sql = "DELETE FROM ended_runs WHERE session_id NOT IN (SELECT id FROM chat_sessions)";
    log.done(execute(conn, sql)?, "ended run", "ended runs", "removed, for its session is gone");
    Ok(())
}

/// Keys go with the sessions that they created.
pub(super) fn keys(conn: &Connection, log: &mut Log) -> Result<(), StoreError> {
    let mut removed = execute(
        conn,
        "DELETE FROM idempotency_keys WHERE (route, session_id, key) IN (SELECT route, session_id, key FROM idempotency_key_creations \
             WHERE created_session_id NOT IN (SELECT id FROM chat_sessions))",
    )?;
    removed += execute(
        conn,
        "DELETE FROM idempotency_key_creations WHERE created_session_id NOT IN (SELECT id FROM chat_sessions) \
         OR (route, session_id, key) NOT IN (SELECT route, session_id, key FROM idempotency_keys)",
    )?;
    log.done(removed, "idempotency key", "rows of idempotency keys", "removed, for its session is gone");
    Ok(())
}

/// Tombstones keep the place of deleted sessions in living families.
pub(super) fn tombstones(conn: &Connection, log: &mut Log) -> Result<(), StoreError> {
    let removed = execute(
        conn,
        "DELETE FROM deleted_sessions WHERE family_id NOT IN (SELECT family_id FROM chat_sessions) \
         OR id IN (SELECT id FROM chat_sessions)",
    )?;
    log.done(removed, "tombstone", "tombstones", "removed, for its family is gone or the session lives");
    Ok(())
}
