//! What an upgrade kept aside, word for word.
//!
//! Not here: what should be there ([`super::oracle`]).

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;
use serde_json::Value;

use super::cell::{Cell, hex};
use super::table::{Row, Table};
use crate::campaign::Failure;

/// What is in `legacy_rows`.
#[derive(Debug, Default)]
pub struct Kept {
    /// Whole rows, by table.
    rows: BTreeMap<String, Vec<Value>>,
    /// Values of single columns, by `table.column`.
    values: BTreeMap<String, BTreeSet<Vec<u8>>>,
    /// How many there are.
    pub n_kept: usize,
}

impl Kept {
    /// Reads the table; nothing is kept aside if there is none.
    pub fn read(conn: &Connection) -> Result<Self, Failure> {
        let mut kept = Self::default();
        let is_there: bool = conn.query_row(
            "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'legacy_rows')",
            [],
            |row| row.get(0),
        )?;
        if !is_there {
            return Ok(kept);
        }
        let mut statement = conn.prepare("SELECT source, value FROM legacy_rows")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            kept.n_kept += 1;
            let source: String = row.get(0)?;
            let value = Cell::read(row.get_ref(1)?);
            let bytes = value.bytes().unwrap_or(&[]).to_owned();
            match serde_json::from_slice(&bytes) {
                Ok(row) if !source.contains('.') => kept.rows.entry(source).or_default().push(row),
                _ => {
                    kept.values.entry(source).or_default().insert(bytes);
                }
            }
        }
        Ok(kept)
    }

    /// Whether bytes are there anywhere, as text or as hex digits, or the JSON that they are.
    pub fn holds(&self, bytes: &[u8]) -> bool {
        let meant: Option<Value> = serde_json::from_slice(bytes).ok();
        let mut rows = self.rows.values().flatten();
        let mut values = self.values.values().flatten();
        values.any(|value| holds(value, bytes, meant.as_ref()))
            || rows.any(|row| holds(row.to_string().as_bytes(), bytes, meant.as_ref()))
    }

    /// Whether the whole row is there.
    pub fn has_row(&self, table: &Table, row: &Row) -> bool {
        self.rows.get(&table.name).is_some_and(|rows| rows.iter().any(|kept| is_row(kept, table, row)))
    }

    /// Whether this value of a column is there, by itself or with its whole row.
    pub fn has_value(&self, table: &Table, row: &Row, column: &str) -> bool {
        let cell = table.cell(row, column);
        let by_itself = self.values.get(&format!("{}.{column}", table.name));
        // Most values are there as they were; only then are all looked through for another form.
        let is_there = by_itself.zip(cell.bytes()).is_some_and(|(values, bytes)| values.contains(bytes));
        is_there
            || by_itself.is_some_and(|values| values.iter().any(|value| is_value(value, cell)))
            || self.has_row(table, row)
    }
}

fn is_row(kept: &Value, table: &Table, row: &Row) -> bool {
    table.columns.iter().zip(&row.cells).all(|(column, cell)| match kept.get(column) {
        Some(value) => cell.is_in(value),
        None => cell.is_null(),
    })
}

fn is_value(kept: &[u8], cell: &Cell) -> bool {
    match cell {
        Cell::Null => kept.is_empty() || kept == b"null",
        Cell::Int(number) => kept == number.to_string().as_bytes(),
        Cell::Real(number) => std::str::from_utf8(kept)
            .is_ok_and(|text| text.parse::<f64>().is_ok_and(|kept| kept.to_bits() == number.to_bits())),
        Cell::Text(bytes) | Cell::Blob(bytes) => {
            kept == bytes
                || serde_json::from_slice(kept).is_ok_and(|kept: Value| cell.is_in(&kept))
                || String::from_utf8_lossy(kept).to_ascii_lowercase().contains(&hex(bytes))
        }
    }
}

fn holds(kept: &[u8], bytes: &[u8], meant: Option<&Value>) -> bool {
    if kept == bytes || String::from_utf8_lossy(kept).to_ascii_lowercase().contains(&hex(bytes)) {
        return true;
    }
    // A whole row keeps the document as a text, or as the JSON that it is.
    serde_json::from_slice::<Value>(kept).is_ok_and(|kept| is_within(&kept, bytes, meant))
}

fn is_within(value: &Value, bytes: &[u8], meant: Option<&Value>) -> bool {
    match value {
        value if meant == Some(value) => true,
        Value::String(text) => text.as_bytes() == bytes,
        Value::Object(object) => object.values().any(|value| is_within(value, bytes, meant)),
        _ => false,
    }
}
