//! Writes files as kgents' Universe does, for the tests of crates that know no SQL.
//!
//! What stands in the documents is the caller's business.

use std::path::Path;

use rusqlite::{Connection, params};

/// A file that rows are added to; it is open until this value goes.
#[derive(Debug)]
pub struct UniverseFile {
    conn: Connection,
    n_rows: u32,
}

impl UniverseFile {
    /// Makes the file, with kgents' table, indexes and journal.
    pub fn create(path: &Path) -> rusqlite::Result<Self> {
        let conn = Connection::open(path)?;
        conn.execute_batch(
            "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = OFF;
             CREATE TABLE data (id TEXT PRIMARY KEY, content BLOB NOT NULL, created_at REAL NOT NULL,
                 causal_parent TEXT, metadata TEXT);
             CREATE INDEX idx_created ON data (created_at);
             CREATE INDEX idx_parent ON data (causal_parent);",
        )?;
        Ok(Self { conn, n_rows: 0 })
    }

    /// Adds documents of a schema, in one transaction.
    pub fn add(&mut self, schema: &str, documents: &[String]) -> rusqlite::Result<()> {
        let metadata = format!("{{\"schema\": \"{schema}\"}}");
        let transaction = self.conn.transaction()?;
        for document in documents {
            self.n_rows += 1;
            let written_at = 1_766_000_000.0 + f64::from(self.n_rows) / 1000.0;
            transaction.prepare_cached("INSERT INTO data VALUES (?1, ?2, ?3, NULL, ?4)")?.execute(
                params![format!("{:032x}", self.n_rows), document.as_bytes(), written_at, metadata],
            )?;
        }
        transaction.commit()
    }
}
