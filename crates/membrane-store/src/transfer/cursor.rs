//! One side of a walk: rows one by one, read in pages.

use std::cmp::Ordering;
use std::collections::VecDeque;

use super::tables::Table;
use super::value::{Row, Value, compare, shown};
use super::{ROOM, Rows};
use crate::StoreError;

/// A place in a table.
pub(super) struct Cursor {
    table: &'static Table,
    rows: VecDeque<Row>,
    /// The key of the newest row that was read.
    after: Option<Row>,
    is_last: bool,
}

/// The key of a row.
pub(super) fn key_of<'a>(table: &Table, row: &'a [Value]) -> &'a [Value] {
    row.get(..table.key_len).unwrap_or(row)
}

impl Cursor {
    /// Before the row that follows a key.
    pub(super) fn after(table: &'static Table, key: Option<Row>) -> Self {
        Self { table, rows: VecDeque::new(), after: key, is_last: false }
    }

    /// The next row, which stays the next one.
    pub(super) async fn peek(&mut self, side: &mut dyn Rows) -> Result<Option<&Row>, StoreError> {
        while self.rows.is_empty() && !self.is_last {
            let page = side.read(self.table, self.after.as_deref(), ROOM).await?;
            self.is_last = page.is_last;
            for row in page.rows {
                self.follow(&row)?;
                self.rows.push_back(row);
            }
        }
        Ok(self.rows.front())
    }

    /// The row that was looked at.
    pub(super) fn take(&mut self) -> Option<Row> {
        self.rows.pop_front()
    }

    /// Which table.
    pub(super) fn table(&self) -> &'static Table {
        self.table
    }

    /// Whether the next row needs another page.
    pub(super) fn is_at_page_end(&self) -> bool {
        self.rows.is_empty()
    }

    /// A walk over rows in another order would find the wrong ones missing.
    fn follow(&mut self, row: &[Value]) -> Result<(), StoreError> {
        let key = key_of(self.table, row);
        if self.after.as_deref().is_some_and(|before| compare(before, key) != Ordering::Less) {
            return Err(StoreError::inconsistent(
                self.table.name,
                shown(key),
                "the database gives it out of the order of its bytes",
            ));
        }
        self.after = Some(key.to_vec());
        Ok(())
    }
}
