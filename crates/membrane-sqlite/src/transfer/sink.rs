//! A file that becomes a copy.

use async_trait::async_trait;
use membrane_store::StoreError;
use membrane_store::transfer::{
    Batch, Begun, Mark, Numbers, Page, Room, RowSink, Rows, TABLES, Table, TransferError, Value,
};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior};

use super::lane::Lane;
use super::{mark, rows};
use crate::backup::users::list_users;
use crate::connection::{make_folder, make_writer, open_to_look, refuse_read_only};
use crate::error::{Doing, OpenError};
use crate::migrations::{self, Contents};
use crate::options::SqliteOptions;

const BEGINNING: &str = "begin the copy";

/// A file into which a keep is copied: empty, or an unfinished copy.
#[derive(Debug)]
pub struct SqliteSink {
    lane: Lane,
    options: SqliteOptions,
    /// Which try this is; 0 before it has begun.
    attempt: i64,
}

impl SqliteSink {
    /// Opens the file, making it if it is missing, and only looks at what is there.
    ///
    /// # Errors
    /// [`OpenError`] if no keep could be made in it.
    pub fn open(options: SqliteOptions) -> Result<Self, OpenError> {
        make_folder(&options)?;
        let conn = open_to_look(&options, OpenFlags::SQLITE_OPEN_CREATE)?;
        migrations::inspect_schema(&conn, &options.path)?;
        refuse_read_only(&conn, &options)?;
        Ok(Self { lane: Lane::new(conn), options, attempt: 0 })
    }

    /// Does work in a transaction of the newest try.
    async fn commit(
        &mut self,
        doing: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> Result<(), StoreError> + Send + 'static,
    ) -> Result<(), TransferError> {
        let attempt = self.attempt;
        let commit = move |conn: &mut Connection| {
            let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).doing(doing)?;
            if !mark::is_newest(&tx, attempt).doing(doing)? {
                return Err(TransferError::TakenOver);
            }
            work(&tx)?;
            Ok(tx.commit().doing(doing)?)
        };
        self.lane.run(commit).await?
    }
}

#[async_trait]
impl Rows for SqliteSink {
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
impl RowSink for SqliteSink {
    async fn begin(&mut self, mark: &Mark) -> Result<Begun, TransferError> {
        let (mark, options) = (mark.clone(), self.options.clone());
        let begin = move |conn: &mut Connection| {
            let users = list_users(&options);
            if !users.is_empty() {
                return Err(TransferError::InUse { by: users.join(", ") });
            }
            begin(conn, &options, &mark)
        };
        let (attempt, begun) = self.lane.run(begin).await??;
        self.attempt = attempt;
        Ok(begun)
    }

    async fn write(&mut self, table: &'static Table, batch: Batch) -> Result<(), TransferError> {
        self.commit("write copied rows", move |tx| rows::write(tx, table, &batch)).await
    }

    async fn finish(&mut self, numbers: Numbers) -> Result<(), TransferError> {
        let doing = "finish the copy";
        self.commit(doing, move |tx| {
            for (name, highest) in [
                ("segments", numbers.segments),
                ("histories", numbers.histories),
                ("turn_signals", numbers.signals),
            ] {
                go_on_beyond(tx, name, highest).doing(doing)?;
            }
            mark::remove(tx).doing(doing)
        })
        .await
    }
}

fn begin(conn: &mut Connection, options: &SqliteOptions, mark: &Mark) -> Result<(i64, Begun), TransferError> {
    // First without a change: a file that is refused stays what it was.
    refuse(conn, options, mark)?;
    let writer = make_writer(conn, options).and_then(|()| {
        conn.pragma_update(None, "wal_autocheckpoint", options.checkpoint_pages).doing(BEGINNING)?;
        Ok(())
    });
    writer.map_err(opening)?;
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).doing(BEGINNING)?;
    // Once more under the lock: another process may have been here meanwhile.
    let begun = refuse(&tx, options, mark)?;
    migrations::apply_missing(&tx, &options.path).map_err(opening)?;
    let attempt = match begun {
        Begun::Anew => mark::make(&tx, mark),
        Begun::Again => mark::take_over(&tx),
    };
    let attempt = attempt.doing(BEGINNING)?;
    tx.commit().doing(BEGINNING)?;
    Ok((attempt, begun))
}

/// Refuses a file with rows that are no unfinished copy of the same source.
fn refuse(conn: &Connection, options: &SqliteOptions, mark: &Mark) -> Result<Begun, TransferError> {
    if let Some(source_name) = mark::find_source(conn).doing(BEGINNING)? {
        return if source_name == mark.source {
            Ok(Begun::Again)
        } else {
            Err(TransferError::OtherCopy { source_name })
        };
    }
    let steps = match migrations::inspect_schema(conn, &options.path).map_err(opening)? {
        Contents::V1(_) => return Err(TransferError::NotEmpty { table: "chat_sessions".to_owned() }),
        Contents::Keep => migrations::status(conn, &options.path).map_err(opening)?,
    };
    if steps.iter().any(|step| step.applied_at.is_some()) {
        for table in &TABLES {
            if has_rows(conn, table.name).doing(BEGINNING)? {
                return Err(TransferError::NotEmpty { table: table.name.to_owned() });
            }
        }
    }
    Ok(Begun::Anew)
}

/// Whether a table is there and has rows. An older schema lacks some.
fn has_rows(conn: &Connection, table: &str) -> rusqlite::Result<bool> {
    let is_there: Option<i64> = conn
        .query_row("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1", [table], |row| {
            row.get(0)
        })
        .optional()?;
    if is_there.is_none() {
        return Ok(false);
    }
    conn.query_row(&format!("SELECT EXISTS (SELECT 1 FROM {table})"), [], |row| row.get(0))
}

/// Lets the numbers of a table begin after `highest`, if they do not already.
fn go_on_beyond(conn: &Connection, table: &str, highest: i64) -> rusqlite::Result<()> {
    conn.execute("UPDATE sqlite_sequence SET seq = max(seq, ?2) WHERE name = ?1", (table, highest))?;
    conn.execute(
        "INSERT INTO sqlite_sequence (name, seq) SELECT ?1, ?2 \
         WHERE ?2 > 0 AND NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = ?1)",
        (table, highest),
    )?;
    Ok(())
}

fn opening(error: OpenError) -> TransferError {
    match error {
        OpenError::Store(error) => error.into(),
        error => StoreError::Backend { doing: BEGINNING, source: Box::new(error) }.into(),
    }
}
