//! SQLite's own check of a file.
//!
//! `PRAGMA integrity_check` counts a view as a table with root page 0, and root page 0 as the first of all means to SQLite that
//! only one table is to be checked (`sqlite3BtreeIntegrityCheck` of SQLite 3.54). If a view comes first among those that it
//! knows, which it does in many files, it leaves out the list of free pages, whether a page is in use and free at once or
//! neither, and what the header says of vacuuming. Of a file that others use, the list can be looked at all the same; all of
//! it only of a copy, from which the views are taken for the while.

use rusqlite::Connection;

/// How closely it is looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// At every page.
    Pages,
    /// And whether indexes hold what tables hold.
    Whole,
}

/// The schema's own table, and the list of free pages.
const OF_SCHEMA: &str = "PRAGMA integrity_check(sqlite_schema)";

/// Takes what is wrong, a line each; nothing, if the file is sound as far as it can be told while it is in use.
///
/// # Errors
/// The file cannot be read to its end.
pub(crate) fn find_damage(
    conn: &Connection,
    depth: Depth,
    take: &mut dyn FnMut(String),
) -> rusqlite::Result<()> {
    let sql = match depth {
        Depth::Pages => "PRAGMA quick_check",
        Depth::Whole => "PRAGMA integrity_check",
    };
    if ask(conn, sql, take)? { ask(conn, OF_SCHEMA, take).map(|_| ()) } else { Ok(()) }
}

/// Takes all that is wrong with a copy that nobody else knows of, a line each. It is written to, and then is as it was.
///
/// # Errors
/// It cannot be read to its end, or not be written to.
pub(crate) fn find_damage_of_copy(conn: &Connection, take: &mut dyn FnMut(String)) -> rusqlite::Result<()> {
    // First: to drop a view may make a new list.
    if !ask(conn, OF_SCHEMA, take)? {
        return Ok(());
    }
    conn.execute_batch("BEGIN IMMEDIATE")?;
    let looked = drop_views(conn).and_then(|()| ask(conn, "PRAGMA integrity_check", take));
    let undone = conn.execute_batch("ROLLBACK");
    looked.and(undone)
}

fn drop_views(conn: &Connection) -> rusqlite::Result<()> {
    let views: Vec<String> = conn
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'view'")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    views
        .iter()
        .try_for_each(|name| conn.execute_batch(&format!("DROP VIEW main.\"{}\"", name.replace('"', "\"\""))))
}

/// Whether nothing was found.
fn ask(conn: &Connection, sql: &str, take: &mut dyn FnMut(String)) -> rusqlite::Result<bool> {
    let mut statement = conn.prepare(sql)?;
    let mut found = statement.query([])?;
    let mut is_sound = true;
    while let Some(row) = found.next()? {
        // It may quote what is damaged.
        let line = String::from_utf8_lossy(row.get_ref(0)?.as_bytes()?).into_owned();
        if line != "ok" {
            is_sound = false;
            take(line);
        }
    }
    Ok(is_sound)
}
