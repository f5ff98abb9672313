//! Whether two databases hold the same, and whether one holds together.

use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};
use sha2::{Digest, Sha256};

use super::BackupError;
use crate::integrity::find_damage_of_copy;

/// How many findings of SQLite's are told.
const MAX_FINDINGS: usize = 5;

/// All rows of one table.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TableContent {
    name: String,
    rows: u64,
    /// SHA-256 over all values of all rows, in the order of the table's keys.
    digest: [u8; 32],
}

/// All rows of a database.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Content {
    tables: Vec<TableContent>,
}

impl Content {
    /// Reads everything. The caller sees to it that it is one snapshot.
    pub(super) fn read(conn: &Connection, path: &Path) -> Result<Self, BackupError> {
        let names = "SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0 ORDER BY name";
        let names: rusqlite::Result<Vec<String>> = conn
            .prepare(names)
            .and_then(|mut statement| statement.query_map([], |row| row.get(0))?.collect());
        let names = names.map_err(|error| BackupError::sqlite(path, "read the schema", error))?;
        let schema = digest(conn, "SELECT type, name, tbl_name, rootpage, sql FROM sqlite_schema");
        let schema = schema.map_err(|error| BackupError::sqlite(path, "read the schema", error))?;
        let mut tables =
            vec![TableContent { name: "sqlite_schema".to_owned(), rows: schema.0, digest: schema.1 }];
        for name in names {
            let read = table_query(conn, &name).and_then(|sql| digest(conn, &sql));
            let (rows, digest) =
                read.map_err(|error| BackupError::sqlite(path, &format!("read table {name:?}"), error))?;
            tables.push(TableContent { name, rows, digest });
        }
        Ok(Self { tables })
    }

    /// How many tables there are, without the schema's own.
    pub(super) fn tables(&self) -> u64 {
        u64::try_from(self.tables.len()).unwrap_or(u64::MAX).saturating_sub(1)
    }

    /// How many rows they have.
    pub(super) fn rows(&self) -> u64 {
        self.tables.iter().skip(1).map(|table| table.rows).sum()
    }

    /// Where `copy` is not the same, if anywhere.
    pub(super) fn find_difference(&self, copy: &Self) -> Option<String> {
        let names =
            |content: &Self| content.tables.iter().map(|table| table.name.clone()).collect::<Vec<_>>();
        if names(self) != names(copy) {
            return Some(format!("it has the tables {:?} instead of {:?}", names(copy), names(self)));
        }
        let (table, other) = self.tables.iter().zip(&copy.tables).find(|(table, other)| table != other)?;
        Some(if table.rows == other.rows {
            format!("table {:?} has other values in its {} rows", table.name, table.rows)
        } else {
            format!("table {:?} has {} rows instead of {}", table.name, other.rows, table.rows)
        })
    }
}

/// Whether every page and index of a copy, which `conn` may write to, is what it should be. `path` is what was copied.
pub(super) fn check_integrity(conn: &Connection, path: &Path) -> Result<(), BackupError> {
    let mut findings = Vec::new();
    find_damage_of_copy(conn, &mut |line| findings.push(line))
        .map_err(|error| BackupError::sqlite(path, "check its integrity", error))?;
    if findings.is_empty() {
        return Ok(());
    }
    findings.truncate(MAX_FINDINGS);
    Err(BackupError::Damaged { path: path.to_owned(), problem: findings.join("; ").replace('\n', " ") })
}

/// Reads the rows of a table in the order in which they are stored, which is that of the rowid or the primary key:
/// without an index, and without a sort. The rowid is read too, unless a column hides it.
fn table_query(conn: &Connection, name: &str) -> rusqlite::Result<String> {
    let without_rowid: bool = conn.query_row(
        "SELECT EXISTS (SELECT 1 FROM pragma_table_list(?1) WHERE schema = 'main' AND wr)",
        [name],
        |row| row.get(0),
    )?;
    // Generated columns follow from the others.
    let mut columns: Vec<String> = conn
        .prepare("SELECT name FROM pragma_table_xinfo(?1, 'main') WHERE hidden = 0 ORDER BY cid")?
        .query_map([name], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let is_free = |alias: &&&str| !columns.iter().any(|column| column.eq_ignore_ascii_case(alias));
    let alias = ["rowid", "_rowid_", "oid"].iter().find(is_free).filter(|_| !without_rowid);
    for column in &mut columns {
        *column = quoted(column);
    }
    if let Some(alias) = alias {
        columns.insert(0, (*alias).to_owned());
    }
    Ok(format!("SELECT {} FROM main.{} NOT INDEXED", columns.join(", "), quoted(name)))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn digest(conn: &Connection, sql: &str) -> rusqlite::Result<(u64, [u8; 32])> {
    let mut statement = conn.prepare(sql)?;
    let n_columns = statement.column_count();
    let mut rows = statement.query([])?;
    let (mut n_rows, mut hash) = (0, Sha256::new());
    while let Some(row) = rows.next()? {
        n_rows += 1;
        for column in 0..n_columns {
            add_value(&mut hash, row, column)?;
        }
    }
    Ok((n_rows, hash.finalize().into()))
}

/// Kind and length come first, so that no two rows of different values are the same bytes.
fn add_value(hash: &mut Sha256, row: &Row<'_>, column: usize) -> rusqlite::Result<()> {
    let mut add = |kind: u8, bytes: &[u8]| {
        hash.update([kind]);
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    match row.get_ref(column)? {
        ValueRef::Null => add(0, &[]),
        ValueRef::Integer(number) => add(1, &number.to_le_bytes()),
        ValueRef::Real(number) => add(2, &number.to_bits().to_le_bytes()),
        ValueRef::Text(text) => add(3, text),
        ValueRef::Blob(blob) => add(4, blob),
    }
    Ok(())
}
