//! A file's schema against the one that the migrations make which were applied to it. No list of names is kept
//! here: what is expected is asked of an empty database.

use std::collections::BTreeMap;

use rusqlite::Connection;

use crate::migrations::MIGRATIONS;

/// What can stand in a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    /// `table`, `view`, `trigger` or `index`.
    pub(crate) kind: String,
    pub(crate) name: String,
    /// The table that it belongs to.
    pub(crate) table: String,
    /// How it is made; none for what SQLite makes by itself.
    pub(crate) sql: Option<String>,
}

/// A migration that a file says was applied to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) version: i64,
    pub(crate) checksum: String,
}

/// A file's schema, compared.
#[derive(Debug, Default)]
pub(crate) struct SchemaState {
    /// Migrations of ours that were applied.
    pub(crate) applied: Vec<Applied>,
    /// What should be there and is not.
    pub(crate) missing: Vec<Object>,
    /// Views, triggers and indexes that are not what they should be.
    pub(crate) altered: Vec<Object>,
    /// Columns that should be there and are not: table, column.
    pub(crate) missing_columns: Vec<(String, String)>,
    /// Tables and views that are not ours.
    pub(crate) foreign: Vec<Object>,
    /// Triggers of others on tables of ours.
    pub(crate) foreign_triggers: Vec<Object>,
}

impl SchemaState {
    /// Reads and compares.
    pub(crate) fn read(conn: &Connection) -> rusqlite::Result<Self> {
        let found = objects(conn)?;
        let mut state = Self { applied: applied(conn, &found)?, ..Self::default() };
        let model = model(&state.applied)?;
        let expected = objects(&model)?;
        let by_name: BTreeMap<String, &Object> =
            found.iter().map(|object| (object.name.to_ascii_lowercase(), object)).collect();
        for object in &expected {
            match by_name.get(&object.name.to_ascii_lowercase()) {
                Some(there) if there.kind == object.kind => {
                    if object.kind == "table" {
                        let there = columns(conn, &object.name)?;
                        for column in columns(&model, &object.name)? {
                            if !there.contains(&column) {
                                state.missing_columns.push((object.name.clone(), column));
                            }
                        }
                    } else if normal(there.sql.as_deref()) != normal(object.sql.as_deref()) {
                        state.altered.push(object.clone());
                    }
                }
                _ => state.missing.push(object.clone()),
            }
        }
        let is_ours = |name: &str| expected.iter().any(|object| object.name.eq_ignore_ascii_case(name));
        for object in found {
            if is_ours(&object.name) || object.name.eq_ignore_ascii_case("schema_version") {
                continue;
            }
            match object.kind.as_str() {
                "table" | "view" => state.foreign.push(object),
                "trigger" if is_ours(&object.table) => state.foreign_triggers.push(object),
                _ => {}
            }
        }
        Ok(state)
    }

    /// One line for each contradiction.
    pub(crate) fn findings(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for object in &self.missing {
            lines.push(format!("{} {}: it is missing", object.kind, object.name));
        }
        for object in &self.altered {
            lines.push(format!("{} {}: it is not as it was made", object.kind, object.name));
        }
        for (table, column) in &self.missing_columns {
            lines.push(format!("table {table}: column {column} is missing"));
        }
        for object in &self.foreign_triggers {
            lines.push(format!(
                "trigger {}: it is not Membrane's, and acts on table {}",
                object.name, object.table
            ));
        }
        lines
    }
}

/// An empty database with the migrations that were applied.
fn model(applied: &[Applied]) -> rusqlite::Result<Connection> {
    let model = Connection::open_in_memory()?;
    for step in MIGRATIONS {
        if applied.iter().any(|applied| applied.version == step.version) {
            model.execute_batch(step.sql)?;
        }
    }
    Ok(model)
}

/// All that a schema holds, but for what SQLite keeps for itself. Indexes that SQLite makes for a table's own
/// constraints have no text and go with the table.
fn objects(conn: &Connection) -> rusqlite::Result<Vec<Object>> {
    let mut statement = conn.prepare(
        "SELECT type, name, tbl_name, sql FROM sqlite_schema \
         WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND sql IS NOT NULL \
         ORDER BY CASE type WHEN 'table' THEN 0 WHEN 'index' THEN 1 WHEN 'view' THEN 2 ELSE 3 END, rowid",
    )?;
    let objects = statement.query_map([], |row| {
        Ok(Object { kind: row.get(0)?, name: row.get(1)?, table: row.get(2)?, sql: row.get(3)? })
    })?;
    objects.collect()
}

fn columns(conn: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = conn.prepare("SELECT name FROM pragma_table_info(?1)")?;
    let names = statement.query_map([table], |row| row.get(0))?;
    names.collect()
}

/// The rows of ours in `schema_version`.
fn applied(conn: &Connection, found: &[Object]) -> rusqlite::Result<Vec<Applied>> {
    const TABLE: &str = "schema_version";
    if !found.iter().any(|object| object.kind == "table" && object.name == TABLE) {
        return Ok(Vec::new());
    }
    let columns = columns(conn, TABLE)?;
    let has = |name: &str| columns.iter().any(|column| column == name);
    let first = MIGRATIONS.iter().map(|step| step.version).min();
    let (Some(first), true, true) = (first, has("version"), has("checksum")) else { return Ok(Vec::new()) };
    let mut statement = conn.prepare(
        "SELECT version, coalesce(checksum, 'none') FROM schema_version \
         WHERE typeof(version) = 'integer' AND version >= ?1 ORDER BY version",
    )?;
    let rows =
        statement.query_map([first], |row| Ok(Applied { version: row.get(0)?, checksum: row.get(1)? }))?;
    rows.collect()
}

/// A statement without what formatting adds.
fn normal(sql: Option<&str>) -> String {
    let text = sql.unwrap_or_default().replace("IF NOT EXISTS ", "");
    text.split_whitespace().collect::<Vec<_>>().join(" ").to_ascii_lowercase()
}
