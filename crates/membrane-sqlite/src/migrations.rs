//! The schema, as numbered files that are applied in order at start, each once, under the write lock.
//!
//! Recorded in `schema_version` with a checksum. Numbers of ours start at 1001: rows 1 and 2 of a kgents
//! file are not ours and stay as they are. An applied file is never edited; a change is a new file.

use std::path::Path;

use membrane_core::time::{Clock, SystemClock};
use membrane_store::StoreError;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use sha2::{Digest, Sha256};

use crate::error::{Doing, OpenError, open_error};
use crate::transfer::mark;
use crate::v1::{Found, Shape};

/// The lowest number of ours.
pub(crate) const FIRST: i64 = 1001;

/// One step of the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    /// Its number; they are applied in this order.
    pub version: i64,
    /// What it is called.
    pub name: &'static str,
    /// Its statements.
    pub sql: &'static str,
}

/// All steps, in order.
pub const MIGRATIONS: &[Migration] = &[
    Migration { version: 1001, name: "keep", sql: include_str!("migrations/1001_keep.sql") },
    Migration { version: 1002, name: "old rows", sql: include_str!("migrations/1002_old_rows.sql") },
    Migration { version: 1003, name: "events", sql: include_str!("migrations/1003_events.sql") },
    Migration { version: 1004, name: "leaders", sql: include_str!("migrations/1004_leaders.sql") },
    Migration { version: 1005, name: "shared runs", sql: include_str!("migrations/1005_shared_runs.sql") },
    Migration { version: 1006, name: "log of runs", sql: include_str!("migrations/1006_log_of_runs.sql") },
];

/// Whether a step is in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationStatus {
    /// Its number.
    pub version: i64,
    /// What it is called.
    pub name: &'static str,
    /// When it was applied; `None` if it was not.
    pub applied_at: Option<String>,
}

/// The whole schema as SQL.
pub fn sql() -> String {
    let parts: Vec<_> =
        MIGRATIONS.iter().map(|step| format!("-- {} {}\n\n{}", step.version, step.name, step.sql)).collect();
    parts.join("\n")
}

impl Migration {
    /// SHA-256 of the statements, the first 16 hex digits: tells an edited file from the released one.
    pub fn checksum(&self) -> String {
        let digest = Sha256::digest(self.sql.as_bytes());
        let first = digest.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        format!("{first:016x}")
    }
}

/// Refuses a file that is not ours to write to: another make's, a newer one, an edited one. Only reads, and
/// in one snapshot: another process may be making the schema at this moment.
pub(crate) fn inspect_in_snapshot(conn: &Connection, path: &Path) -> Result<Contents, OpenError> {
    let tx = conn.unchecked_transaction().map_err(|error| open_error(path, READING, error))?;
    let contents = inspect(&tx, path)?;
    tx.commit().map_err(|error| open_error(path, READING, error))?;
    Ok(contents)
}

/// What is in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Contents {
    /// A keep, or nothing of ours yet.
    Keep,
    /// A kgents V1 file's tables.
    V1(Shape),
}

/// The same inside a transaction.
pub(crate) fn inspect(conn: &Connection, path: &Path) -> Result<Contents, OpenError> {
    let contents = inspect_schema(conn, path)?;
    match mark::find_source(conn).map_err(|error| open_error(path, READING, error))? {
        None => Ok(contents),
        Some(source_name) => Err(OpenError::UnfinishedCopy { path: path.to_owned(), source_name }),
    }
}

/// The same, and a file that is an unfinished copy is none the worse for that.
pub(crate) fn inspect_schema(conn: &Connection, path: &Path) -> Result<Contents, OpenError> {
    let applied = applied(conn, path)?;
    for (version, checksum, _) in &applied {
        let Some(step) = MIGRATIONS.iter().find(|step| step.version == *version) else { continue };
        if *checksum != step.checksum() {
            return Err(OpenError::ChecksumMismatch {
                path: path.to_owned(),
                version: *version,
                found: checksum.clone(),
                known: step.checksum(),
            });
        }
    }
    let known = MIGRATIONS.iter().map(|step| step.version).max().unwrap_or(0);
    if let Some(found) = applied.iter().map(|(version, ..)| *version).max().filter(|found| *found > known) {
        return Err(OpenError::TooNew { path: path.to_owned(), found, known });
    }
    if !applied.is_empty() {
        return Ok(Contents::Keep);
    }
    match Shape::find(conn).map_err(|error| open_error(path, READING, error))? {
        Found::V1(shape) => {
            refuse_foreign_tables(conn, path, Some(&shape))?;
            Ok(Contents::V1(shape))
        }
        Found::Other { name, problem } => Err(OpenError::NotV1 { path: path.to_owned(), name, problem }),
        Found::Nothing => refuse_foreign_tables(conn, path, None).map(|()| Contents::Keep),
    }
}

/// Brings the file up to date. Two processes may try at once; the second finds it done.
pub(crate) fn migrate(conn: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let doing = "bring the schema up to date";
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).doing(doing)?;
    // Once more under the lock: another process may have been here meanwhile.
    inspect(&tx, path)?;
    apply_missing(&tx, path)?;
    tx.commit().doing(doing)?;
    Ok(())
}

/// Applies the steps that are not there yet, in the caller's transaction.
pub(crate) fn apply_missing(tx: &Connection, path: &Path) -> Result<(), OpenError> {
    let doing = "bring the schema up to date";
    prepare_version_table(tx)?;
    let applied = applied(tx, path)?;
    for step in MIGRATIONS {
        if applied.iter().any(|(version, ..)| *version == step.version) {
            continue;
        }
        tx.execute_batch(step.sql).doing(doing)?;
        tx.execute(
            "INSERT INTO schema_version (version, applied_at, name, checksum) VALUES (?1, ?2, ?3, ?4)",
            params![step.version, SystemClock.now().to_string(), step.name, step.checksum()],
        )
        .doing(doing)?;
    }
    Ok(())
}

/// What is applied and what is not. Changes nothing.
pub(crate) fn status(conn: &Connection, path: &Path) -> Result<Vec<MigrationStatus>, OpenError> {
    let applied = applied(conn, path)?;
    let status = |step: &Migration| MigrationStatus {
        version: step.version,
        name: step.name,
        applied_at: applied.iter().find(|row| row.0 == step.version).map(|row| row.2.clone()),
    };
    Ok(MIGRATIONS.iter().map(status).collect())
}

/// Whether steps of ours were applied to the file, of this version or of another.
pub(crate) fn is_ours(conn: &Connection, path: &Path) -> Result<bool, OpenError> {
    match applied(conn, path) {
        // A table of that name that is another's.
        Err(OpenError::ForeignTables { .. }) => Ok(false),
        applied => Ok(!applied?.is_empty()),
    }
}

/// Rows of ours in `schema_version`: number, checksum, and when it was applied.
fn applied(conn: &Connection, path: &Path) -> Result<Vec<(i64, String, String)>, OpenError> {
    let columns = version_columns(conn, path)?;
    if columns.is_empty() {
        return Ok(Vec::new());
    }
    let foreign = || OpenError::ForeignTables { path: path.to_owned(), table: "schema_version".to_owned() };
    if !["version", "applied_at"].iter().all(|name| columns.iter().any(|column| column == name)) {
        return Err(foreign());
    }
    if !can_take_ours(conn).map_err(|error| open_error(path, READING, error))? {
        return Err(foreign());
    }
    // A file of kgents has no checksums, and no numbers as high as ours.
    let checksum = if columns.iter().any(|column| column == "checksum") { "checksum" } else { "NULL" };
    let sql = format!(
        "SELECT version, coalesce({checksum}, 'none'), coalesce(applied_at, '') FROM schema_version \
         WHERE version >= ?1 ORDER BY version"
    );
    let rows = conn.prepare(&sql).and_then(|mut statement| {
        statement.query_map([FIRST], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
    });
    rows.map_err(|error| match error {
        rusqlite::Error::InvalidColumnType(..) => foreign(),
        error => open_error(path, READING, error),
    })
}

/// Whether rows of ours fit into the table: its numbers are numbers, and no column of others must be filled.
fn can_take_ours(conn: &Connection) -> rusqlite::Result<bool> {
    conn.query_row(
        "SELECT NOT EXISTS (SELECT 1 FROM pragma_table_info('schema_version') \
             WHERE name = 'version' AND upper(type) NOT LIKE '%INT%' \
             OR name NOT IN ('version', 'applied_at', 'name', 'checksum') \
                 AND \"notnull\" AND dflt_value IS NULL)",
        [],
        |row| row.get(0),
    )
}

const READING: &str = "read the schema's version";

/// The columns of `schema_version`; none if there is no such table.
fn version_columns(conn: &Connection, path: &Path) -> Result<Vec<String>, OpenError> {
    conn.prepare("SELECT name FROM pragma_table_info('schema_version')")
        .and_then(|mut statement| statement.query_map([], |row| row.get(0))?.collect())
        .map_err(|error| open_error(path, READING, error))
}

/// Makes the table, or adds our columns to the one that is there; its rows stay as they are.
fn prepare_version_table(conn: &Connection) -> Result<(), StoreError> {
    let doing = "prepare the schema's version";
    conn.execute_batch(
        "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY, applied_at TEXT)",
    )
    .doing(doing)?;
    for column in ["name", "checksum"] {
        let is_there: bool = conn
            .query_row(
                "SELECT EXISTS (SELECT 1 FROM pragma_table_info('schema_version') WHERE name = ?1)",
                [column],
                |row| row.get(0),
            )
            .doing(doing)?;
        if !is_there {
            conn.execute_batch(&format!("ALTER TABLE schema_version ADD COLUMN {column} TEXT"))
                .doing(doing)?;
        }
    }
    Ok(())
}

/// A new schema needs all of its names; tables of others beside them are no hindrance.
fn refuse_foreign_tables(conn: &Connection, path: &Path, old: Option<&Shape>) -> Result<(), OpenError> {
    let doing = "look for tables of another make";
    let ours = Connection::open_in_memory().doing(doing)?;
    ours.execute_batch(&sql()).doing(doing)?;
    let names = "SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
                 ORDER BY type = 'table' DESC, name";
    let mut names = ours.prepare(names).doing(doing)?;
    let mut names = names.query([]).doing(doing)?;
    let mut look = conn
        .prepare("SELECT name FROM sqlite_schema WHERE name = ?1 COLLATE NOCASE")
        .map_err(|error| open_error(path, doing, error))?;
    while let Some(row) = names.next().doing(doing)? {
        let name: String = row.get(0).doing(doing)?;
        let found: Option<String> = look.query_row([&name], |row| row.get(0)).optional().doing(doing)?;
        let is_old = match (&found, old) {
            (Some(name), Some(shape)) => {
                shape.owns(conn, name).map_err(|error| open_error(path, doing, error))?
            }
            _ => false,
        };
        if let (Some(table), false) = (found, is_old) {
            return Err(OpenError::ForeignTables { path: path.to_owned(), table });
        }
    }
    Ok(())
}
