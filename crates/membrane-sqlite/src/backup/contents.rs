//! What a database is, and how much is in it.

use std::error::Error;
use std::path::Path;

use membrane_store::StoreError;
use rusqlite::{Connection, ErrorCode};

use super::BackupError;
use crate::check::check_conn;
use crate::error::OpenError;
use crate::migrations;
use crate::rows::unsigned;

/// Whose tables a database holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Make {
    /// A keep of Membrane's.
    Keep,
    /// A file of kgents' own, which Membrane upgrades when it opens it.
    Kgents,
}

/// What a copy holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Whose tables they are.
    pub make: Make,
    /// Sessions.
    pub sessions: u64,
    /// Finished turns; one that several forks share counts once.
    pub turns: u64,
    /// Whether opening it brings its schema up to date.
    pub needs_upgrade: bool,
    /// What [`membrane_store::Store::check`] finds in it; nothing is looked for in a file whose schema is not up to
    /// date.
    pub findings: Vec<String>,
}

impl Contents {
    /// Looks at a database that nobody writes to.
    pub(super) fn read(conn: &Connection, path: &Path) -> Result<Self, BackupError> {
        let (make, needs_upgrade) = identify(conn, path)?;
        let turns = match make {
            Make::Keep => "SELECT count(*) FROM turns",
            Make::Kgents => "SELECT count(*) FROM chat_turns",
        };
        // A file of kgents' may be short of a table.
        let count =
            |sql: &str| match conn.prepare(sql).and_then(|mut rows| rows.query_row([], |row| row.get(0))) {
                Ok(count) => Ok(unsigned(count)),
                Err(error) if error.sqlite_error_code() == Some(ErrorCode::Unknown) => Ok(0),
                Err(error) => Err(BackupError::sqlite(path, "count rows", error)),
            };
        let findings = match make {
            Make::Keep if !needs_upgrade => {
                let failed = |error: membrane_store::StoreError| {
                    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
                    vec![format!("the check cannot be made: {error}{cause}")]
                };
                check_conn(conn).map_or_else(failed, |report| report.lines())
            }
            _ => Vec::new(),
        };
        Ok(Self {
            make,
            sessions: count("SELECT count(*) FROM chat_sessions")?,
            turns: count(turns)?,
            needs_upgrade,
            findings,
        })
    }
}

/// Whose tables they are, and whether opening the file changes them.
pub(super) fn identify(conn: &Connection, path: &Path) -> Result<(Make, bool), BackupError> {
    match migrations::inspect_in_snapshot(conn, path) {
        Ok(migrations::Contents::V1(_)) => return Ok((Make::Kgents, true)),
        // What is not ours is named below.
        Ok(migrations::Contents::Keep) | Err(OpenError::ForeignTables { .. } | OpenError::NotV1 { .. }) => {}
        Err(OpenError::Store(StoreError::Inconsistent { problem, .. })) => {
            return Err(BackupError::Damaged { path: path.to_owned(), problem });
        }
        Err(error) => return Err(error.into()),
    }
    if let Ok(steps) = migrations::status(conn, path)
        && steps.iter().any(|step| step.applied_at.is_some())
    {
        return Ok((Make::Keep, steps.iter().any(|step| step.applied_at.is_none())));
    }
    let names = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
                 ORDER BY name";
    let tables: Vec<String> = conn
        .prepare(names)
        .and_then(|mut statement| statement.query_map([], |row| row.get(0))?.collect())
        .map_err(|error| BackupError::sqlite(path, "read the schema", error))?;
    Err(BackupError::NoKeep { path: path.to_owned(), tables })
}
