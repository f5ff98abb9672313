//! A whole keep from one database into another, row by row and of any two makes.
//!
//! Both backends have one schema, so a copy is of rows: [`TABLES`] lists them, each with its columns and the key in
//! whose order it is walked. A backend gives a [`RowSource`], one snapshot for the whole copy, and a [`RowSink`], which
//! writes batches that are durable when it answers. What only one backend has (the facts of a turn in SQLite) it derives
//! when it writes. Events are not copied: who follows them is told to start over.
//!
//! [`copy`] walks both sides in the order of keys. Into an empty target that is a plain copy; after an interruption it
//! goes on from what is there, and is right even if the source was changed meanwhile. At the end what the target holds
//! is read back, and its hashes must be those of the snapshot. Until then the target has a mark ([`Mark`]), with which
//! no backend opens it as a keep.
//!
//! SQL is not here.

mod copy;
mod cursor;
mod digest;
mod error;
mod tables;
mod value;

use async_trait::async_trait;
use membrane_core::time::Timestamp;

use crate::StoreError;

pub use copy::{CopyReport, Phase, Progress, TableCopy, copy};
pub use digest::Digest;
pub use error::TransferError;
pub use tables::{Column, Kind, TABLES, Table};
pub use value::{Row, Value, bytes_of};

/// The table of the mark of an unfinished copy, with columns `source`, `started_at` and `attempt`.
pub const MARK_TABLE: &str = "membrane_unfinished_copy";

/// How much is read or written at once. One row always fits, whatever its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// So many rows.
    pub rows: usize,
    /// So many bytes, by [`bytes_of`], with the row that passes the limit.
    pub bytes: usize,
}

/// What a copy reads, writes and commits at once: a commit's cost disappears in it, and memory stays small with messages
/// of some MiB, too.
pub const ROOM: Room = Room { rows: 1_000, bytes: 4 << 20 };

/// Some rows in the order of their keys.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Page {
    /// The rows.
    pub rows: Vec<Row>,
    /// Whether there are none after them.
    pub is_last: bool,
}

/// How far numbers are given out that must not be given again, whether or not a row still has them: kept answers name
/// histories.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Numbers {
    /// The highest of a segment. From PostgreSQL, this and the next are the part that comes after the family's hash.
    pub segments: i64,
    /// The highest of a history.
    pub histories: i64,
    /// The highest of a signal.
    pub signals: i64,
}

/// What of an unfinished copy stands in its target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Which database is being copied, by a name without a password.
    pub source: String,
    /// When that began.
    pub started_at: Timestamp,
}

/// Rows that can be read in the order of their keys.
#[async_trait]
pub trait Rows: Send {
    /// The rows after a key (from the first one on without it), as many as there is room for.
    ///
    /// # Errors
    /// [`StoreError::Inconsistent`] names a row with a value that its column cannot have.
    async fn read(
        &mut self,
        table: &'static Table,
        after: Option<&[Value]>,
        room: Room,
    ) -> Result<Page, StoreError>;
}

/// A keep that is read, in one snapshot from the first call to the last.
#[async_trait]
pub trait RowSource: Rows {
    /// How many rows a table has.
    async fn count(&mut self, table: &'static Table) -> Result<u64, StoreError>;

    /// Which numbers are given out.
    async fn numbers(&mut self) -> Result<Numbers, StoreError>;
}

/// What one commit of a copy does in one table. Deletions come first.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Batch {
    /// Keys of rows to remove, with the rows of other tables that go with them.
    pub delete: Vec<Row>,
    /// Rows whose key is there, and which become what stands here. Only of tables that [`Table::is_referenced`].
    pub update: Vec<Row>,
    /// Rows whose key is not there.
    pub insert: Vec<Row>,
}

/// How a copy begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// In a database without rows.
    Anew,
    /// It goes on where one of the same source was interrupted.
    Again,
}

/// A database that becomes a copy.
#[async_trait]
pub trait RowSink: Rows {
    /// Makes the schema and leaves the mark, in one transaction. From here on any earlier copy into the same target, which
    /// may still be running, is refused its next write.
    ///
    /// # Errors
    /// [`TransferError::NotEmpty`] and [`TransferError::OtherCopy`]: the database is then as it was.
    async fn begin(&mut self, mark: &Mark) -> Result<Begun, TransferError>;

    /// Carries out a batch, all of it or nothing; durable when it answers.
    ///
    /// # Errors
    /// [`TransferError::TakenOver`] when another copy has begun.
    async fn write(&mut self, table: &'static Table, batch: Batch) -> Result<(), TransferError>;

    /// Lets numbers go on beyond `numbers` and all rows, and removes the mark, in one transaction.
    ///
    /// # Errors
    /// [`TransferError::TakenOver`] when another copy has begun.
    async fn finish(&mut self, numbers: Numbers) -> Result<(), TransferError>;
}
