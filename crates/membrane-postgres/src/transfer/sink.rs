//! A database that becomes a copy.

use std::fmt;

use async_trait::async_trait;
use membrane_store::StoreError;
use membrane_store::transfer::{
    Batch, Begun, Mark, Numbers, Page, Room, RowSink, Rows, TABLES, Table, TransferError, Value,
};

use super::{Identity, PATIENT, for_copy, identity, mark, rows};
use crate::db::Db;
use crate::error::{Doing, OpenError};
use crate::migrations;
use crate::open;
use crate::options::PostgresOptions;
use crate::pool::{Conn, Pool};
use crate::value::values;

const BEGINNING: &str = "begin the copy";

/// The part of a segment's or history's number that comes after the hash of its family.
const PLACE: &str = "((1::bigint << 48) - 1)";

/// A database into which a keep is copied: empty, or an unfinished copy.
pub struct PostgresSink {
    conn: Conn,
    pool: Pool,
    identity: Identity,
    /// Which try this is; 0 before it has begun.
    attempt: i64,
}

impl fmt::Debug for PostgresSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresSink").field("attempt", &self.attempt).finish_non_exhaustive()
    }
}

impl PostgresSink {
    /// Connects, and only looks at what is there.
    ///
    /// # Errors
    /// [`OpenError`] if no keep could be made in it.
    pub async fn open(options: &PostgresOptions) -> Result<Self, OpenError> {
        let pool = Pool::new(&for_copy(options))?;
        let conn = open::connect(&pool).await?;
        open::look(conn.db()?, pool.connector()).await?;
        migrations::inspect(conn.db()?, pool.connector()).await?;
        let identity = conn.at_leisure(identity::ask(conn.db()?)).await?;
        Ok(Self { conn, pool, identity, attempt: 0 })
    }

    /// Host, port and database.
    pub fn server(&self) -> String {
        self.pool.connector().server()
    }

    /// Which database it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Does work in a transaction. If it fails the connection goes, and the transaction with it.
    async fn transaction<T>(
        &self,
        work: impl Future<Output = Result<T, TransferError>>,
    ) -> Result<T, TransferError> {
        let db = self.conn.db()?;
        let begin = format!("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; {PATIENT}");
        self.conn.at_leisure(async { db.batch(&begin).await.doing(BEGINNING) }).await?;
        let done = work.await;
        let end = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
        let ended = self.conn.at_leisure(async { db.batch(end).await.doing("commit copied rows") }).await;
        let done = done?;
        ended?;
        Ok(done)
    }

    /// Does work in a transaction of the newest try.
    async fn commit(&self, work: impl Future<Output = Result<(), StoreError>>) -> Result<(), TransferError> {
        let db = self.conn.db()?;
        self.transaction(async {
            if !self.conn.at_leisure(mark::is_newest(db, self.attempt)).await? {
                return Err(TransferError::TakenOver);
            }
            Ok(self.conn.at_leisure(work).await?)
        })
        .await
    }

    async fn mark(&self, mark: &Mark) -> Result<(i64, Begun), TransferError> {
        let db = self.conn.db()?;
        migrations::apply_missing(db, self.pool.connector()).await.map_err(opening)?;
        let Some(source_name) = mark::find_source(db).await? else {
            for table in &TABLES {
                if has_rows(db, table).await? {
                    return Err(TransferError::NotEmpty { table: table.name.to_owned() });
                }
            }
            return Ok((mark::make(db, mark).await?, Begun::Anew));
        };
        if source_name != mark.source {
            return Err(TransferError::OtherCopy { source_name });
        }
        Ok((mark::take_over(db).await?, Begun::Again))
    }
}

#[async_trait]
impl Rows for PostgresSink {
    async fn read(
        &mut self,
        table: &'static Table,
        after: Option<&[Value]>,
        room: Room,
    ) -> Result<Page, StoreError> {
        let db = self.conn.db()?;
        let page = self.conn.at_leisure(async {
            let begin = format!("BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; {PATIENT}");
            db.batch(&begin).await.doing("read copied rows")?;
            let page = rows::read(db, table, after, room).await;
            db.batch("COMMIT").await.doing("read copied rows")?;
            page
        });
        page.await
    }
}

#[async_trait]
impl RowSink for PostgresSink {
    async fn begin(&mut self, mark: &Mark) -> Result<Begun, TransferError> {
        let db = self.conn.db()?;
        if self.conn.at_leisure(is_served(db)).await? {
            return Err(TransferError::InUse { by: "a server that is running".to_owned() });
        }
        let (attempt, begun) = self.transaction(self.mark(mark)).await?;
        self.attempt = attempt;
        Ok(begun)
    }

    async fn write(&mut self, table: &'static Table, batch: Batch) -> Result<(), TransferError> {
        self.commit(rows::write(self.conn.db()?, table, &batch)).await
    }

    async fn finish(&mut self, numbers: Numbers) -> Result<(), TransferError> {
        let db = self.conn.db()?;
        self.commit(async {
            go_on(db, numbers).await?;
            mark::remove(db).await
        })
        .await?;
        // What the planner knows of tables that were filled at once is nothing; it would find out, but later.
        let analyze = TABLES.iter().map(|table| table.name).collect::<Vec<_>>().join(", ");
        let analyzed = self.conn.at_leisure(async {
            db.batch(&format!("BEGIN; {PATIENT}; ANALYZE {analyze}; COMMIT"))
                .await
                .doing("analyze the tables")
        });
        if let Err(error) = analyzed.await {
            // The copy is whole without.
            tracing::warn!(%error, "the tables of the copy were not analyzed");
        }
        Ok(())
    }
}

async fn has_rows(db: Db<'_>, table: &Table) -> Result<bool, StoreError> {
    let sql = format!("SELECT EXISTS (SELECT 1 FROM {})", table.name);
    let row = db.find(&sql, &[]).await.doing(BEGINNING)?;
    row.map_or(Ok(false), |row| row.try_get(0).doing(BEGINNING))
}

/// Whether an instance holds its lock.
async fn is_served(db: Db<'_>) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted \
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))";
    let row = db.find(sql, &[]).await.doing(BEGINNING)?;
    row.map_or(Ok(false), |row| row.try_get(0).doing(BEGINNING))
}

/// Lets all numbers go on beyond those that are there or were given out.
async fn go_on(db: Db<'_>, numbers: Numbers) -> Result<(), StoreError> {
    let doing = "let numbers go on";
    let sql = format!(
        "SELECT setval('membrane_numbers', greatest(1, $1 & {PLACE}, $2 & {PLACE}, \
             (SELECT max(id & {PLACE}) FROM segments), (SELECT max(id & {PLACE}) FROM histories), \
             (SELECT last_value FROM membrane_numbers)))"
    );
    db.query(&sql, &values![numbers.segments, numbers.histories]).await.doing(doing)?;
    for (table, highest) in
        [("turn_signals", numbers.signals), ("chat_sessions", 0), ("chat_checkpoints", 0), ("legacy_rows", 0)]
    {
        let sql = format!(
            "SELECT setval(pg_get_serial_sequence('{table}', 'number')::regclass, \
                 greatest(1, $1, (SELECT max(number) FROM {table})))"
        );
        db.query(&sql, &values![highest]).await.doing(doing)?;
    }
    Ok(())
}

fn opening(error: OpenError) -> TransferError {
    match error {
        OpenError::Store(error) => error.into(),
        error => StoreError::Backend { doing: BEGINNING, source: Box::new(error) }.into(),
    }
}
