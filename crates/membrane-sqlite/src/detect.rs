//! What kind of file something is: a keep, or one of the forms in which kgents left its sessions.
//!
//! Only looked at: nothing of the file, nor beside it, is another afterwards.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::connection::open_to_look;
use crate::error::{OpenError, open_error};
use crate::migrations;
use crate::options::SqliteOptions;

/// What a file turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OldFormat {
    /// kgents' Universe: one table of JSON documents.
    Universe,
    /// kgents' first tables, `chat_sessions` and those that go with it.
    V1,
    /// A keep.
    Membrane,
    /// A database of something else, with these tables.
    Unknown {
        /// Their names, in order.
        tables: Vec<String>,
    },
    /// No SQLite database.
    NotSqlite,
}

/// Says what a file is, by its tables.
///
/// # Errors
/// [`OpenError::Io`] if it cannot be reached, [`OpenError::Store`] if it is damaged or locked.
pub fn detect(path: &Path) -> Result<OldFormat, OpenError> {
    let looked =
        open_to_look(&SqliteOptions::at(path), OpenFlags::empty()).and_then(|conn| by_tables(&conn, path));
    match looked {
        Err(OpenError::NotADatabase { .. }) => Ok(OldFormat::NotSqlite),
        looked => looked,
    }
}

fn by_tables(conn: &Connection, path: &Path) -> Result<OldFormat, OpenError> {
    let failed = |error| open_error(path, "look for tables", error);
    let tables: Vec<String> = conn
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name")
        .and_then(|mut statement| statement.query_map([], |row| row.get(0))?.collect())
        .map_err(failed)?;
    let holds = |name: &str| tables.iter().any(|table| table.eq_ignore_ascii_case(name));
    if migrations::is_ours(conn, path)? {
        Ok(OldFormat::Membrane)
    } else if holds("chat_sessions") {
        Ok(OldFormat::V1)
    } else if is_universe(conn).map_err(failed)? {
        Ok(OldFormat::Universe)
    } else {
        Ok(OldFormat::Unknown { tables })
    }
}

/// Whether a file, whatever else it is, holds documents of kgents' chat: a keep may have been made beside them.
///
/// # Errors
/// As [`detect`].
pub fn holds_documents(path: &Path) -> Result<bool, OpenError> {
    let conn = open_to_look(&SqliteOptions::at(path), OpenFlags::empty())?;
    let failed = |error| open_error(path, "look for documents of kgents", error);
    if !is_universe(&conn).map_err(failed)? {
        return Ok(false);
    }
    let sql = "SELECT EXISTS (SELECT 1 FROM main.data WHERE instr(content, '\"chat.') > 0)";
    conn.query_row(sql, [], |row| row.get(0)).map_err(failed)
}

/// Whether there is a table `data` with what tells a document from the others.
fn is_universe(conn: &Connection) -> rusqlite::Result<bool> {
    let sql = "SELECT count(*) FROM sqlite_schema m, pragma_table_info(m.name) c \
               WHERE m.type = 'table' AND lower(m.name) = 'data' AND lower(c.name) IN ('id', 'content')";
    conn.query_row(sql, [], |row| row.get(0)).map(|count: i64| count == 2)
}
