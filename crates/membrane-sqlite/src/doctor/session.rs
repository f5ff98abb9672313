//! Where a session is that was not found: here, deleted, under an id that differs by case or blanks, or in a file of
//! another layout.

use std::path::Path;

pub use membrane_store::doctor::SessionTrace;
use rusqlite::{Connection, OptionalExtension};

use super::file::{self, Kind};
use super::open::{self, Refused};

/// Looks for a session in a file, which is not changed.
pub fn trace_session(path: &Path, id: &str) -> SessionTrace {
    let (_, kind) = file::look(path);
    let Kind::Database { is_wal } = kind else { return SessionTrace::NoDatabase };
    match open::open(path, is_wal) {
        Ok((conn, _)) => trace(&conn, id).unwrap_or_else(|error| SessionTrace::Unreadable(error.to_string())),
        Err(Refused::Locked) => SessionTrace::Unreadable("another process has it for itself".to_owned()),
        Err(Refused::Failed(error)) => SessionTrace::Unreadable(error.to_string()),
    }
}

/// The same on an open database.
pub(super) fn trace(conn: &Connection, id: &str) -> rusqlite::Result<SessionTrace> {
    let has = |table: &str| -> rusqlite::Result<bool> {
        conn.query_row(
            "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1)",
            [table],
            |row| row.get(0),
        )
    };
    if has("chat_sessions")? {
        let turns: Option<i64> = conn
            .query_row("SELECT turn_count FROM chat_sessions WHERE id = ?1", [id], |row| row.get(0))
            .optional()?;
        if let Some(turns) = turns {
            return Ok(SessionTrace::Here(turns));
        }
        if has("deleted_sessions")? {
            let at: Option<String> = conn
                .query_row("SELECT deleted_at FROM deleted_sessions WHERE id = ?1", [id], |row| row.get(0))
                .optional()?;
            if let Some(at) = at {
                return Ok(SessionTrace::Deleted(at));
            }
        }
        let mut statement = conn.prepare(
            "SELECT id FROM chat_sessions WHERE lower(replace(replace(replace(trim(id), ' ', ''), char(9), ''), char(10), '')) \
             = lower(replace(replace(replace(trim(?1), ' ', ''), char(9), ''), char(10), '')) LIMIT 10",
        )?;
        let similar: Vec<String> =
            statement.query_map([id], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        if !similar.is_empty() {
            return Ok(SessionTrace::Similar(similar));
        }
    }
    if has("data")? {
        let is_there: rusqlite::Result<bool> = conn.query_row(
            "SELECT EXISTS (SELECT 1 FROM data WHERE json_valid(CAST(content AS TEXT)) \
             AND CAST(content AS TEXT) ->> 'session_id' = ?1)",
            [id],
            |row| row.get(0),
        );
        // Another's table may have the same name and other columns.
        if is_there.unwrap_or(false) {
            return Ok(SessionTrace::InUniverse);
        }
    }
    Ok(SessionTrace::Unknown)
}
