//! What is in a file, as plain SQLite reads it: tables, rows, and the statements that made them.
//!
//! Not here: what any of it means.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, Row as SqlRow};

use super::cell::Cell;
use crate::campaign::Failure;

/// A row.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its rowid; `None` in a table without.
    pub rowid: Option<i64>,
    /// Its values, in the order of the table's columns.
    pub cells: Vec<Cell>,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its columns, in order.
    pub columns: Vec<String>,
    /// Its rows, by rowid or by key.
    pub rows: Vec<Row>,
    /// Whether rows could not be read to the end.
    pub is_cut: bool,
}

/// Everything in a file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Contents {
    /// Tables by name, those of SQLite itself left out.
    pub tables: BTreeMap<String, Table>,
    /// Every statement of the schema: kind, name, table, text.
    pub schema: BTreeSet<(String, String, String, String)>,
}

impl Table {
    /// An empty table.
    pub fn new(name: &str, columns: &[&str]) -> Self {
        let columns = columns.iter().map(ToString::to_string).collect();
        Self { name: name.to_owned(), columns, ..Self::default() }
    }

    /// A value by its column's name; NULL if there is no such column.
    pub fn cell<'a>(&self, row: &'a Row, column: &str) -> &'a Cell {
        let place = self.columns.iter().position(|name| name == column);
        place.and_then(|place| row.cells.get(place)).unwrap_or(&Cell::Null)
    }

    /// Adds a row with the next rowid.
    pub fn push(&mut self, cells: Vec<Cell>) {
        let rowid = self.rows.last().and_then(|row| row.rowid).unwrap_or(0) + 1;
        self.rows.push(Row { rowid: Some(rowid), cells });
    }

    fn read(conn: &Connection, name: &str) -> Self {
        let mut table = Self { name: name.to_owned(), ..Self::default() };
        let quoted = quote(name);
        let Ok(columns) = columns_of(conn, name) else {
            table.is_cut = true;
            return table;
        };
        table.columns = columns;
        let list: Vec<_> = table.columns.iter().map(|column| quote(column)).collect();
        let list = list.join(", ");
        let with_rowid = conn.prepare(&format!("SELECT rowid FROM {quoted} LIMIT 0")).is_ok()
            && !table.columns.iter().any(|column| column.eq_ignore_ascii_case("rowid"));
        let key = if with_rowid { "rowid" } else { "NULL" };
        // NOT INDEXED: the table itself is read, not an index that may disagree with it.
        let select = |order: &str| format!("SELECT {key}, {list} FROM {quoted} NOT INDEXED {order}");
        let order = if with_rowid { "ORDER BY rowid" } else { "" };
        let (rows, is_whole) = rows_of(conn, &select(order));
        table.rows = rows;
        if !is_whole {
            table.is_cut = true;
            if with_rowid {
                // What lies behind the damage can be reached from the end.
                let seen: BTreeSet<_> = table.rows.iter().filter_map(|row| row.rowid).collect();
                let (rows, _) = rows_of(conn, &select("ORDER BY rowid DESC"));
                let unseen = rows.into_iter().filter(|row| row.rowid.is_some_and(|id| !seen.contains(&id)));
                table.rows.extend(unseen);
                table.rows.sort_by_key(|row| row.rowid);
            }
        }
        table
    }
}

impl Contents {
    /// Reads all that can be read.
    ///
    /// # Errors
    /// Not even the schema can be read.
    pub fn read(conn: &Connection) -> Result<Self, Failure> {
        let mut contents = Self::default();
        let mut statement =
            conn.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY rowid")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let word = |index| -> rusqlite::Result<String> {
                Ok(row
                    .get_ref(index)?
                    .as_bytes()
                    .map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(bytes).into_owned()))
            };
            let entry = (word(0)?, word(1)?, word(2)?, word(3)?);
            if !entry.1.starts_with("sqlite_") {
                contents.schema.insert(entry);
            }
        }
        let names: Vec<_> =
            contents.schema.iter().filter(|entry| entry.0 == "table").map(|entry| entry.1.clone()).collect();
        for name in names {
            let table = Table::read(conn, &name);
            contents.tables.insert(name, table);
        }
        Ok(contents)
    }

    /// Whether everything could be read.
    pub fn is_whole(&self) -> bool {
        self.tables.values().all(|table| !table.is_cut)
    }

    /// A table by name.
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.get(name)
    }
}

/// A name as SQL takes it.
pub fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn columns_of(conn: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = conn.prepare("SELECT name FROM pragma_table_info(?1) ORDER BY cid")?;
    statement.query_map([table], |row| row.get(0))?.collect()
}

fn rows_of(conn: &Connection, sql: &str) -> (Vec<Row>, bool) {
    let mut found = Vec::new();
    let Ok(mut statement) = conn.prepare(sql) else { return (found, false) };
    let n_columns = statement.column_count();
    let Ok(mut rows) = statement.query([]) else { return (found, false) };
    loop {
        match rows.next() {
            Ok(Some(row)) => match read_row(row, n_columns) {
                Ok(row) => found.push(row),
                Err(_) => return (found, false),
            },
            Ok(None) => return (found, true),
            Err(_) => return (found, false),
        }
    }
}

fn read_row(row: &SqlRow<'_>, n_columns: usize) -> rusqlite::Result<Row> {
    let rowid = Cell::read(row.get_ref(0)?).as_int();
    let cells = (1..n_columns).map(|index| row.get_ref(index).map(Cell::read)).collect::<Result<_, _>>()?;
    Ok(Row { rowid, cells })
}
