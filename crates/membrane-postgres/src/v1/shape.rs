//! What V1's tables look like in a PostgreSQL database.

use membrane_store::StoreError;
use membrane_store::kgents::columns::{NEEDED, TABLES};
use tokio_postgres::types::FromSql;
use tokio_postgres::{Error, Row};

use super::cells::Kind;
use crate::db::Db;
use crate::error::Doing;
use crate::value::values;

const LOOKING: &str = "look for old tables";

/// The tables of V1 that a database has, with their columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    tables: Vec<Table>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Table {
    name: &'static str,
    columns: Vec<String>,
    kinds: Vec<Kind>,
}

/// What a schema has under the names of V1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing.
    Nothing,
    /// Its tables.
    V1(Shape),
    /// Something else.
    Other {
        /// What is called like a table of V1.
        name: &'static str,
        /// What it lacks.
        problem: String,
    },
}

/// Looks for V1's tables where a keep would be made.
pub(crate) async fn find(db: Db<'_>) -> Result<Found, StoreError> {
    let sql = "SELECT c.relname::text, CASE c.relkind WHEN 'r' THEN '' WHEN 'p' THEN 'it is partitioned' \
                   WHEN 'v' THEN 'it is a view, not a table' WHEN 'm' THEN 'it is a view, not a table' \
                   WHEN 'f' THEN 'it is a table of another server' ELSE 'it is not a table' END, \
               EXISTS (SELECT 1 FROM pg_inherits i WHERE i.inhparent = c.oid OR i.inhrelid = c.oid), \
               ARRAY(SELECT a.attname::text FROM pg_attribute a \
                   WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum), \
               ARRAY(SELECT format_type(coalesce(nullif(t.typbasetype, 0), t.oid), NULL) FROM pg_attribute a \
                   JOIN pg_type t ON t.oid = a.atttypid \
                   WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum) \
               FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE n.nspname = current_schema() AND c.relname = ANY ($1)";
    let rows = db.query(sql, &values![TABLES.to_vec()]).await.doing(LOOKING)?;
    let mut tables = Vec::new();
    for row in &rows {
        let name: String = row.try_get(0).doing(LOOKING)?;
        let (not_a_table, has_relatives) = pair::<String, bool>(row, 1).doing(LOOKING)?;
        let (columns, types) = pair::<Vec<String>, Vec<String>>(row, 3).doing(LOOKING)?;
        let Some((name, needed)) = TABLES.into_iter().zip(NEEDED).find(|(table, _)| *table == name) else {
            continue;
        };
        let table = Table { name, columns, kinds: types.iter().map(|name| Kind::of(name)).collect() };
        let problem = if !not_a_table.is_empty() {
            not_a_table
        } else if has_relatives {
            "other tables inherit from it, or it from them".to_owned()
        } else if let Some(missing) = needed.iter().find(|column| table.place(column).is_none()) {
            format!("it has no column {missing}")
        } else if table.place("history_id").is_some() {
            "it is a part of a keep, the rest of which is missing".to_owned()
        } else {
            tables.push(table);
            continue;
        };
        return Ok(Found::Other { name, problem });
    }
    if tables.is_empty() {
        return Ok(Found::Nothing);
    }
    tables.sort_by_key(|table| TABLES.iter().position(|name| *name == table.name));
    Ok(Found::V1(Shape { tables }))
}

impl Table {
    fn place(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.eq_ignore_ascii_case(name))
    }
}

impl Shape {
    /// The tables that are there.
    pub(super) fn tables(&self) -> impl Iterator<Item = &'static str> {
        self.tables.iter().map(|table| table.name)
    }

    /// Whether the table is there.
    pub(super) fn has(&self, table: &str) -> bool {
        self.tables().any(|name| name == table)
    }

    /// A table's columns; none if it is not there.
    pub(super) fn columns(&self, table: &str) -> &[String] {
        self.table(table).map_or(&[], |table| &table.columns)
    }

    /// What they hold.
    pub(super) fn kinds(&self, table: &str) -> &[Kind] {
        self.table(table).map_or(&[], |table| &table.kinds)
    }

    /// A column of `t`, quoted, and what it holds; `None` if the table has none of this name.
    pub(super) fn column(&self, table: &str, name: &str) -> Option<(String, Kind)> {
        let table = self.table(table)?;
        let place = table.place(name)?;
        Some((quoted(table.columns.get(place)?), *table.kinds.get(place)?))
    }

    /// A column's text, or NULL if the table has none of this name.
    pub(super) fn text(&self, table: &str, name: &str) -> String {
        let text = self.column(table, name).map(|(column, kind)| kind.selected(&column));
        text.map_or_else(|| "NULL::text".to_owned(), |text| format!("({text})::text COLLATE \"C\""))
    }

    fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == name)
    }
}

/// Two columns that stand side by side.
fn pair<'a, A: FromSql<'a>, B: FromSql<'a>>(row: &'a Row, at: usize) -> Result<(A, B), Error> {
    Ok((row.try_get(at)?, row.try_get(at + 1)?))
}

/// A column of `t`.
pub(super) fn quoted(name: &str) -> String {
    format!("t.{}", identifier(name))
}

/// A name as SQL takes it.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
