//! In which order an old file is read: parents before their children, turns as they followed each other.
//!
//! Kept in temporary tables of the connection, on disk as they grow, so that a file of a million rows needs little
//! memory, and whether the old tables have indexes does not matter.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, params};

use super::shape::Shape;

const TABLES: &str = "
    PRAGMA temp_store = FILE;
    CREATE TEMP TABLE v1_ids (id TEXT PRIMARY KEY, parent TEXT, at INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TEMP TABLE v1_sessions (seq INTEGER PRIMARY KEY, at INTEGER NOT NULL UNIQUE);
    CREATE TEMP TABLE v1_turns (seq INTEGER PRIMARY KEY, session TEXT NOT NULL, at INTEGER NOT NULL UNIQUE);
    CREATE TEMP TABLE v1_checkpoints (seq INTEGER PRIMARY KEY, session TEXT NOT NULL, at INTEGER NOT NULL UNIQUE);
    CREATE TEMP TABLE v1_crystals (seq INTEGER PRIMARY KEY, session TEXT NOT NULL, at INTEGER NOT NULL UNIQUE)";

/// Sessions by generation; those of a circle, which no root leads to, at the end.
const GENERATIONS: &str = "
    CREATE INDEX temp.v1_ids_parent ON v1_ids (parent);
    INSERT INTO v1_sessions (at)
        WITH RECURSIVE tree (id) AS (
            SELECT s.id FROM v1_ids s WHERE s.parent IS NULL OR s.parent = s.id
                OR NOT EXISTS (SELECT 1 FROM v1_ids p WHERE p.id = s.parent)
            UNION
            SELECT s.id FROM tree JOIN v1_ids s ON s.parent = tree.id
        )
        SELECT i.at FROM tree CROSS JOIN v1_ids i ON i.id = tree.id;
    INSERT OR IGNORE INTO v1_sessions (at) SELECT at FROM v1_ids ORDER BY at";

/// Makes the tables and fills them.
pub(super) fn prepare(conn: &Connection, shape: &Shape) -> rusqlite::Result<()> {
    conn.execute_batch(TABLES)?;
    conn.execute_batch("BEGIN")?;
    if shape.has("chat_sessions") {
        list_ids(conn, shape)?;
    }
    conn.execute_batch(GENERATIONS)?;
    if shape.has("chat_turns") {
        let column = |name: &str| has(shape, "chat_turns", name);
        conn.execute_batch(&format!(
            "INSERT INTO v1_turns (session, at) SELECT session_id, rowid FROM chat_turns \
             WHERE typeof(session_id) = 'text' AND session_id IN (SELECT id FROM v1_ids) \
             ORDER BY session_id, {} IS NULL, {}, {}, rowid",
            column("turn_number"),
            column("turn_number"),
            column("started_at")
        ))?;
    }
    if shape.has("chat_checkpoints") {
        conn.execute_batch(&format!(
            "INSERT INTO v1_checkpoints (session, at) SELECT session_id, rowid FROM chat_checkpoints \
             WHERE rowid IN (SELECT min(rowid) FROM chat_checkpoints \
                 WHERE typeof(id) = 'text' AND id <> '' GROUP BY id) \
             AND typeof(session_id) = 'text' AND session_id IN (SELECT id FROM v1_ids) \
             ORDER BY session_id, {}, rowid",
            has(shape, "chat_checkpoints", "created_at")
        ))?;
    }
    if shape.has("chat_crystals") {
        conn.execute_batch(
            "INSERT INTO v1_crystals (session, at) SELECT session_id, min(rowid) FROM chat_crystals \
             WHERE typeof(session_id) = 'text' AND session_id IN (SELECT id FROM v1_ids) GROUP BY session_id",
        )?;
    }
    conn.execute_batch(
        "CREATE INDEX temp.v1_turns_session ON v1_turns (session, seq);
         CREATE INDEX temp.v1_checkpoints_session ON v1_checkpoints (session, seq);
         CREATE UNIQUE INDEX temp.v1_crystals_session ON v1_crystals (session);
         COMMIT",
    )
}

/// A column, or NULL if the table has none of this name.
fn has(shape: &Shape, table: &str, name: &str) -> String {
    let is_there = shape.columns(table).iter().any(|column| column.eq_ignore_ascii_case(name));
    if is_there { name.to_owned() } else { "NULL".to_owned() }
}

/// The sessions that have an id which is text and nobody else's; the first one of several.
fn list_ids(conn: &Connection, shape: &Shape) -> rusqlite::Result<()> {
    let parent = has(shape, "chat_sessions", "parent_id");
    let mut rows = conn.prepare(&format!("SELECT rowid, id, {parent} FROM chat_sessions ORDER BY rowid"))?;
    let mut insert = conn.prepare("INSERT OR IGNORE INTO v1_ids (id, parent, at) VALUES (?1, ?2, ?3)")?;
    let mut found = rows.query([])?;
    while let Some(row) = found.next()? {
        let text = |column| match row.get_ref(column) {
            Ok(ValueRef::Text(bytes)) => std::str::from_utf8(bytes).ok().filter(|text| !text.is_empty()),
            _ => None,
        };
        if let Some(id) = text(1) {
            insert.execute(params![id, text(2), row.get::<_, i64>(0)?])?;
        }
    }
    Ok(())
}
