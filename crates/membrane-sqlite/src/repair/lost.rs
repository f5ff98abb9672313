//! What is gone and cannot be derived: named, row by row.

use membrane_core::history::Cut;
use membrane_core::ids::HistoryId;
use membrane_store::StoreError;
use rusqlite::Connection;

use crate::check::{SchemaState, check_with};
use crate::error::Doing;
use crate::read::histories;
use crate::rows::unsigned;

/// How many turns are named one by one.
const MAX_NAMED: usize = 20;

/// One line for each session, checkpoint or table that lost something.
pub(super) fn list(conn: &Connection) -> Result<Vec<String>, StoreError> {
    let state = SchemaState::read(conn).doing("read the schema")?;
    let mut lost: Vec<String> = Vec::new();
    for object in state.missing.iter().filter(|object| object.kind == "table") {
        lost.push(format!("table {}: it is gone, with all that was in it", object.name));
    }
    for (table, column) in &state.missing_columns {
        lost.push(format!("table {table}: column {column} is gone, with all that was in it"));
    }
    if !lost.is_empty() {
        return Ok(lost);
    }
    of_cuts(
        conn,
        "session",
        "SELECT id, history_id, turn_count FROM chat_sessions ORDER BY number",
        &mut lost,
    )?;
    let named =
        "SELECT id, history_id, turn_count FROM chat_checkpoints WHERE kind = 'named' ORDER BY number";
    of_cuts(conn, "checkpoint", named, &mut lost)?;
    let report = check_with(conn, &state)?;
    let is_lost = |line: &&String| {
        line.contains("it cannot be read")
            || line.starts_with("file: ")
            || line.ends_with("pieces of its answer are missing")
            || line.ends_with("its slices leave a gap or overlap")
            || line.contains("cannot be checked")
            || line.ends_with("two histories could append to it")
    };
    lost.extend(report.lines().iter().filter(is_lost).cloned());
    Ok(lost)
}

fn of_cuts(conn: &Connection, kind: &str, sql: &str, lost: &mut Vec<String>) -> Result<(), StoreError> {
    let doing = "look for turns that are gone";
    let cuts: Vec<(String, i64, i64)> = {
        let mut statement = conn.prepare(sql).doing(doing)?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).doing(doing)?;
        // A row that is none of this is told by the check of values.
        rows.filter_map(Result::ok).collect()
    };
    for (id, history, turn_count) in cuts {
        let cut = Cut { history: HistoryId(history), turn_count: unsigned(turn_count) };
        let Some(found) = histories::find(conn, cut.history)? else {
            lost.push(format!(
                "{kind} {id}: its history {history} is gone, and with it the order of {turn_count} turns"
            ));
            continue;
        };
        let Some(missing) = missing(conn, &found, cut)? else {
            if turn_count > 0 && found.slices.is_empty() {
                lost.push(format!(
                    "{kind} {id}: the slices of its history {history} are gone, and with them the order of {turn_count} turns"
                ));
            }
            continue;
        };
        lost.push(format!("{kind} {id}: {missing}"));
    }
    Ok(())
}

/// Which turns of a cut are gone, in words; `None` if none are, or nothing is known of any.
fn missing(
    conn: &Connection,
    history: &membrane_core::history::History,
    cut: Cut,
) -> Result<Option<String>, StoreError> {
    let doing = "look for turns that are gone";
    let mut count = conn
        .prepare_cached(
            "SELECT count(*) FROM turns WHERE segment_id = ?1 AND position >= ?2 AND position < ?3",
        )
        .doing(doing)?;
    let mut is_there = conn
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM turns WHERE segment_id = ?1 AND position = ?2)")
        .doing(doing)?;
    let (mut gone, mut names) = (0_u64, Vec::new());
    for slice in history.slices.iter().filter(|slice| slice.start < cut.turn_count) {
        let Some(span) = slice.span_until(cut.turn_count) else { continue };
        let there: i64 =
            count.query_row([span.segment.0, span.from, span.to], |row| row.get(0)).doing(doing)?;
        if u64::try_from(there) == Ok(span.len()) {
            continue;
        }
        gone += span.len().saturating_sub(unsigned(there));
        for (number, position) in (slice.start..).zip(span.from..span.to) {
            if names.len() > MAX_NAMED {
                break;
            }
            if !is_there.query_row([span.segment.0, position], |row| row.get(0)).doing(doing)? {
                names.push(number.to_string());
            }
        }
    }
    let end = history.slices.last().map_or(0, |last| last.stop.unwrap_or(cut.turn_count));
    if end < cut.turn_count && !history.slices.is_empty() {
        gone += cut.turn_count - end;
        names.push(format!("{end} to {}", cut.turn_count - 1));
    }
    if gone == 0 {
        return Ok(None);
    }
    if names.len() > MAX_NAMED {
        names.truncate(MAX_NAMED);
        names.push("…".to_owned());
    }
    Ok(Some(format!("{gone} of its {} turns are gone: number {}", cut.turn_count, names.join(", "))))
}
