//! The simplest store that can be tried: one table of bare SQLite, one connection per writer.
//!
//! Not here: Membrane. This store shows that the machinery finds what it should and nothing else.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use membrane_crashtest::campaign::{Failure, Target};
use membrane_crashtest::entry::Entry;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

const SCHEMA: &str = "
    BEGIN IMMEDIATE;
    CREATE TABLE entries (
        position INTEGER PRIMARY KEY,
        writer INTEGER NOT NULL,
        text TEXT NOT NULL
    );
    CREATE INDEX entries_writer_idx ON entries (writer);
    CREATE TABLE totals (writer INTEGER PRIMARY KEY, n_entries INTEGER NOT NULL);
    COMMIT;
";

/// Pages in the WAL at which SQLite copies it into the database. Small, so that a short recording holds
/// many such checkpoints and restarts of the WAL, where most of SQLite's syncs are at stake.
const CHECKPOINT_PAGES: u32 = 48;

/// Bare SQLite with a journal mode, a durability, and its way to append.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bare {
    pub(crate) journal_mode: &'static str,
    pub(crate) synchronous: &'static str,
    pub(crate) appending: Appending,
}

/// How an entry and its writer's total come into the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Appending {
    /// In one transaction, as it should be.
    Whole,
    /// In one transaction each: a defect, planted to be found.
    InHalves,
}

impl Bare {
    /// As it should be: WAL, `synchronous=FULL`, whole transactions.
    pub(crate) const SOUND: Self =
        Self { journal_mode: "WAL", synchronous: "FULL", appending: Appending::Whole };

    fn connect(&self, database: &Path, vfs: &str) -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags_and_vfs(database, OpenFlags::default(), vfs)?;
        connection.busy_timeout(Duration::from_secs(30))?;
        // Before the journal mode, whose change already writes and syncs.
        connection.pragma_update(None, "synchronous", self.synchronous)?;
        connection.pragma_update(None, "journal_mode", self.journal_mode)?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        Ok(connection)
    }
}

impl Target for Bare {
    type Open = Vec<Mutex<Connection>>;

    fn name(&self) -> &'static str {
        match (self.journal_mode, self.appending) {
            ("WAL", Appending::Whole) => "bare",
            ("WAL", Appending::InHalves) => "bare_in_halves",
            _ => "bare_with_rollback_journal",
        }
    }

    fn synchronous(&self) -> &str {
        self.synchronous
    }

    fn open(&self, database: &Path, vfs: &str, n_writers: u32) -> Result<Self::Open, Failure> {
        self.connect(database, vfs)?.execute_batch(SCHEMA)?;
        (0..n_writers).map(|_| Ok(Mutex::new(self.connect(database, vfs)?))).collect()
    }

    fn append(&self, open: &Self::Open, entry: Entry) -> Result<(), Failure> {
        let connection =
            open.get(usize::try_from(entry.writer)?).ok_or("there is no connection for this writer")?;
        let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
        let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction
            .prepare_cached("INSERT INTO entries (writer, text) VALUES (?1, ?2)")?
            .execute((entry.writer, entry.text()))?;
        if self.appending == Appending::InHalves {
            transaction.commit()?;
            transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        }
        transaction
            .prepare_cached(
                "INSERT INTO totals (writer, n_entries) VALUES (?1, 1)
                 ON CONFLICT (writer) DO UPDATE SET n_entries = n_entries + 1",
            )?
            .execute([entry.writer])?;
        transaction.commit()?;
        Ok(())
    }

    fn close(&self, open: Self::Open) -> Result<(), Failure> {
        for connection in open {
            let connection = connection.into_inner().unwrap_or_else(PoisonError::into_inner);
            connection.close().map_err(|(_, error)| error)?;
        }
        Ok(())
    }

    fn survivors(&self, database: &Path) -> Result<Vec<Entry>, Failure> {
        if !database.exists() {
            return Ok(Vec::new());
        }
        let connection = Connection::open(database)?;
        let sound: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
        if sound != "ok" {
            return Err(sound.into());
        }
        if !connection.table_exists(None, "totals")? {
            return if connection.table_exists(None, "entries")? {
                Err("half of the schema".into())
            } else {
                Ok(Vec::new())
            };
        }
        list(&connection)
    }
}

/// Lists the entries, each of them whole, and checks that each writer's total tells as many.
pub(crate) fn list(connection: &Connection) -> Result<Vec<Entry>, Failure> {
    let mut statement = connection.prepare("SELECT writer, text FROM entries ORDER BY position")?;
    let mut entries = Vec::new();
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let entry = Entry::parse(row.get_ref(1)?.as_str()?)?;
        if entry.writer != row.get::<_, u32>(0)? {
            return Err(format!("{entry} stands under another writer").into());
        }
        entries.push(entry);
    }
    let n_wrong_totals: u32 = connection.query_row(
        "SELECT count(*) FROM (SELECT writer, count(*) AS n_entries FROM entries GROUP BY writer) AS counted
         FULL JOIN totals USING (writer) WHERE counted.n_entries IS NOT totals.n_entries",
        [],
        |row| row.get(0),
    )?;
    if n_wrong_totals > 0 {
        return Err(format!("half a transaction: {n_wrong_totals} totals differ from what is there").into());
    }
    Ok(entries)
}
