//! Opening a database to look at it, in a way that changes no byte of any file.
//!
//! A database without a log, or with an empty one that nobody has open, is read as a file that does not change; that it
//! did not is looked at afterwards. One whose log has something in it and that nobody has open is taken for oneself
//! alone as long as it is looked at: then SQLite keeps the index of the log in memory. One that others have open is read
//! together with them. Nothing waits longer than [`PATIENCE`].

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::connection::{index_path, log_path, wait_politely};

/// How long others may take to let go.
pub(super) const PATIENCE: Duration = Duration::from_millis(300);

/// How the database was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// As a file that does not change.
    Still,
    /// For oneself alone.
    Alone,
    /// Together with others.
    Shared,
}

/// What keeps it from being opened.
#[derive(Debug)]
pub(super) enum Refused {
    /// Another process has it for itself.
    Locked,
    /// SQLite says so.
    Failed(rusqlite::Error),
}

impl From<rusqlite::Error> for Refused {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked,
            _ => Self::Failed(error),
        }
    }
}

/// Opens the database.
pub(super) fn open(path: &Path, is_wal: bool) -> Result<(Connection, How), Refused> {
    if !is_wal {
        return shared(path).map(|conn| (conn, How::Shared));
    }
    let log = fs::metadata(log_path(path)).map(|metadata| metadata.len()).ok();
    let has_index = index_path(path).exists();
    if log.is_none() || (log == Some(0) && !has_index) {
        return still(path).map(|conn| (conn, How::Still));
    }
    match alone(path) {
        Ok(conn) => return Ok((conn, How::Alone)),
        // A file that may only be read.
        Err(Refused::Failed(_)) if !has_index => return still(path).map(|conn| (conn, How::Still)),
        // Others have it open, or it can be read with their index.
        Err(_) => {}
    }
    shared(path).map(|conn| (conn, How::Shared))
}

const FLAGS: OpenFlags =
    OpenFlags::SQLITE_OPEN_NO_MUTEX.union(OpenFlags::SQLITE_OPEN_EXRESCODE).union(OpenFlags::SQLITE_OPEN_URI);

fn still(path: &Path) -> Result<Connection, Refused> {
    let conn =
        Connection::open_with_flags(uri(path, "immutable=1"), FLAGS | OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    first_look(&conn)?;
    Ok(conn)
}

fn alone(path: &Path) -> Result<Connection, Refused> {
    // Whoever has it open is found at once.
    let conn = Connection::open_with_flags(uri(path, "mode=rw"), FLAGS | OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    keep_log(&conn)?;
    conn.query_row("PRAGMA locking_mode = EXCLUSIVE", [], |_| Ok(()))?;
    conn.pragma_update(None, "query_only", true)?;
    first_look(&conn)?;
    Ok(conn)
}

fn shared(path: &Path) -> Result<Connection, Refused> {
    let mut conn =
        Connection::open_with_flags(uri(path, "mode=ro"), FLAGS | OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    wait_politely(&mut conn, PATIENCE).map_err(|_| Refused::Locked)?;
    keep_log(&conn)?;
    first_look(&conn)?;
    Ok(conn)
}

/// Whether somebody holds the right to write for longer than one waits here. Writes nothing.
pub(super) fn is_held(path: &Path) -> Result<bool, Refused> {
    let mut conn =
        Connection::open_with_flags(uri(path, "mode=rw"), FLAGS | OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    wait_politely(&mut conn, PATIENCE).map_err(|_| Refused::Locked)?;
    keep_log(&conn)?;
    match conn.execute_batch("BEGIN IMMEDIATE; ROLLBACK").map_err(Refused::from) {
        Ok(()) => Ok(false),
        Err(Refused::Locked) => Ok(true),
        // A file that may only be read: nobody can hold what is not to be had.
        Err(Refused::Failed(error)) if error.sqlite_error_code() == Some(ErrorCode::ReadOnly) => Ok(false),
        Err(error) => Err(error),
    }
}

fn keep_log(conn: &Connection) -> rusqlite::Result<()> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map(|_| ())
}

/// SQLite opens a file with the first read.
fn first_look(conn: &Connection) -> rusqlite::Result<()> {
    conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
}

/// The path as SQLite's URI, whatever it holds.
fn uri(path: &Path, option: &str) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut uri = String::from("file://");
    let text = path.to_string_lossy();
    if !text.starts_with('/') {
        uri.push('/');
    }
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b':' => {
                uri.push(char::from(*byte));
            }
            b'\\' if cfg!(windows) => uri.push('/'),
            other => {
                // Writing to a string cannot fail.
                let _ = write!(uri, "%{other:02X}");
            }
        }
    }
    format!("{uri}?{option}")
}

/// What tells that a file was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    file: Option<(u64, SystemTime)>,
    log: Option<u64>,
}

impl Stamp {
    pub(super) fn of(path: &Path) -> Self {
        let file = fs::metadata(path).ok();
        let log = fs::metadata(log_path(path)).ok().map(|metadata| metadata.len());
        Self { file: file.and_then(|found| Some((found.len(), found.modified().ok()?))), log }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_path_becomes_a_uri() {
        assert_eq!(uri(Path::new("/a b/ü?#%.db"), "mode=ro"), "file:///a%20b/%C3%BC%3F%23%25.db?mode=ro");
    }
}
