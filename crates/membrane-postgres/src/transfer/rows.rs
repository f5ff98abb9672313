//! Rows as the copy has them, read and written.

use std::borrow::Cow;

use membrane_store::StoreError;
use membrane_store::transfer::{Batch, Column, Kind, Page, Room, Row as Copied, Table, Value as Held};
use tokio_postgres::Row;

use crate::db::Db;
use crate::error::{Doing, store_error};
use crate::read::lists::SLOT;
use crate::value::{Value, escape, unescape};

const READING: &str = "read rows to copy";
const WRITING: &str = "write copied rows";

/// The rows after a key, in the order of keys, as many as there is room for.
pub(super) async fn read(
    db: Db<'_>,
    table: &'static Table,
    after: Option<&[Held]>,
    room: Room,
) -> Result<Page, StoreError> {
    let key = names(table.key());
    let columns = table.columns.iter().map(selected).collect::<Vec<_>>().join(", ");
    let from = after.map_or_else(String::new, |key_held| {
        let places: Vec<_> = (1..=key_held.len()).map(|at| format!("${at}")).collect();
        format!("WHERE ({key}) > ({})", places.join(", "))
    });
    let is_long = |column: &&Column| matches!(column.kind, Kind::Text | Kind::Bytes);
    let lengths = table
        .columns
        .iter()
        .filter(is_long)
        .map(|column| format!("coalesce(octet_length({}), 0)", quoted(column)));
    let length = lengths.chain([(8 * table.columns.len()).to_string()]).collect::<Vec<_>>().join(" + ");
    // Lengths are known without reading what is long.
    let sql = format!(
        "SELECT {columns} FROM (SELECT *, sum({length}) OVER (ORDER BY {key} \
         ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS copied_before \
         FROM (SELECT * FROM {} {from} ORDER BY {key} LIMIT {}) AS page) AS measured \
         WHERE coalesce(copied_before, 0) < {} ORDER BY {key}",
        table.name, room.rows, room.bytes
    );
    let values: Vec<Value<'_>> = after.unwrap_or_default().iter().map(bound).collect();
    let rows = db.query(&sql, &values).await.doing(READING)?;
    let is_last = rows.is_empty();
    let rows = rows.iter().map(|row| decode(table, row)).collect::<Result<_, _>>()?;
    Ok(Page { rows, is_last })
}

/// A column as it is read.
fn selected(column: &Column) -> String {
    match column.kind {
        Kind::Millis => format!("round((extract(epoch FROM {}) * 1000)::numeric)::bigint", quoted(column)),
        _ => quoted(column),
    }
}

fn decode(table: &'static Table, row: &Row) -> Result<Copied, StoreError> {
    let mut values = Copied::with_capacity(table.columns.len());
    for (at, column) in table.columns.iter().enumerate() {
        let read = match column.kind {
            Kind::Int | Kind::Millis => row.try_get::<_, Option<i64>>(at).map(|value| value.map(Held::Int)),
            Kind::Flag => {
                row.try_get::<_, Option<bool>>(at).map(|flag| flag.map(|flag| Held::Int(flag.into())))
            }
            Kind::Real => row.try_get::<_, Option<f64>>(at).map(|value| value.map(Held::real)),
            Kind::Text => row
                .try_get::<_, Option<&str>>(at)
                .map(|text| text.map(|text| Held::Text(unescape(text).into_owned()))),
            Kind::Bytes => row
                .try_get::<_, Option<&[u8]>>(at)
                .map(|bytes| bytes.map(|bytes| Held::Bytes(bytes.to_vec()))),
        };
        let problem = match read {
            Ok(Some(value)) => {
                values.push(value);
                continue;
            }
            Ok(None) if column.is_nullable => {
                values.push(Held::Null);
                continue;
            }
            Ok(None) => format!("column {} holds NULL", column.name),
            Err(error) => format!("column {}: {error}", column.name),
        };
        return Err(StoreError::inconsistent(table.name, key(&values, table), problem));
    }
    Ok(values)
}

/// As much of a row's key as was read.
fn key(values: &[Held], table: &Table) -> String {
    let shown = |value: &Held| match value {
        Held::Int(value) => value.to_string(),
        Held::Text(text) => text.clone(),
        _ => "?".to_owned(),
    };
    let key: Vec<_> = values.iter().take(table.key_len).map(shown).collect();
    if key.is_empty() { "?".to_owned() } else { key.join(", ") }
}

/// A value of a key.
fn bound(value: &Held) -> Value<'_> {
    match value {
        Held::Int(value) => (*value).into(),
        Held::Text(text) => text.into(),
        // No key holds anything else.
        Held::Real(value) => (*value).into(),
        Held::Bytes(bytes) => bytes.as_slice().into(),
        Held::Null => Value::Int(None),
    }
}

/// Carries out a batch in the caller's transaction.
pub(super) async fn write(db: Db<'_>, table: &'static Table, batch: &Batch) -> Result<(), StoreError> {
    let key = table.key();
    if !batch.delete.is_empty() {
        let sql = format!("DELETE FROM {} AS kept USING {} WHERE {}", table.name, given(key), same(key));
        execute(db, &sql, key, &batch.delete).await?;
    }
    if !batch.update.is_empty() {
        let rest = table.columns.get(table.key_len..).unwrap_or_default();
        let copied = rest.iter().map(|column| (quoted(column), written(column))).chain(derived(table));
        let set: Vec<_> = copied.map(|(name, value)| format!("{name} = {value}")).collect();
        let sql = format!(
            "UPDATE {} AS kept SET {} FROM {} WHERE {}",
            table.name,
            set.join(", "),
            given(table.columns),
            same(key)
        );
        execute(db, &sql, table.columns, &batch.update).await?;
    }
    if !batch.insert.is_empty() {
        let copied = table.columns.iter().map(|column| (quoted(column), written(column)));
        let (names, values): (Vec<_>, Vec<_>) = copied.chain(derived(table)).unzip();
        // Numbers that the database gives out otherwise are those of the source.
        let sql = format!(
            "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {}",
            table.name,
            names.join(", "),
            values.join(", "),
            given(table.columns)
        );
        execute(db, &sql, table.columns, &batch.insert).await?;
    }
    Ok(())
}

async fn execute(db: Db<'_>, sql: &str, columns: &[Column], rows: &[Copied]) -> Result<(), StoreError> {
    let values: Vec<_> = columns.iter().enumerate().map(|(at, column)| list(column, at, rows)).collect();
    db.execute(sql, &values).await.map(|_| ()).map_err(|error| store_error(WRITING, error))
}

/// A column of all rows.
fn list<'a>(column: &Column, at: usize, rows: &'a [Copied]) -> Value<'a> {
    let held = rows.iter().map(|row| row.get(at).unwrap_or(&Held::Null));
    match column.kind {
        Kind::Int | Kind::Millis => Value::MaybeInts(
            held.map(|value| if let Held::Int(value) = value { Some(*value) } else { None }).collect(),
        ),
        Kind::Flag => Value::MaybeBools(
            held.map(|value| if let Held::Int(value) = value { Some(*value != 0) } else { None }).collect(),
        ),
        Kind::Real => Value::Reals(
            held.map(|value| if let Held::Real(value) = value { *value } else { f64::NAN }).collect(),
        ),
        Kind::Text => Value::MaybeTexts(
            held.map(|value| if let Held::Text(text) = value { Some(escape(text)) } else { None }).collect(),
        ),
        Kind::Bytes => Value::MaybeTexts(
            held.map(
                |value| if let Held::Bytes(bytes) = value { Some(Cow::Owned(hex(bytes))) } else { None },
            )
            .collect(),
        ),
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;

    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The rows that are given, as a table.
fn given(columns: &[Column]) -> String {
    let kind = |kind| match kind {
        Kind::Int | Kind::Millis => "bigint",
        Kind::Flag => "boolean",
        Kind::Real => "double precision",
        Kind::Text | Kind::Bytes => "text",
    };
    let lists: Vec<_> = columns
        .iter()
        .enumerate()
        .map(|(at, column)| format!("${}::{}[]", at + 1, kind(column.kind)))
        .collect();
    format!("unnest({}) AS given ({})", lists.join(", "), names(columns))
}

/// A column as it is written.
fn written(column: &Column) -> String {
    match column.kind {
        Kind::Millis => format!(
            "TIMESTAMPTZ 'epoch' + given.{}::double precision * INTERVAL '1 millisecond'",
            quoted(column)
        ),
        Kind::Bytes => format!("decode(given.{}, 'hex')", quoted(column)),
        _ => format!("given.{}", quoted(column)),
    }
}

/// A column that only this backend has, and what it is by the others.
fn derived(table: &Table) -> Option<(String, String)> {
    (table.name == "chat_sessions")
        .then(|| ("active_slot".to_owned(), format!("left(given.last_active, {SLOT})")))
}

/// A column's name, whatever word it is.
fn quoted(column: &Column) -> String {
    format!("\"{}\"", column.name)
}

fn same(key: &[Column]) -> String {
    let pairs: Vec<_> = key.iter().map(|column| format!("kept.{0} = given.{0}", quoted(column))).collect();
    pairs.join(" AND ")
}

fn names(columns: &[Column]) -> String {
    columns.iter().map(quoted).collect::<Vec<_>>().join(", ")
}
