//! A keep that is copied: one connection in one read transaction.

use std::fmt;

use async_trait::async_trait;
use membrane_store::StoreError;
use membrane_store::transfer::{Numbers, Page, Room, RowSource, Rows, Table, Value};

use super::{Identity, PATIENT, for_copy, identity, mark, rows};
use crate::error::{Doing, OpenError};
use crate::migrations;
use crate::open;
use crate::options::PostgresOptions;
use crate::pool::{Conn, Pool};

/// A keep in a database, as it was when this was opened. It is only read, and others may write to it meanwhile; old
/// versions of what they change stay until this is dropped.
pub struct PostgresSource {
    conn: Conn,
    pool: Pool,
    identity: Identity,
}

impl fmt::Debug for PostgresSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresSource").finish_non_exhaustive()
    }
}

impl PostgresSource {
    /// Connects to a keep of this version.
    ///
    /// # Errors
    /// [`OpenError`]; [`OpenError::OldSchema`] if there is no keep of this version.
    pub async fn open(options: &PostgresOptions) -> Result<Self, OpenError> {
        let pool = Pool::new(&for_copy(options))?;
        let conn = open::connect(&pool).await?;
        let server = pool.connector().server();
        let steps = migrations::status(conn.db()?, pool.connector()).await?;
        if steps.iter().any(|step| step.applied_at.is_none()) {
            return Err(OpenError::OldSchema { server });
        }
        let db = conn.db()?;
        conn.at_leisure(async {
            let begin = format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {PATIENT}");
            db.batch(&begin).await.doing("begin to read the keep")
        })
        .await?;
        if let Some(source_name) = conn.at_leisure(mark::find_source(db)).await? {
            return Err(OpenError::UnfinishedCopy { server, source_name });
        }
        let identity = conn.at_leisure(identity::ask(db)).await?;
        Ok(Self { conn, pool, identity })
    }

    /// Host, port and database.
    pub fn server(&self) -> String {
        self.pool.connector().server()
    }

    /// Which database it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
}

#[async_trait]
impl Rows for PostgresSource {
    async fn read(
        &mut self,
        table: &'static Table,
        after: Option<&[Value]>,
        room: Room,
    ) -> Result<Page, StoreError> {
        self.conn.at_leisure(rows::read(self.conn.db()?, table, after, room)).await
    }
}

#[async_trait]
impl RowSource for PostgresSource {
    async fn count(&mut self, table: &'static Table) -> Result<u64, StoreError> {
        let doing = "count rows to copy";
        let sql = format!("SELECT count(*) FROM {}", table.name);
        let db = self.conn.db()?;
        let row = self.conn.at_leisure(async { db.find(&sql, &[]).await.doing(doing) }).await?;
        let count: i64 = row.map_or(Ok(0), |row| row.try_get(0)).doing(doing)?;
        Ok(count.unsigned_abs())
    }

    async fn numbers(&mut self) -> Result<Numbers, StoreError> {
        let doing = "read which numbers are given out";
        let sql = "SELECT (SELECT last_value FROM membrane_numbers), \
                   coalesce(pg_sequence_last_value(pg_get_serial_sequence('turn_signals', 'number')::regclass), 0)";
        let db = self.conn.db()?;
        let row = self.conn.at_leisure(async { db.find(sql, &[]).await.doing(doing) }).await?;
        let Some(row) = row else { return Ok(Numbers::default()) };
        let places = row.try_get(0).doing(doing)?;
        Ok(Numbers { segments: places, histories: places, signals: row.try_get(1).doing(doing)? })
    }
}
