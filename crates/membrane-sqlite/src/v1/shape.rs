//! What a V1 file looks like, and what of others beside it is in the way of an upgrade.

use membrane_store::kgents::columns::{NEEDED, TABLES};
use rusqlite::{Connection, OptionalExtension};

/// The tables of V1 that a file has, with their columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    tables: Vec<(&'static str, Vec<String>)>,
}

/// What a file has under the names of V1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing.
    Nothing,
    /// Its tables.
    V1(Shape),
    /// Something else.
    Other {
        /// What is called like a table of V1.
        name: String,
        /// What it lacks.
        problem: String,
    },
}

impl Shape {
    /// Looks for V1's tables.
    pub(crate) fn find(conn: &Connection) -> rusqlite::Result<Found> {
        let mut tables = Vec::new();
        for (table, needed) in TABLES.into_iter().zip(NEEDED) {
            let kind: Option<(String, String)> = conn
                .query_row(
                    "SELECT name, type FROM sqlite_schema WHERE name = ?1 COLLATE NOCASE",
                    [table],
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )
                .optional()?;
            let Some((name, kind)) = kind else { continue };
            let other = |problem: String| Ok(Found::Other { name: name.clone(), problem });
            if kind != "table" {
                return other(format!("it is a {kind}, not a table"));
            }
            let columns = columns(conn, table)?;
            let has = |wanted: &str| columns.iter().any(|column| column.eq_ignore_ascii_case(wanted));
            if let Some(missing) = needed.iter().find(|column| !has(column)) {
                return other(format!("it has no column {missing}"));
            }
            if has("history_id") {
                return other("it is a part of a keep, the rest of which is missing".to_owned());
            }
            if conn.prepare(&format!("SELECT rowid FROM {table}")).is_err() {
                return other("it was made WITHOUT ROWID".to_owned());
            }
            tables.push((table, columns));
        }
        Ok(if tables.is_empty() { Found::Nothing } else { Found::V1(Self { tables }) })
    }

    /// The tables that are there.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &'static str> {
        self.tables.iter().map(|(table, _)| *table)
    }

    /// A table's columns; none if it is not there.
    pub(crate) fn columns(&self, table: &str) -> &[String] {
        self.tables.iter().find(|(name, _)| *name == table).map_or(&[], |(_, columns)| columns)
    }

    /// Whether the table is there.
    pub(crate) fn has(&self, table: &str) -> bool {
        self.tables.iter().any(|(name, _)| *name == table)
    }

    /// Whether something of this name, an index for one, goes with one of the tables.
    pub(crate) fn owns(&self, conn: &Connection, name: &str) -> rusqlite::Result<bool> {
        let table: Option<String> = conn
            .query_row(
                "SELECT tbl_name FROM sqlite_schema WHERE name = ?1 COLLATE NOCASE AND type IN ('table', 'index')",
                [name],
                |row| row.get(0),
            )
            .optional()?;
        Ok(table.is_some_and(|table| self.tables.iter().any(|(ours, _)| table.eq_ignore_ascii_case(ours))))
    }
}

fn columns(conn: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    conn.prepare("SELECT name FROM pragma_table_xinfo(?1) WHERE hidden = 0")?
        .query_map([table], |row| row.get(0))?
        .collect()
}

/// What of others would stop working, each in a sentence: tables that refer to turns, which become a view; triggers on
/// the tables that go.
pub(crate) fn find_hindrances(conn: &Connection) -> rusqlite::Result<Vec<String>> {
    let referring: Vec<String> = conn
        .prepare(
            "SELECT DISTINCT m.name FROM sqlite_schema m, pragma_foreign_key_list(m.name) f \
             WHERE m.type = 'table' AND f.\"table\" = 'chat_turns' COLLATE NOCASE \
             AND lower(m.name) NOT IN ('chat_sessions', 'chat_turns', 'chat_crystals', 'chat_checkpoints')",
        )?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let triggers: Vec<(String, String)> = conn
        .prepare(
            "SELECT name, tbl_name FROM sqlite_schema WHERE type = 'trigger' \
             AND lower(tbl_name) IN ('chat_sessions', 'chat_turns', 'chat_crystals', 'chat_checkpoints')",
        )?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let referring = referring.into_iter().map(|table| {
        format!(
            "table {table:?} has a foreign key on chat_turns, which becomes a view; its rows stay, but could not be \
             written any more"
        )
    });
    let triggers = triggers
        .into_iter()
        .map(|(trigger, table)| format!("trigger {trigger:?} on {table} would be lost with the old table"));
    Ok(referring.chain(triggers).collect())
}
