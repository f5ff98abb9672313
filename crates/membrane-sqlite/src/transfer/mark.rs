//! The mark of an unfinished copy: one row in a table that only such a file has.

use membrane_store::transfer::{MARK_TABLE, Mark};
use rusqlite::{Connection, OptionalExtension};

/// Leaves the mark of a first try.
pub(super) fn make(conn: &Connection, mark: &Mark) -> rusqlite::Result<i64> {
    conn.execute_batch(&format!(
        "CREATE TABLE {MARK_TABLE} (source TEXT NOT NULL, started_at TEXT NOT NULL, attempt INTEGER NOT NULL)"
    ))?;
    conn.execute(
        &format!("INSERT INTO {MARK_TABLE} (source, started_at, attempt) VALUES (?1, ?2, 1)"),
        [&mark.source, &mark.started_at.to_string()],
    )?;
    Ok(1)
}

/// What is being copied into the file; `None` for a file without the mark.
pub(crate) fn find_source(conn: &Connection) -> rusqlite::Result<Option<String>> {
    let is_there: bool = conn.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1)",
        [MARK_TABLE],
        |row| row.get(0),
    )?;
    if !is_there {
        return Ok(None);
    }
    let sql = format!("SELECT source FROM {MARK_TABLE}");
    let source = conn.query_row(&sql, [], |row| row.get(0)).optional()?;
    // A table without its row was left by nobody of ours, and is no keep's either.
    Ok(Some(source.unwrap_or_else(|| "an unknown database".to_owned())))
}

/// Begins the next try, and says which it is. Earlier ones find that they are not the newest any more.
pub(super) fn take_over(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row(&format!("UPDATE {MARK_TABLE} SET attempt = attempt + 1 RETURNING attempt"), [], |row| {
        row.get(0)
    })
}

/// Whether this try is the newest.
pub(super) fn is_newest(conn: &Connection, attempt: i64) -> rusqlite::Result<bool> {
    if find_source(conn)?.is_none() {
        return Ok(false);
    }
    let sql = format!("SELECT attempt FROM {MARK_TABLE}");
    let newest: Option<i64> = conn.query_row(&sql, [], |row| row.get(0)).optional()?;
    Ok(newest == Some(attempt))
}

/// Removes the mark.
pub(super) fn remove(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch(&format!("DROP TABLE {MARK_TABLE}"))
}
