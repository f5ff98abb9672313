//! A row's columns as `membrane-store` reads those of old tables.

use membrane_store::kgents::columns::Cell;
use rusqlite::Row;
use rusqlite::types::ValueRef;

/// The first `n` columns of a row.
pub(super) fn cells<'a>(row: &'a Row<'_>, n: usize) -> rusqlite::Result<Vec<Cell<'a>>> {
    (0..n).map(|index| row.get_ref(index).map(cell)).collect()
}

fn cell(value: ValueRef<'_>) -> Cell<'_> {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(number) => Cell::Integer(number),
        ValueRef::Real(number) => Cell::Real(number),
        ValueRef::Text(bytes) => Cell::Text(bytes),
        ValueRef::Blob(bytes) => Cell::Blob(bytes),
    }
}
