//! What tests of copies need: a file and a database, what happens to a copy on its way, and what must hold after it.

use std::future::{Future, pending, poll_fn};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::Poll;

use async_trait::async_trait;
use membrane_core::time::Timestamp;
use membrane_postgres::transfer::{PostgresSink, PostgresSource};
use membrane_sqlite::transfer::{SqliteSink, SqliteSource};
use membrane_sqlite::{SqliteOptions, SqliteStore};
use membrane_store::StoreError;
use membrane_store::conformance::fixture::Fixture;
use membrane_store::transfer::{
    self, Batch, Begun, CopyReport, Mark, Numbers, Page, ROOM, Room, Row, RowSink, RowSource, Rows, Table,
    TransferError, Value,
};
use membrane_testservers::Database;
use tempfile::TempDir;
use tokio::sync::Notify;

use crate::keep::{open, options};

pub(super) fn now() -> Timestamp {
    Timestamp::parse("2026-11-24T15:50:00Z").unwrap()
}

/// A folder with an SQLite keep.
pub(super) struct Folder(TempDir);

impl Folder {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A file with one of everything.
    pub(super) async fn with_everything(&self) -> PathBuf {
        let path = self.path("keep.db");
        let mut f = in_file(&path).await;
        f.fill_with_everything().await;
        f.store.close().await.unwrap();
        path
    }
}

pub(super) async fn in_file(path: &Path) -> Fixture {
    Fixture::new(Arc::new(SqliteStore::open(SqliteOptions::at(path)).await.unwrap()))
}

pub(super) async fn in_database(database: &Database) -> Fixture {
    Fixture::new(Arc::new(open(database.url()).await))
}

pub(super) fn file_source(path: &Path) -> SqliteSource {
    SqliteSource::open(&SqliteOptions::at(path)).unwrap()
}

pub(super) fn file_sink(path: &Path) -> SqliteSink {
    SqliteSink::open(SqliteOptions::at(path)).unwrap()
}

pub(super) async fn source(database: &Database) -> PostgresSource {
    PostgresSource::open(&options(database.url())).await.unwrap()
}

pub(super) async fn sink(database: &Database) -> PostgresSink {
    PostgresSink::open(&options(database.url())).await.unwrap()
}

pub(super) async fn copy(
    from: &mut dyn RowSource,
    to: &mut dyn RowSink,
) -> Result<CopyReport, TransferError> {
    transfer::copy(from, to, "source", now(), &mut |_| {}).await
}

/// From a file into a database.
pub(super) async fn there(from: &Path, to: &Database) -> Result<CopyReport, TransferError> {
    copy(&mut file_source(from), &mut sink(to).await).await
}

/// From a database into a file.
pub(super) async fn back(from: &Database, to: &Path) -> Result<CopyReport, TransferError> {
    copy(&mut source(from).await, &mut file_sink(to)).await
}

pub(super) async fn must_be_sound(f: &Fixture) {
    assert_eq!(f.store.check().await.unwrap(), Vec::<String>::new());
}

/// All rows of a table.
pub(super) async fn rows(side: &mut dyn Rows, table: &'static Table) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    loop {
        let after = rows.last().map(|row| row[..table.key_len].to_vec());
        let page = side.read(table, after.as_deref(), ROOM).await.unwrap();
        rows.extend(page.rows);
        if page.is_last {
            return rows;
        }
    }
}

/// What happens at a write.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault<'a> {
    /// The copy stands still, and says so.
    Stops(&'a Notify),
    /// The server ends all connections to this database.
    Cut(&'a Database),
}

/// A sink to which something happens at its n-th write.
pub(super) struct Faulty<'a, S> {
    pub(super) sink: S,
    pub(super) left: usize,
    pub(super) fault: Fault<'a>,
}

#[async_trait]
impl<S: RowSink> Rows for Faulty<'_, S> {
    async fn read(
        &mut self,
        table: &'static Table,
        after: Option<&[Value]>,
        room: Room,
    ) -> Result<Page, StoreError> {
        self.sink.read(table, after, room).await
    }
}

#[async_trait]
impl<S: RowSink> RowSink for Faulty<'_, S> {
    async fn begin(&mut self, mark: &Mark) -> Result<Begun, TransferError> {
        self.sink.begin(mark).await
    }

    async fn write(&mut self, table: &'static Table, batch: Batch) -> Result<(), TransferError> {
        match (self.left.checked_sub(1), self.fault) {
            (Some(left), _) => self.left = left,
            (None, Fault::Stops(told)) => {
                told.notify_one();
                pending::<()>().await;
            }
            (None, Fault::Cut(database)) => cut_off(database),
        }
        self.sink.write(table, batch).await
    }

    async fn finish(&mut self, numbers: Numbers) -> Result<(), TransferError> {
        self.sink.finish(numbers).await
    }
}

/// Ends all connections to a database.
pub(super) fn cut_off(database: &Database) {
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    assert_ne!(database.execute(sql).unwrap(), "", "nobody was there");
}

/// Waits until nobody is connected to a database any more: the server has then ended what was dropped.
pub(crate) async fn until_nobody_is_there(database: &Database) {
    let sql = "SELECT count(*) FROM pg_stat_activity \
               WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
    while database.execute(sql).unwrap() != "0" {
        tokio::task::yield_now().await;
    }
}

/// Copies until the sink stands still, and drops the copy.
pub(super) async fn stopped_at(left: usize, from: &mut dyn RowSource, sink: impl RowSink) {
    let told = Notify::new();
    let mut faulty = Faulty { sink, left, fault: Fault::Stops(&told) };
    tokio::select! {
        ended = copy(from, &mut faulty) => panic!("it ended before write {left}: {ended:?}"),
        () = told.notified() => {}
    }
}

/// Polls a future so many times, and drops it.
pub(super) async fn polled<T>(times: usize, work: impl Future<Output = T>) -> Option<T> {
    let mut work = std::pin::pin!(work);
    let mut left = times;
    poll_fn(|cx| match left.checked_sub(1) {
        None => Poll::Ready(None),
        Some(rest) => {
            left = rest;
            work.as_mut().poll(cx).map(Some)
        }
    })
    .await
}
