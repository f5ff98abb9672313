//! The schema, as numbered files that are applied in order at start, each once, under the write lock.
//!
//! Recorded in `schema_version` with a checksum. Numbers of ours start at 1001: rows 1 and 2 of a kgents
//! file are not ours and stay as they are. An applied file is never edited; a change is a new file.

use std::path::Path;

use membrane_core::time::{Clock, SystemClock};
use membrane_store::StoreError;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use sha2::{Digest, Sha256};

use crate::error::{Doing, OpenError};

/// The lowest number of ours.
const FIRST: i64 = 1001;

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
pub const MIGRATIONS: &[Migration] =
    &[Migration { version: 1001, name: "keep", sql: include_str!("migrations/1001_keep.sql") }];

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

/// Brings the file up to date. Two processes may try at once; the second finds it done.
pub(crate) fn migrate(conn: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let doing = "bring the schema up to date";
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).doing(doing)?;
    prepare_version_table(&tx)?;
    for step in MIGRATIONS {
        let applied: Option<String> = tx
            .query_row("SELECT checksum FROM schema_version WHERE version = ?1", [step.version], |row| {
                row.get(0)
            })
            .optional()
            .doing(doing)?;
        match applied {
            Some(checksum) if checksum == step.checksum() => {}
            Some(found) => {
                return Err(OpenError::ChecksumMismatch {
                    path: path.to_owned(),
                    version: step.version,
                    found,
                    known: step.checksum(),
                });
            }
            None => {
                if step.version == FIRST {
                    refuse_foreign_tables(&tx, path)?;
                }
                tx.execute_batch(step.sql).doing(doing)?;
                tx.execute(
                    "INSERT INTO schema_version (version, applied_at, name, checksum) VALUES (?1, ?2, ?3, ?4)",
                    params![step.version, SystemClock.now().to_string(), step.name, step.checksum()],
                )
                .doing(doing)?;
            }
        }
    }
    let newest: Option<i64> =
        tx.query_row("SELECT max(version) FROM schema_version", [], |row| row.get(0)).doing(doing)?;
    let known = MIGRATIONS.iter().map(|step| step.version).max().unwrap_or(0);
    if let Some(found) = newest.filter(|found| *found > known) {
        return Err(OpenError::TooNew { path: path.to_owned(), found, known });
    }
    tx.commit().doing(doing)?;
    Ok(())
}

/// What is applied and what is not. Changes nothing.
pub(crate) fn status(conn: &Connection) -> Result<Vec<MigrationStatus>, StoreError> {
    let doing = "read the schema's version";
    let has_table = has_column(conn, "checksum")?;
    MIGRATIONS
        .iter()
        .map(|step| {
            let applied_at = if has_table {
                conn.query_row(
                    "SELECT applied_at FROM schema_version WHERE version = ?1",
                    [step.version],
                    |row| row.get(0),
                )
                .optional()
                .doing(doing)?
            } else {
                None
            };
            Ok(MigrationStatus { version: step.version, name: step.name, applied_at })
        })
        .collect()
}

fn has_column(conn: &Connection, column: &str) -> Result<bool, StoreError> {
    conn.query_row(
        "SELECT count(*) FROM pragma_table_info('schema_version') WHERE name = ?1",
        [column],
        |row| row.get::<_, i64>(0),
    )
    .map(|count| count > 0)
    .doing("read the schema's version")
}

/// Makes the table, or adds our columns to the one that is there; its rows stay as they are.
fn prepare_version_table(conn: &Connection) -> Result<(), StoreError> {
    let doing = "prepare the schema's version";
    conn.execute_batch(
        "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY, applied_at TEXT)",
    )
    .doing(doing)?;
    for column in ["name", "checksum"] {
        if !has_column(conn, column)? {
            conn.execute_batch(&format!("ALTER TABLE schema_version ADD COLUMN {column} TEXT"))
                .doing(doing)?;
        }
    }
    Ok(())
}

fn refuse_foreign_tables(conn: &Connection, path: &Path) -> Result<(), OpenError> {
    let table: Option<String> = conn
        .query_row(
            "SELECT name FROM sqlite_schema WHERE name IN
                ('chat_sessions', 'chat_turns', 'chat_crystals', 'chat_checkpoints', 'turns', 'segments',
                 'histories', 'slices', 'runs')",
            [],
            |row| row.get(0),
        )
        .optional()
        .doing("look for tables of another make")?;
    match table {
        Some(table) => Err(OpenError::ForeignTables { path: path.to_owned(), table }),
        None => Ok(()),
    }
}
