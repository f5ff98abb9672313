//! Runs all checks: on a store's connection, or on a file that nobody needs to have opened.

use std::path::Path;

use membrane_store::{StoreError, StoreStats};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::queries::QUERIES;
use super::report::{CheckReport, Theme};
use super::rows;
use super::schema::SchemaState;
use crate::connection::open_to_look;
use crate::error::{Doing, OpenError, open_error, store_error};
use crate::integrity::{Depth, find_damage};
use crate::options::SqliteOptions;
use crate::read::stats;
use crate::transfer::mark;

/// Tables whose references are checked by name.
const NAMED: [&str; 9] = [
    "slices",
    "legacy_sets",
    "turns",
    "chat_sessions",
    "chat_checkpoints",
    "chat_crystals",
    "runs",
    "run_pieces",
    "idempotency_key_creations",
];

/// Why a file cannot be checked.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It holds no keep, or an old one.
    #[error("{} {problem}; {remedy}", .path.display())]
    NoKeep {
        /// The file.
        path: std::path::PathBuf,
        /// What it is.
        problem: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Checks a file as it is: it is not brought up to date, and nothing in it changes. Says, too, how much it holds.
///
/// # Errors
/// [`CheckError`]. A file that contradicts itself is a report, not an error.
pub fn check_file(path: &Path) -> Result<(CheckReport, Option<StoreStats>), CheckError> {
    let options = SqliteOptions::at(path);
    let conn = open_to_look(&options, OpenFlags::empty())?;
    let tx = conn.unchecked_transaction().map_err(|error| open_error(path, "check the keep", error))?;
    let state = SchemaState::read(&tx).map_err(|error| open_error(path, "read the schema", error))?;
    expect_keep(path, &state)?;
    refuse_unfinished(&tx, path)?;
    let report = check_with(&tx, &state)?;
    // Where tables are missing there is nothing to count.
    let stats = stats::stats(&tx, path).ok();
    Ok((report, stats))
}

/// Refuses what no migration of ours was applied to.
pub(crate) fn expect_keep(path: &Path, state: &SchemaState) -> Result<(), CheckError> {
    if state.applied.is_empty() {
        return Err(CheckError::NoKeep {
            path: path.to_owned(),
            problem: "holds no keep of this version yet".to_owned(),
            remedy: "see what it is with \"membrane doctor\", bring it up to date with \"membrane migrate\"",
        });
    }
    Ok(())
}

/// Refuses a copy that was interrupted: rows that are not there yet would be findings.
fn refuse_unfinished(conn: &Connection, path: &Path) -> Result<(), OpenError> {
    match mark::find_source(conn).map_err(|error| open_error(path, "look for an unfinished copy", error))? {
        None => Ok(()),
        Some(source_name) => Err(OpenError::UnfinishedCopy { path: path.to_owned(), source_name }),
    }
}

/// All checks on an open connection, in whatever transaction it is.
pub(crate) fn check_conn(conn: &Connection) -> Result<CheckReport, StoreError> {
    let state = SchemaState::read(conn).doing("read the schema")?;
    check_with(conn, &state)
}

/// The same, with the schema as it was read.
pub(crate) fn check_with(conn: &Connection, state: &SchemaState) -> Result<CheckReport, StoreError> {
    let mut report = CheckReport::default();
    let integrity = find_damage(conn, Depth::Whole, &mut |found| {
        report.findings.extend(found.lines().map(file_finding));
    });
    settle(&mut report, Theme::File, integrity)?;
    for line in state.findings() {
        report.find(Theme::Schema, line);
    }
    let values = rows::values(conn, &mut report);
    settle(&mut report, Theme::Values, values)?;
    let turns = rows::turns(conn, &mut report);
    settle(&mut report, Theme::Totals, turns)?;
    let evidence = rows::evidence(conn, &mut report);
    settle(&mut report, Theme::Evidence, evidence)?;
    let references = other_references(conn, state, &mut report);
    settle(&mut report, Theme::References, references)?;
    for query in QUERIES {
        let found =
            collect(conn, query.2, &mut |name| report.find(query.0, query.1.replacen("{}", &name, 1)));
        settle(&mut report, query.0, found)?;
    }
    report.findings.sort_by_key(|finding| finding.theme);
    Ok(report)
}

fn file_finding(line: &str) -> super::report::Finding {
    super::report::Finding { theme: Theme::File, what: format!("file: {line}") }
}

/// References of tables of ours that no check of its own is about, such as those that come with later migrations. Those
/// of others may refer to what has become a view.
fn other_references(
    conn: &Connection,
    state: &SchemaState,
    report: &mut CheckReport,
) -> rusqlite::Result<()> {
    let mut tables = Vec::new();
    collect(conn, "SELECT name FROM sqlite_schema WHERE type = 'table'", &mut |name| tables.push(name))?;
    tables.retain(|table| {
        !NAMED.contains(&table.as_str()) && !state.foreign.iter().any(|object| object.name == *table)
    });
    for table in tables {
        let sql = format!("SELECT 1 FROM pragma_foreign_key_check('{}') LIMIT 1", table.replace('\'', "''"));
        collect(conn, &sql, &mut |_| {
            report.find(Theme::References, format!("table {table}: a row refers to one that is gone"));
        })?;
    }
    Ok(())
}

fn collect(conn: &Connection, sql: &str, take: &mut dyn FnMut(String)) -> rusqlite::Result<()> {
    let mut statement = conn.prepare(sql)?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        take(rows::name(row)?);
    }
    Ok(())
}

/// A check that failed is a finding, unless another process or the system is why.
fn settle(report: &mut CheckReport, theme: Theme, ended: rusqlite::Result<()>) -> Result<(), StoreError> {
    let Err(error) = ended else { return Ok(()) };
    let is_outside = matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::OutOfMemory
                | ErrorCode::OperationInterrupted
                | ErrorCode::SystemIoFailure
        )
    );
    if is_outside {
        return Err(store_error("check the keep", error));
    }
    report.could_not(theme, format!("{}: a part of it cannot be checked: {error}", theme.as_str()));
    Ok(())
}
