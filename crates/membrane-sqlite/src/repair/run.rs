//! The order of a repair, and what must hold for it to be kept.

use std::path::Path;
use std::time::Duration;

use membrane_store::StoreError;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::report::{RepairError, RepairOptions, Repaired};
use super::{copy, derived, heads, lost, prune, sessions, slices, structure, sums, turns};
use crate::check::{self, CheckError, CheckReport, SchemaState};
use crate::connection::{log_path, open_to_look};
use crate::error::{Doing, open_error};
use crate::options::SqliteOptions;

/// How long others may take to let go of the file.
const PATIENCE: Duration = Duration::from_millis(300);

/// What has been done so far.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) done: Vec<String>,
    pub(super) left: Vec<String>,
}

impl Log {
    /// Notes what was put right in `number` rows, if there were any.
    pub(super) fn done(&mut self, number: usize, one: &str, many: &str, what: &str) {
        match number {
            0 => {}
            1 => self.done.push(format!("1 {one}: {what}")),
            number => self.done.push(format!("{number} {many}: {what}")),
        }
    }
}

/// Checks a file, puts right what can be put right, and checks again.
///
/// Nothing is changed while another process has the file open, without a verified copy of it, or if a second check
/// finds anything that the first did not. A file that is as it should be stays as it is, byte for byte.
///
/// # Errors
/// [`RepairError`]; the file is as it was.
pub fn repair_file(path: &Path, options: RepairOptions) -> Result<Repaired, RepairError> {
    let had_log = log_path(path).exists();
    let mut conn = open_alone(path)?;
    let state = SchemaState::read(&conn).doing("read the schema")?;
    check::expect_keep(path, &state)?;
    let before = check::check_with(&conn, &state)?;
    if before.is_clean() {
        return Ok(nothing_done(before, Vec::new(), Vec::new()));
    }
    // Once without being kept: a copy of a great file is made only if there is something to be put right.
    let tried = attempt(&mut conn, &before, options, false)?;
    if tried.done.is_empty() {
        return Ok(nothing_done(before, tried.lost, tried.left));
    }
    let copy = copy::copy_beside(&conn, path, options.now)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, had_log)
        .doing("configure a connection")?;
    let repaired = attempt(&mut conn, &before, options, true)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).doing("configure a connection")?;
    Ok(Repaired { copy: Some(copy), ..repaired })
}

fn nothing_done(before: CheckReport, lost: Vec<String>, left: Vec<String>) -> Repaired {
    Repaired { after: before.clone(), before, copy: None, done: Vec::new(), lost, left }
}

/// Opens the file with nobody else at it, until it is closed. The index of the log is in memory then, and what
/// lies beside the file stays as it is.
fn open_alone(path: &Path) -> Result<Connection, RepairError> {
    let options = SqliteOptions { busy_timeout: PATIENCE, ..SqliteOptions::at(path) };
    let failed = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            RepairError::InUse { path: path.to_owned() }
        }
        _ => CheckError::Open(open_error(path, "open the file", error)).into(),
    };
    let conn = open_to_look(&options, OpenFlags::empty()).map_err(CheckError::Open)?;
    if conn.is_readonly("main").map_err(failed)? {
        return Err(RepairError::ReadOnly { path: path.to_owned() });
    }
    conn.pragma_update(None, "foreign_keys", false).map_err(failed)?;
    conn.query_row("PRAGMA locking_mode = EXCLUSIVE", [], |_| Ok(())).map_err(failed)?;
    // Takes the lock, and keeps it.
    conn.execute_batch("BEGIN EXCLUSIVE; ROLLBACK").map_err(failed)?;
    conn.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
    conn.pragma_update(None, "secure_delete", true).or_else(answered).map_err(failed)?;
    Ok(conn)
}

/// Some pragmas answer with a row.
fn answered(error: rusqlite::Error) -> rusqlite::Result<()> {
    match error {
        rusqlite::Error::ExecuteReturnedResults => Ok(()),
        other => Err(other),
    }
}

/// Repairs in one transaction, which stays only if `keep` is given and the second check is better.
fn attempt(
    conn: &mut Connection,
    before: &CheckReport,
    options: RepairOptions,
    keep: bool,
) -> Result<Repaired, RepairError> {
    let doing = "repair the keep";
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).doing(doing)?;
    let mut log = Log::default();
    structure::repair(&tx, &mut log)?;
    // What a broken index hid is no news.
    let state = SchemaState::read(&tx).doing(doing)?;
    let uncovered = check::check_with(&tx, &state)?;
    if !uncovered.is_clean() {
        derive(&tx, &mut log, options)?;
    }
    let lost = lost::list(&tx)?;
    if options.prune {
        prune::prune(&tx, &lost, &mut log)?;
    }
    let after = check::check_with(&tx, &SchemaState::read(&tx).doing(doing)?)?;
    if let Some(news) = after.news(&[before, &uncovered]).first() {
        return Err(RepairError::Worse { news: news.what.clone() });
    }
    let is_better = after.findings.len() < before.findings.len();
    if !is_better {
        log.done.clear();
    }
    prune::say_what_is_left(&after, options, &mut log);
    if keep && is_better {
        // What somebody keeps of turns that were read before may not be so any more: the keep gets another name.
        let repaired: i32 = tx.pragma_query_value(None, "user_version", |row| row.get(0)).doing(doing)?;
        tx.pragma_update(None, "user_version", repaired.wrapping_add(1)).doing(doing)?;
        tx.commit().doing(doing)?;
    }
    Ok(Repaired { before: before.clone(), after, copy: None, done: log.done, lost, left: log.left })
}

/// What is derived, in an order in which each step rests only on what is right by then.
fn derive(tx: &Connection, log: &mut Log, options: RepairOptions) -> Result<(), StoreError> {
    structure::restore_rows(tx, log)?;
    turns::measure(tx, log)?;
    derived::flipped(tx, log)?;
    sums::repair(tx, log)?;
    slices::repair(tx, log)?;
    heads::adopt(tx, log)?;
    sessions::repair(tx, log)?;
    heads::settle(tx, log)?;
    derived::states(tx, log)?;
    derived::checkpoints(tx, log)?;
    derived::ended_runs(tx, log)?;
    derived::keys(tx, log)?;
    derived::tombstones(tx, log)?;
    if !options.prune {
        prune::tidy(tx, log)?;
    }
    Ok(())
}
