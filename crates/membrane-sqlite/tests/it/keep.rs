//! What the tests need: a folder with a keep in it, and a plain SQLite connection beside the store's.
//!
//! Sessions, turns and changes come from the suite's `Fixture`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use membrane_sqlite::{OpenError, SqliteOptions, SqliteStore};
use membrane_store::conformance::fixture::Fixture;
use rusqlite::types::FromSql;
use rusqlite::{Connection, Params};
use tempfile::TempDir;

/// A folder that goes with its value.
pub(crate) struct Keep {
    folder: TempDir,
}

impl Keep {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("keep.db")
    }

    pub(crate) fn options(&self) -> SqliteOptions {
        SqliteOptions { cache_kib: 4096, ..SqliteOptions::at(self.path()) }
    }

    /// Opens the keep.
    pub(crate) async fn open(&self) -> Fixture {
        self.open_with(self.options()).await
    }

    pub(crate) async fn open_with(&self, options: SqliteOptions) -> Fixture {
        Fixture::new(Arc::new(SqliteStore::open(options).await.unwrap()))
    }

    /// Opens what must be refused.
    pub(crate) async fn refused(&self) -> OpenError {
        refused(&self.path()).await
    }

    /// A program of its own that reads or writes the file.
    pub(crate) fn plain(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }

    /// All files in the folder, with their bytes.
    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        std::fs::read_dir(self.folder())
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())
            })
            .collect()
    }

    /// How long the write-ahead log is, in bytes.
    pub(crate) fn log_bytes(&self) -> u64 {
        std::fs::metadata(self.folder().join("keep.db-wal")).map_or(0, |metadata| metadata.len())
    }
}

pub(crate) async fn refused(path: &Path) -> OpenError {
    SqliteStore::open(SqliteOptions::at(path)).await.expect_err("this file must be refused")
}

/// The first column of all rows.
pub(crate) fn column<T: FromSql>(conn: &Connection, sql: &str, params: impl Params) -> Vec<T> {
    let mut statement = conn.prepare(sql).unwrap();
    let rows = statement.query_map(params, |row| row.get(0)).unwrap();
    rows.collect::<rusqlite::Result<_>>().unwrap()
}

/// The first column of the only row.
pub(crate) fn value<T: FromSql>(conn: &Connection, sql: &str, params: impl Params) -> T {
    conn.query_row(sql, params, |row| row.get(0)).unwrap()
}
