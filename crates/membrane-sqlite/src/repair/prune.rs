//! What nothing reaches: told, and removed only if that is asked for.

use membrane_store::StoreError;
use rusqlite::Connection;

use super::report::RepairOptions;
use super::run::Log;
use crate::check::{CheckReport, Theme, UNREACHED};
use crate::error::Doing;

/// No session and no checkpoint points at history `h`.
const IS_UNUSED: &str = "NOT EXISTS (SELECT 1 FROM chat_sessions WHERE history_id = h.id) \
     AND NOT EXISTS (SELECT 1 FROM chat_checkpoints WHERE history_id = h.id)";

/// What hangs on a turn that is not there.
const ITS_TURN_IS_GONE: &str = "(segment_id, position) NOT IN (SELECT segment_id, position FROM turns)";

fn execute(conn: &Connection, sql: &str) -> Result<usize, StoreError> {
    conn.execute(sql, []).doing("remove what nothing reaches")
}

/// Removes histories and segments with which no turn goes: all their turns are reached in another way.
pub(super) fn tidy(conn: &Connection, log: &mut Log) -> Result<(), StoreError> {
    let doing = "remove what nothing reaches";
    // As long as a session's own history cannot be found, any of them may be it.
    let is_one_lost: bool = conn
        .query_row(
            "SELECT EXISTS (SELECT 1 FROM chat_sessions s WHERE s.history_id NOT IN (SELECT id FROM histories) \
             OR s.turn_count > 0 AND NOT EXISTS (SELECT 1 FROM slices WHERE history_id = s.history_id))",
            [],
            |row| row.get(0),
        )
        .doing(doing)?;
    if !is_one_lost {
        let sql = format!(
            "SELECT h.id FROM histories h WHERE {IS_UNUSED} AND NOT EXISTS ( \
                 SELECT 1 FROM slices sl JOIN turns t ON t.segment_id = sl.segment_id \
                     AND t.position >= sl.segment_offset \
                     AND (sl.stop IS NULL OR t.position < sl.segment_offset - sl.start + sl.stop) \
                 WHERE sl.history_id = h.id AND t.number IN ({UNREACHED}))"
        );
        drop_histories(conn, &sql, log)?;
    }
    drop_segments(conn, log)
}

/// Removes all that nothing reaches; not while turns are lost, for what nothing reaches may be theirs.
pub(super) fn prune(conn: &Connection, lost: &[String], log: &mut Log) -> Result<(), StoreError> {
    if !lost.is_empty() {
        log.left.push(
            "nothing was pruned: something is lost, and what nothing reaches may be a part of it".to_owned(),
        );
        return Ok(());
    }
    let checkpoints =
        execute(conn, "DELETE FROM chat_checkpoints WHERE session_id NOT IN (SELECT id FROM chat_sessions)")?;
    log.done(checkpoints, "checkpoint", "checkpoints", "removed, for its session is gone");
    let crystals =
        execute(conn, "DELETE FROM chat_crystals WHERE session_id NOT IN (SELECT id FROM chat_sessions)")?;
    log.done(crystals, "crystal", "crystals", "removed, for its session is gone");
    let runs = execute(conn, "DELETE FROM runs WHERE session_id NOT IN (SELECT id FROM chat_sessions)")?;
    log.done(runs, "run", "runs", "removed, for its session is gone");
    let pieces = execute(conn, "DELETE FROM run_pieces WHERE run_id NOT IN (SELECT id FROM runs)")?;
    log.done(pieces, "piece", "pieces", "removed, for its run is gone");
    execute(
        conn,
        &format!(
            "UPDATE segments SET has_gaps = 1 WHERE id IN (SELECT segment_id FROM turns WHERE number IN ({UNREACHED}))"
        ),
    )?;
    let turns = execute(conn, &format!("DELETE FROM turns WHERE number IN ({UNREACHED})"))?;
    log.done(turns, "turn", "turns", "removed, for nothing reached it");
    let signals = execute(conn, &format!("DELETE FROM turn_signals WHERE {ITS_TURN_IS_GONE}"))?;
    log.done(signals, "signal", "signals", "removed, for its turn is gone");
    execute(conn, &format!("DELETE FROM flipped_turns WHERE {ITS_TURN_IS_GONE}"))?;
    execute(conn, "DELETE FROM legacy_sets WHERE history_id NOT IN (SELECT id FROM histories)")?;
    drop_histories(conn, &format!("SELECT h.id FROM histories h WHERE {IS_UNUSED}"), log)?;
    drop_segments(conn, log)
}

fn drop_histories(conn: &Connection, ids: &str, log: &mut Log) -> Result<(), StoreError> {
    execute(conn, &format!("CREATE TEMP TABLE doomed_histories AS {ids}"))?;
    for table in ["slices", "legacy_sets"] {
        execute(conn, &format!("DELETE FROM {table} WHERE history_id IN (SELECT id FROM doomed_histories)"))?;
    }
    let histories = execute(conn, "DELETE FROM histories WHERE id IN (SELECT id FROM doomed_histories)")?;
    execute(conn, "DROP TABLE doomed_histories")?;
    log.done(histories, "history", "histories", "removed, for nothing pointed at it");
    Ok(())
}

fn drop_segments(conn: &Connection, log: &mut Log) -> Result<(), StoreError> {
    let segments = execute(
        conn,
        "DELETE FROM segments WHERE id NOT IN (SELECT segment_id FROM slices) \
         AND id NOT IN (SELECT segment_id FROM turns)",
    )?;
    log.done(segments, "segment", "segments", "removed, for it was empty and nothing read from it");
    Ok(())
}

/// Says how much is left that nothing reaches.
pub(super) fn say_what_is_left(after: &CheckReport, options: RepairOptions, log: &mut Log) {
    if options.prune {
        return;
    }
    let is_prunable = |line: &&str| {
        let of = |start: &str, end: &str| line.starts_with(start) && line.ends_with(end);
        of("turn ", "reaches it")
            || of("history ", "points at it")
            || of("segment ", "reads from it")
            || of("signal ", "its turn is gone")
            || of("checkpoint ", "its session is gone")
            || of("crystal ", "the session is gone")
            || of("run ", "its session is gone")
            || of("pieces ", "the run is gone")
    };
    let count = after.findings.iter().map(|finding| finding.what.as_str()).filter(is_prunable).count();
    let turns = after
        .findings
        .iter()
        .filter(|finding| finding.theme == Theme::Reach && finding.what.starts_with("turn "))
        .count();
    if count > 0 {
        log.left.push(format!(
            "{count} things that nothing reaches stay, {turns} of them turns; \
             \"membrane check --repair --prune\" removes them"
        ));
    }
}
