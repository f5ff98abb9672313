//! SQLite's own check of a file.
//!
//! `PRAGMA integrity_check` counts a view as a table with root page 0, and root page 0 as the first of all means to SQLite that
//! only one table is to be checked: if a view comes first among those that it knows, which it does in many files, the
//! list of free pages is left out (`sqlite3BtreeIntegrityCheck` of SQLite 3.54). A check of `sqlite_schema` looks at that list.

use rusqlite::Connection;

/// How closely it is looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// At every page.
    Pages,
    /// And whether indexes hold what tables hold.
    Whole,
}

/// Takes what is wrong, a line each; nothing, if the file is sound.
///
/// # Errors
/// The file cannot be read to its end.
pub(crate) fn find_damage(
    conn: &Connection,
    depth: Depth,
    take: &mut dyn FnMut(String),
) -> rusqlite::Result<()> {
    let pragma = match depth {
        Depth::Pages => "quick_check",
        Depth::Whole => "integrity_check",
    };
    let mut is_sound = true;
    for scope in ["", "(sqlite_schema)"] {
        let mut statement = conn.prepare(&format!("PRAGMA {pragma}{scope}"))?;
        let mut found = statement.query([])?;
        while let Some(row) = found.next()? {
            // It may quote what is damaged.
            let line = String::from_utf8_lossy(row.get_ref(0)?.as_bytes()?).into_owned();
            if line != "ok" {
                is_sound = false;
                take(line);
            }
        }
        if !is_sound {
            break;
        }
    }
    Ok(())
}
