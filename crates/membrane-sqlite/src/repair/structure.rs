//! The schema's own things: indexes in order, views and triggers as they were made; and rows that hold nothing but a
//! number which others name.

use membrane_store::StoreError;
use rusqlite::Connection;

use super::run::Log;
use crate::check::SchemaState;
use crate::error::Doing;
use crate::integrity::{Depth, find_damage};

/// Tables that can be made again empty: the content of the first follows from others, who followed the second is told
/// to start over, and who is in the third says so again before long.
const REPLACEABLE_TABLES: [&str; 4] = ["flipped_turns", "events", "leaders", "ended_runs"];

/// Makes what is missing again and puts indexes in order. What SQLite refuses (two rows where one may be) stays as
/// it is, and the second check finds it.
pub(super) fn repair(conn: &Connection, log: &mut Log) -> Result<(), StoreError> {
    let doing = "repair the schema";
    let state = SchemaState::read(conn).doing(doing)?;
    for object in &state.missing {
        let is_replaceable = object.kind != "table" || REPLACEABLE_TABLES.contains(&object.name.as_str());
        let Some(sql) = object.sql.as_deref().filter(|_| is_replaceable) else { continue };
        if attempt(conn, sql)? {
            log.done.push(format!("{} {}: made again", object.kind, object.name));
        }
    }
    for object in state.altered.iter().filter(|object| object.kind != "table") {
        let Some(sql) = object.sql.as_deref() else { continue };
        let drop = format!("DROP {} \"{}\"; {sql}", object.kind, object.name.replace('"', "\"\""));
        if attempt(conn, &drop)? {
            log.done.push(format!("{} {}: made as it should be", object.kind, object.name));
        }
    }
    let mut is_index_broken = false;
    // A file that cannot be read to its end is told by the checks.
    drop(find_damage(conn, Depth::Whole, &mut |line| is_index_broken |= line.contains("index")));
    if is_index_broken && attempt(conn, "REINDEX")? {
        log.done.push("indexes: put in order again".to_owned());
    }
    Ok(())
}

/// Does all of it or nothing; says whether it did.
fn attempt(conn: &Connection, sql: &str) -> Result<bool, StoreError> {
    let doing = "repair the schema";
    conn.execute_batch("SAVEPOINT piece").doing(doing)?;
    let done = conn.execute_batch(sql);
    if done.is_err() {
        conn.execute_batch("ROLLBACK TO piece").doing(doing)?;
    }
    conn.execute_batch("RELEASE piece").doing(doing)?;
    Ok(done.is_ok())
}

/// Histories and segments that others name: their rows hold hardly more than their numbers.
pub(super) fn restore_rows(conn: &Connection, log: &mut Log) -> Result<(), StoreError> {
    let doing = "restore histories and segments";
    // One without slices may have been a merge of nothing, or all that it had is gone: then there is nothing to restore.
    let histories = conn
        .execute(
            "INSERT INTO histories (id, family_id) \
             SELECT x.history_id, coalesce( \
                 (SELECT family_id FROM chat_sessions WHERE history_id = x.history_id ORDER BY number LIMIT 1), \
                 (SELECT s.family_id FROM chat_checkpoints c JOIN chat_sessions s ON s.id = c.session_id \
                     WHERE c.history_id = x.history_id ORDER BY c.number LIMIT 1), \
                 (SELECT g.family_id FROM slices sl JOIN segments g ON g.id = sl.segment_id \
                     WHERE sl.history_id = x.history_id ORDER BY sl.start LIMIT 1), '') \
             FROM (SELECT DISTINCT history_id FROM slices \
                   UNION SELECT history_id FROM chat_sessions WHERE turn_count = 0) x \
             WHERE x.history_id NOT IN (SELECT id FROM histories)",
            [],
        )
        .doing(doing)?;
    log.done(histories, "history", "histories", "its row made again");
    let segments = conn
        .execute(
            "INSERT INTO segments (id, family_id, owner_id, sealed_at, has_gaps) \
             SELECT x.segment_id, coalesce( \
                 (SELECT h.family_id FROM slices sl JOIN histories h ON h.id = sl.history_id \
                     WHERE sl.segment_id = x.segment_id ORDER BY sl.history_id LIMIT 1), ''), \
                 (SELECT id FROM chat_sessions WHERE head_segment_id = x.segment_id), \
                 CASE WHEN NOT EXISTS (SELECT 1 FROM chat_sessions WHERE head_segment_id = x.segment_id) THEN \
                     (SELECT coalesce(max(position), -1) + 1 FROM turns WHERE segment_id = x.segment_id) END, \
                 (SELECT count(*) <> coalesce(max(position), -1) + 1 FROM turns WHERE segment_id = x.segment_id) \
             FROM (SELECT segment_id FROM turns UNION SELECT segment_id FROM slices) x \
             WHERE x.segment_id NOT IN (SELECT id FROM segments)",
            [],
        )
        .doing(doing)?;
    log.done(segments, "segment", "segments", "its row made again");
    numbers_only(conn, log)?;
    let gaps = conn
        .execute(
            "UPDATE segments SET has_gaps = 1 WHERE has_gaps = 0 AND \
             (SELECT count(*) <> coalesce(max(position) + 1, 0) FROM turns WHERE segment_id = segments.id)",
            [],
        )
        .doing(doing)?;
    log.done(gaps, "segment", "segments", "that turns are missing in it is noted");
    Ok(())
}

/// What slices and turns add must be numbers to be read at all; which ones, is worked out later.
fn numbers_only(conn: &Connection, log: &mut Log) -> Result<(), StoreError> {
    let totals = ["succeeded", "failed", "tool_calls", "tokens", "chars", "code_blocks"];
    let of_turns = ["tool_calls", "tokens", "chars", "code_blocks"];
    let columns = totals
        .iter()
        .flat_map(|name| [("slices", format!("base_{name}")), ("turns", format!("sum_{name}"))])
        .chain(of_turns.iter().map(|name| ("turns", format!("own_{name}"))));
    let mut changed = 0;
    for (table, column) in columns {
        let sql = format!("UPDATE {table} SET {column} = 0 WHERE typeof({column}) <> 'integer'");
        changed += conn.execute(&sql, []).doing("repair totals")?;
    }
    log.done(changed, "total", "totals", "made a number again");
    Ok(())
}
