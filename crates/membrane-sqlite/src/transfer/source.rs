//! A keep that is copied: one connection in one read transaction.

use async_trait::async_trait;
use membrane_store::StoreError;
use membrane_store::transfer::{Numbers, Page, Room, RowSource, Rows, Table, Value};
use rusqlite::{Connection, OpenFlags};

use super::lane::Lane;
use super::rows;
use crate::connection::open_to_look;
use crate::error::{Doing, OpenError, open_error};
use crate::migrations::{self, Contents};
use crate::options::SqliteOptions;

/// A keep in a file, as it was when this was opened. It is only read, others may write to it meanwhile; what they write
/// stays in the write-ahead log until this is dropped.
#[derive(Debug)]
pub struct SqliteSource {
    lane: Lane,
}

impl SqliteSource {
    /// Opens a file that is there.
    ///
    /// # Errors
    /// [`OpenError`]; [`OpenError::OldSchema`] if it is no keep of this version.
    pub fn open(options: &SqliteOptions) -> Result<Self, OpenError> {
        let path = &options.path;
        let conn = open_to_look(options, OpenFlags::empty())?;
        let failed = |error| open_error(path, "begin to read the keep", error);
        conn.set_prepared_statement_cache_capacity(2 * membrane_store::transfer::TABLES.len());
        conn.execute_batch("PRAGMA query_only = ON; BEGIN").map_err(failed)?;
        let contents = migrations::inspect(&conn, path)?;
        let steps = migrations::status(&conn, path)?;
        if contents != Contents::Keep || steps.iter().any(|step| step.applied_at.is_none()) {
            return Err(OpenError::OldSchema { path: path.clone() });
        }
        Ok(Self { lane: Lane::new(conn) })
    }
}

#[async_trait]
impl Rows for SqliteSource {
    async fn read(
        &mut self,
        table: &'static Table,
        after: Option<&[Value]>,
        room: Room,
    ) -> Result<Page, StoreError> {
        let after = after.map(<[Value]>::to_vec);
        self.lane.run(move |conn| rows::read(conn, table, after.as_deref(), room)).await?
    }
}

#[async_trait]
impl RowSource for SqliteSource {
    async fn count(&mut self, table: &'static Table) -> Result<u64, StoreError> {
        let count = move |conn: &mut Connection| {
            let sql = format!("SELECT count(*) FROM {}", table.name);
            conn.query_row(&sql, [], |row| row.get::<_, i64>(0)).doing("count rows to copy")
        };
        self.lane.run(count).await?.map(i64::unsigned_abs)
    }

    async fn numbers(&mut self) -> Result<Numbers, StoreError> {
        let read = |conn: &mut Connection| {
            let highest = |name: &str| {
                let sql = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = ?1";
                conn.query_row(sql, [name], |row| row.get(0)).doing("read which numbers are given out")
            };
            Ok(Numbers {
                segments: highest("segments")?,
                histories: highest("histories")?,
                signals: highest("turn_signals")?,
            })
        };
        self.lane.run(read).await?
    }
}
