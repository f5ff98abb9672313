//! Rows as the copy has them, read and written.

use membrane_store::StoreError;
use membrane_store::transfer::{Batch, Column, Kind, Page, Room, Row, Table, Value, bytes_of};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ToSql, params_from_iter};

use super::facts;
use crate::error::Doing;

/// The one table with a column that is derived.
const TURNS: &str = "turns";

/// A value as SQLite takes it.
struct Bound<'a>(&'a Value);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Value::Null => ValueRef::Null,
            Value::Int(value) => ValueRef::Integer(*value),
            Value::Real(value) => ValueRef::Real(*value),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// The rows after a key, in the order of keys, as many as there is room for.
pub(super) fn read(
    conn: &Connection,
    table: &'static Table,
    after: Option<&[Value]>,
    room: Room,
) -> Result<Page, StoreError> {
    let doing = "read rows to copy";
    let (columns, key) = (names(table.columns), names(table.key()));
    let from = after.map_or_else(String::new, |_| format!("WHERE ({key}) > ({}) ", places(table.key_len)));
    let sql = format!("SELECT {columns} FROM {} {from}ORDER BY {key}", table.name);
    let mut statement = conn.prepare_cached(&sql).doing(doing)?;
    let mut rows =
        statement.query(params_from_iter(after.unwrap_or_default().iter().map(Bound))).doing(doing)?;
    let (mut page, mut bytes) = (Page::default(), 0);
    while page.rows.len() < room.rows && bytes < room.bytes {
        let Some(row) = rows.next().doing(doing)? else {
            page.is_last = true;
            break;
        };
        let row = decode(table, row)?;
        bytes += bytes_of(&row);
        page.rows.push(row);
    }
    Ok(page)
}

fn decode(table: &'static Table, row: &rusqlite::Row<'_>) -> Result<Row, StoreError> {
    let mut values = Row::with_capacity(table.columns.len());
    for (at, column) in table.columns.iter().enumerate() {
        let found = row.get_ref(at).doing("read rows to copy")?;
        if let Some(value) = value(column, found) {
            values.push(value);
        } else {
            let problem = format!("column {} holds {}", column.name, shown(found));
            return Err(StoreError::inconsistent(table.name, key(&values, table), problem));
        }
    }
    Ok(values)
}

/// A stored value, if the column can have it.
fn value(column: &Column, found: ValueRef<'_>) -> Option<Value> {
    match (column.kind, found) {
        (_, ValueRef::Null) => column.is_nullable.then_some(Value::Null),
        (Kind::Flag, ValueRef::Integer(value)) => matches!(value, 0 | 1).then_some(Value::Int(value)),
        (Kind::Int | Kind::Millis, ValueRef::Integer(value)) => Some(Value::Int(value)),
        (Kind::Real, ValueRef::Real(value)) => Some(Value::real(value)),
        (Kind::Text, ValueRef::Text(text)) => {
            std::str::from_utf8(text).ok().map(|text| Value::Text(text.to_owned()))
        }
        (Kind::Bytes, ValueRef::Blob(bytes)) => Some(Value::Bytes(bytes.to_vec())),
        _ => None,
    }
}

fn shown(found: ValueRef<'_>) -> String {
    match found {
        ValueRef::Null => "NULL".to_owned(),
        ValueRef::Integer(value) => format!("the number {value}"),
        ValueRef::Real(value) => format!("the number {value}"),
        ValueRef::Text(text) => format!("text of {} bytes, not as it should be", text.len()),
        ValueRef::Blob(bytes) => format!("{} bytes that are no text", bytes.len()),
    }
}

/// As much of a row's key as was read.
fn key(values: &[Value], table: &Table) -> String {
    let shown = |value: &Value| match value {
        Value::Int(value) => value.to_string(),
        Value::Text(text) => text.clone(),
        _ => "?".to_owned(),
    };
    let key: Vec<_> = values.iter().take(table.key_len).map(shown).collect();
    if key.is_empty() { "?".to_owned() } else { key.join(", ") }
}

/// Carries out a batch in the caller's transaction.
pub(super) fn write(conn: &Connection, table: &'static Table, batch: &Batch) -> Result<(), StoreError> {
    if !batch.delete.is_empty() {
        let sql = format!("DELETE FROM {} WHERE {}", table.name, equal(table.key(), 1, " AND "));
        let mut statement = conn.prepare_cached(&sql).doing("remove outdated rows")?;
        for key in &batch.delete {
            statement.execute(params_from_iter(key.iter().map(Bound))).doing("remove outdated rows")?;
        }
    }
    if !batch.update.is_empty() {
        let rest = table.columns.get(table.key_len..).unwrap_or_default();
        let (set, key) = (equal(rest, table.key_len + 1, ", "), equal(table.key(), 1, " AND "));
        let sql = format!("UPDATE {} SET {set} WHERE {key}", table.name);
        let mut statement = conn.prepare_cached(&sql).doing("replace outdated rows")?;
        for row in &batch.update {
            statement.execute(params_from_iter(row.iter().map(Bound))).doing("replace outdated rows")?;
        }
    }
    insert(conn, table, &batch.insert)
}

fn insert(conn: &Connection, table: &'static Table, rows: &[Row]) -> Result<(), StoreError> {
    let doing = "write copied rows";
    let (mut columns, mut count) = (names(table.columns), table.columns.len());
    let is_turns = table.name == TURNS;
    if is_turns {
        columns.push_str(", facts");
        count += 1;
    }
    let sql = format!("INSERT INTO {} ({columns}) VALUES ({})", table.name, places(count));
    let mut statement = conn.prepare_cached(&sql).doing(doing)?;
    for row in rows {
        let derived = if is_turns { Some(Value::Text(facts::of_row(row)?)) } else { None };
        statement.execute(params_from_iter(row.iter().chain(&derived).map(Bound))).doing(doing)?;
    }
    Ok(())
}

fn names(columns: &[Column]) -> String {
    columns.iter().map(|column| column.name).collect::<Vec<_>>().join(", ")
}

fn places(count: usize) -> String {
    vec!["?"; count].join(", ")
}

/// Columns each equal to a parameter, numbered from `first` on.
fn equal(columns: &[Column], first: usize, between: &str) -> String {
    let pairs = columns.iter().enumerate().map(|(at, column)| format!("{} = ?{}", column.name, first + at));
    pairs.collect::<Vec<_>>().join(between)
}
